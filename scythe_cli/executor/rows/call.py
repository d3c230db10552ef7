"""One spec: from the row as it was allocated to its output, in the process that runs it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pyarrow as pa

from scythe_cli.arrow.seeds import RowSeeds
from scythe_cli.errors import ScytheError
from scythe_cli.executor.rows.failure import Failure, failure_from
from scythe_cli.executor.rows.frames import Frame, Warned, convert_frames
from scythe_cli.executor.rows.inputs import InputCopies, InputFileError, moved_reference, stored_hash
from scythe_cli.executor.rows.randomness import SharedGenerators
from scythe_cli.model.columns import SPEC_LEVELS, columns_of, index_columns, input_columns, output_columns, output_files
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.models import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.model.settings import ScytheStorageSettings
from scythe_cli.model.spec_rows import META_SCHEMA, artifacts_mark

__all__ = ["InputFileError", "Leaf", "LeafResult", "OutputError", "RunContext"]


Feature = int | float | str | bool | None

_INT64 = 2**63
_SHA256_HEX = 64


class OutputError(ScytheError):
    """What the function returned cannot be stored."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The run that a spec belongs to.

    Attributes:
        storage_location: The storage: a local folder or `s3://bucket/prefix`.
        experiment_id: The run.
        root_workflow_run_id: The id of the execution as a whole.
        worker: The name of what runs the specs, as outcomes tell it.
        seed: The seed of the run.
    """

    storage_location: str
    experiment_id: str
    root_workflow_run_id: str
    worker: str
    seed: int = 0

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> RunContext:
        """Read what `to_bytes` wrote."""
        return cls(**json.loads(data))

    @property
    def storage_settings(self) -> ScytheStorageSettings:
        """The storage, as a spec shows it."""
        # made without a look at the environment, which takes a third of the time that a forked process needs to begin
        make = ScytheStorageSettings.model_construct
        location = self.storage_location
        if not location.startswith("s3://"):
            return make(URI=location)
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        return make(URI=location, BUCKET=bucket, BUCKET_PREFIX=prefix)


@dataclass(slots=True)  # not frozen: that would double the time to make one
class LeafResult:
    """What a spec produced.

    Attributes:
        output: What the function returned.
        files: The URI of each output file, by field; None for an experiment without any.
        features: The computed features; None for an experiment without any.
        frames: The converted tables; None when there are none.
        warnings: What could not be kept as it was; None for nothing.
    """

    output: ExperimentOutputSpec
    files: dict[str, str | None] | None = None
    features: dict[str, Feature] | None = None
    frames: dict[str, Frame] | None = None
    warnings: list[Warned] | None = None


class Leaf:
    """Runs specs of one experiment.

    Args:
        experiment: What to call.
        context: The run.
        scratch: Where temporary folders are made.
        log_sink: What `spec.log` calls; None leaves it to `logging`.
        generators: What gives `random` and `numpy.random` the seed of a row; None leaves them alone.
    """

    def __init__(
        self,
        experiment: RegisteredExperiment[Any, Any],
        context: RunContext,
        *,
        scratch: Path | None = None,
        log_sink: Callable[[str], None] | None = None,
        generators: SharedGenerators | None = None,
    ) -> None:
        self.experiment = experiment
        self.context = context
        self.settings = context.storage_settings
        self._scratch = scratch or Path(gettempdir())
        self._log_sink = log_sink
        self._generators = generators or SharedGenerators(context.seed)
        self._seeds: RowSeeds | None = None
        self._fn: Callable[..., Any] = experiment.fn
        self._output_type: type[ExperimentOutputSpec] = experiment.output_validator_type
        self._inject_id = experiment.options.inject_workflow_run_id
        model: type[ExperimentInputSpec] = experiment.input_validator_type
        self._input_files = [name for name, column in columns_of(model).items() if column.is_file]
        self._fetches = experiment.options.auto_fetch_files
        self._copies = experiment.options.local_file_location == "copied-to-tempdir"
        self._output_files = [column.name for column in output_files(self._output_type)]
        self._allows_extra = self._output_type.model_config.get("extra") == "allow"
        self._has_features = model.computed_features is not ExperimentInputSpec.computed_features
        self._levels = frozenset({*SPEC_LEVELS, "sort_subindex", *(column.name for column in index_columns(model))})
        self._taken_by_fields = frozenset(
            {
                *self._levels,
                "storage_settings",
                *(column.name for column in input_columns(model)),
                *(column.name for column in output_columns(self._output_type)),
                *self._output_files,
            }
        )
        self._is_plain = not (
            self._input_files or self._output_files or self._has_features or experiment.accepts_tempdir
        )
        self._storage: Any = None
        self._cache: Any = None
        self._copies_of_inputs: InputCopies | None = None
        self._count = 0

    def begin(self, rows: pa.RecordBatch) -> None:
        """Take note of the rows that the next specs are made of."""
        mark = artifacts_mark(self.context.experiment_id)
        self._seeds = RowSeeds(rows, self.context.seed, leave_out=META_SCHEMA.names, artifacts=mark)

    def prepare(self, spec: ExperimentInputSpec, run_id: str | None) -> None:
        """Set on a spec what belongs to its execution.

        Args:
            spec: As it was read; it is changed.
            run_id: The id of its execution.
        """
        # the values are right by construction: validation would cost more than a trivial function does
        values: Any = spec.__dict__
        values["storage_settings"] = self.settings
        values["workflow_run_id"] = run_id if self._inject_id else None
        if values.get("root_workflow_run_id") is None:
            values["root_workflow_run_id"] = self.context.root_workflow_run_id
        values["_log_sink"] = self._log_sink
        values["_seeds"] = self._seeds
        self._generators.spec = spec
        if self._generators.is_used:
            self._generators.rearm()

    def run(self, spec: ExperimentInputSpec) -> LeafResult | Failure:
        """Run a prepared spec; whatever the user's code raises becomes a `Failure`."""
        try:
            if self._is_plain:  # as `execute` does, without the time of a further call
                output = self._fn(spec)
                if type(output) is self._output_type and not output.dataframes:
                    extra = output.__pydantic_extra__ if self._allows_extra else None
                    if not extra or not any(isinstance(value, Path) for value in extra.values()):
                        return LeafResult(output)
                return self._result_of(spec, output)
            return self.execute(spec)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt cost one spec too
            return failure_from(error)

    def execute(self, spec: ExperimentInputSpec) -> LeafResult:
        """Run a prepared spec; whatever the user's code raises comes out of it.

        Raises:
            OutputError: If what the function returned cannot be stored.
            InputFileError: If an input file is missing.
        """
        if self._is_plain:
            return self._result_of(spec, self._fn(spec))
        # before the call, so that the function cannot change what they are computed from
        features = self._features_of(spec) if self._has_features else None
        with self.localised(spec) as (local, arguments):
            output = self._fn(local, **arguments)
            if not isinstance(output, self._output_type):
                raise self._wrong_type(output)
            taken = self._levels if not features else self._levels | features.keys()
            warnings: list[Warned] = []
            frames = self._frames_of(spec, output, taken, features or {}, warnings)
            files = self._upload_files(spec, output, arguments.get("tempdir"), warnings)
        return LeafResult(output, files, features, frames, warnings or None)

    def _frames_of(
        self,
        spec: ExperimentInputSpec,
        output: ExperimentOutputSpec,
        taken: frozenset[str],
        features: dict[str, Feature],
        warnings: list[Warned],
    ) -> dict[str, Frame] | None:
        def own() -> dict[str, Any]:
            return spec.index_values() | features

        return convert_frames(output.dataframes, taken, own, warnings) if output.dataframes else None

    def _result_of(self, spec: ExperimentInputSpec, output: object) -> LeafResult:
        """The result of a function that has nothing but scalars and tables."""
        if not isinstance(output, self._output_type):
            raise self._wrong_type(output)
        warnings: list[Warned] = []
        files = self._upload_files(spec, output, None, warnings) if self._allows_extra else None
        if not output.dataframes:
            return LeafResult(output, files, warnings=warnings or None)
        frames = self._frames_of(spec, output, self._levels, {}, warnings)
        return LeafResult(output, files, frames=frames, warnings=warnings or None)

    @contextlib.contextmanager
    def localised(self, spec: ExperimentInputSpec) -> Generator[tuple[ExperimentInputSpec, dict[str, Any]]]:
        """Make what a call needs: local files, and a temporary folder while inside.

        Returns:
            The spec to pass, and further arguments by name.
        """
        if not self.experiment.accepts_tempdir:
            yield self._fetch_files(spec, None), {}
            self._check_inputs()
            return
        self._count += 1
        pid = os.getpid()
        tempdir = self._scratch / f"spec-{spec.sort_index:08d}-{pid}-{self._count}"
        tempdir.mkdir(parents=True)
        try:
            yield self._fetch_files(spec, tempdir), {"tempdir": tempdir}
            self._check_inputs()
        finally:
            if os.getpid() == pid:  # and not a process that the function has forked
                shutil.rmtree(tempdir, ignore_errors=True)

    def output_paths(self, result: LeafResult) -> list[Path]:
        """The output files that a result names."""
        values: list[Any] = [getattr(result.output, name) for name in self._output_files]
        return [value for value in values if isinstance(value, Path)]

    def _wrong_type(self, output: object) -> OutputError:
        name = getattr(self._fn, "__name__", "the function")
        article = "nothing" if output is None else f"a {type(output).__name__}"
        return OutputError(f"{name} returned {article}; it must return a {self._output_type.__name__}")

    def _fetch_files(self, spec: ExperimentInputSpec, tempdir: Path | None) -> ExperimentInputSpec:
        if not self._input_files:
            return spec
        local: dict[str, Path | str] = {}
        for name in self._input_files:
            reference = vars(spec)[name]
            if reference is None:
                continue
            if not self._fetches:
                local[name] = self._where(reference)
                continue
            path = self._fetch(name, reference)
            if self._copies and tempdir is not None:
                target = tempdir / path.name
                if target.exists():
                    target = tempdir / f"{name}-{path.name}"
                path = Path(shutil.copyfile(path, target))
            local[name] = path
        copy = spec.model_copy(update=local)
        copy._original_spec = spec  # pyright: ignore[reportPrivateUsage]
        return copy

    def _where(self, reference: Path | str) -> Path | str:
        """Where an input file is; the run may have been copied here from elsewhere."""
        return moved_reference(reference, self.context.experiment_id, self.context.storage_location)

    def _fetch(self, name: str, reference: Path | str) -> Path:
        reference = self._where(reference)
        expected = stored_hash(str(reference), self.context.storage_location)
        if isinstance(reference, Path):
            if not reference.is_file():
                raise InputFileError(f"the input file {name} is not there: {reference}")
            if expected is None:
                return reference  # of a spec that belongs to no run
            source = reference
        else:
            if self._cache is None:
                from scythe_cli.storage.cache import ArtifactCache

                self._cache = ArtifactCache()
            whole = expected if expected is not None and len(expected) == _SHA256_HEX else None
            source = self._cache.fetch(str(reference), sha256=whole)
        if self._copies_of_inputs is None:
            self._copies_of_inputs = InputCopies(self._scratch / f"inputs-{os.getpid()}")
        return self._copies_of_inputs.local(name, source, expected)

    def _check_inputs(self) -> None:
        """Tell of a spec that has written to its input file.

        Raises:
            InputFileError: If it has.
        """
        changed = self._copies_of_inputs.changed() if self._copies_of_inputs is not None else []
        if changed:
            raise InputFileError(
                f"the function has changed its input file {changed[0]}, which other cases read as well",
                hint='Write to a copy: `local_file_location="copied-to-tempdir"` of Register() makes one.',
            )

    def _features_of(self, spec: ExperimentInputSpec) -> dict[str, Feature]:
        features: dict[str, Feature] = {}
        for name, raw in spec.computed_features.items():
            if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise OutputError(f"a computed feature is named {name!r}; names must be text")
            if name in self._taken_by_fields:
                raise OutputError(f"the computed feature {name!r} has the name of a field")
            value: Any = raw
            if not isinstance(value, (int, float, str)) and value is not None:
                # scalars of NumPy
                value = value.item() if hasattr(value, "item") else value
            if not isinstance(value, (int, float, str)) and value is not None:
                raise OutputError(
                    f"the computed feature {name!r} is a {type(value).__name__}; it can be int, float, str or bool"
                )
            if isinstance(value, int) and not -_INT64 <= value < _INT64:
                raise OutputError(f"the computed feature {name!r} is {value}, which does not fit into 64 bits")
            features[name] = value
        return features

    def _upload_files(
        self, spec: ExperimentInputSpec, output: ExperimentOutputSpec, tempdir: Path | None, warnings: list[Warned]
    ) -> dict[str, str | None] | None:
        """Keep the output files: those of the model's fields, and paths to files among what the model does not know."""
        references = {name: getattr(output, name) for name in self._output_files}
        if self._allows_extra:
            extra = output.model_extra or {}
            more = {name: value for name, value in extra.items() if isinstance(value, Path) and value.is_file()}
            for name in more:
                del extra[name]
            references |= more
        uris: dict[str, str | None] = {}
        for name, reference in references.items():
            if not isinstance(reference, Path):
                uris[name] = None if reference is None else str(reference)
                continue
            path = _resolve(reference, tempdir)
            if not path.is_file():
                what = "is a folder, not a file" if path.is_dir() else "is not there"
                warnings.append(Warned(name, "null instead of a file", f"{reference} {what}"))
                uris[name] = None
                continue
            if self._storage is None:
                from scythe_cli.storage.opening import open_storage

                self._storage = open_storage(self.context.storage_location)
            key = spec.construct_output_key(name, path)
            self._storage.put_file(path, key)
            uris[name] = self._storage.uri(key)
        return uris or None


def _resolve(path: Path, tempdir: Path | None) -> Path:
    """A relative path is meant from the temporary folder, or else from the working directory."""
    if tempdir is not None and not path.is_absolute() and (tempdir / path).exists():
        return tempdir / path
    return path.absolute()
