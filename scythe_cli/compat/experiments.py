"""Experiments from Python, with the names and shapes of scythe-engine 1.3; a thin façade over the services."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, BaseModel, Field, field_validator

from scythe_cli.compat.allocating import Choices, allocate_specs
from scythe_cli.compat.faults import ExperimentNotFoundError, ExperimentSpecsMismatchError
from scythe_cli.compat.outcome import RunRef, located
from scythe_cli.compat.runnables import Runnable, SerializableRunnable, Subscriptable
from scythe_cli.core.names import check_run_name
from scythe_cli.core.recursion import RecursionMap
from scythe_cli.core.semver import (
    BUMPS,
    Bump,
    SemVer,
    VersioningStrategy,
    next_version,
)
from scythe_cli.errors import InvalidInputError, SpecsError
from scythe_cli.model.experiment import TInput, TOutput
from scythe_cli.model.file_refs import S3Url, StoredUri
from scythe_cli.model.settings import ScytheStorageSettings
from scythe_cli.run.layout import TIMESTAMP_FORMAT, RunLayout

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.storage.base import Storage


__all__ = [
    "BaseExperiment",
    "DatetimeFormat",
    "ExperimentRun",
    "ExperimentRunManifest",
    "InputArtifactLocations",
    "VersionedExperiment",
]


DatetimeFormat = TIMESTAMP_FORMAT


class BaseExperiment(SerializableRunnable[TInput, TOutput]):
    """A registered experiment, and where its runs are kept.

    Storage and engine are those of `SCYTHE_STORAGE_*` and `SCYTHE_ENGINE`, else of experiments.toml in the working
    directory or above, else `./runs` and the local engine.

    Attributes:
        runnable: The registered function, or its name; `experiment=` is accepted too.
        run_name: The experiment's folder, when it is not to be the registered name.
        storage_settings: The bucket to use instead.
    """

    runnable: Runnable = Field(validation_alias=AliasChoices("runnable", "experiment"))
    run_name: str | None = None
    storage_settings: ScytheStorageSettings = Field(default_factory=ScytheStorageSettings)

    @field_validator("run_name")
    @classmethod
    def _check_run_name(cls, value: str | None) -> str | None:
        return None if value is None else check_run_name(value)

    @property
    def base_id(self) -> str:
        """The experiment's folder."""
        return self.run_name or str(self.runnable.name)

    @property
    def prefix(self) -> str:
        """The key of the experiment's folder in the bucket."""
        return f"{self.key_prefix}{self.base_id}/"

    @property
    def key_prefix(self) -> str:
        """What keys of the bucket begin with; for a folder, what they would begin with in a bucket."""
        location = self.storage_settings.location or self.storage().location
        if location.startswith("s3://"):
            prefix = location.removeprefix("s3://").partition("/")[2].strip("/")
            return f"{prefix}/" if prefix else ""
        return f"{self.storage_settings.BUCKET_PREFIX}/"

    def storage(self) -> Storage:
        """The place where the runs are kept."""
        from scythe_cli.services.project import open_project

        return open_project(storage=self.storage_settings.location).storage

    def list_versions(self, s3_client: Any = None) -> list[VersionedExperiment[TInput, TOutput]]:
        """The versions of the experiment, oldest first; folders that are no versions are passed over."""
        from scythe_cli.run.versions import list_versions

        _warn_of_client(s3_client)
        versions = list_versions(self.storage(), self.base_id)
        return [VersionedExperiment(base_experiment=self, version=version) for version in versions]

    def latest_version(
        self, s3_client: Any = None, from_cache: bool = False
    ) -> VersionedExperiment[TInput, TOutput] | None:
        """The newest version; None when there is none. It is looked up each time: `from_cache` is accepted only."""
        del from_cache
        versions = self.list_versions(s3_client)
        return versions[-1] if versions else None

    @property
    def latest_run(self) -> ExperimentRun[TInput, TOutput]:
        """The newest run of the newest version that has one.

        Raises:
            ExperimentNotFoundError: If there is none.
        """
        from scythe_cli.run.versions import latest_run

        layout = latest_run(self.storage(), self.base_id)
        if layout is None:
            raise ExperimentNotFoundError(self.base_id)
        return _experiment_run(self, layout)

    @property
    def latest_results(self) -> dict[str, str]:
        """The final tables of the newest run: name to key in the bucket, or to path."""
        return self.latest_run.list_results_files()

    def latest_results_for_version(self, version: SemVer) -> dict[str, str]:
        """The final tables of the newest run of a version."""
        return VersionedExperiment(base_experiment=self, version=version).latest_run_results

    def resolve_next_version(self, version: SemVer | VersioningStrategy, s3_client: Any = None) -> SemVer:
        """The version that a run would get now."""
        if isinstance(version, SemVer):
            return version
        latest = self.latest_version(s3_client)
        return next_version(latest.version if latest else None, _bump(version))

    def check_spec_types(self, specs: Sequence[Any]) -> None:
        """Check that all specs are of the experiment's input model.

        Raises:
            ExperimentSpecsMismatchError: If one is not.
        """
        for spec in specs:
            self.check_spec_type(spec)

    def check_spec_type(self, spec: Any) -> None:
        """Check that a spec is of the experiment's input model.

        Raises:
            ExperimentSpecsMismatchError: If it is not.
        """
        expected = self.runnable.input_validator_type
        if not isinstance(spec, expected):
            raise ExperimentSpecsMismatchError(expected_type=expected, actual_type=type(spec))

    def allocate(
        self,
        specs: Sequence[Any] | Any,
        version: SemVer | VersioningStrategy = "bumpmajor",
        overwrite_sort_index: bool = True,
        overwrite_experiment_id: bool = True,
        recursion_map: RecursionMap | None = None,
        s3_client: Any = None,
        *,
        reuse: bool | str = False,
    ) -> tuple[ExperimentRun[TInput, TOutput], RunRef]:
        """Run specs: one, or a sequence.

        Args:
            specs: Instances of the input model; `experiment_id` and `sort_index` are set on them.
            version: `bumpmajor`, `bumpminor`, `bumppatch`, `keep`, or a version.
            overwrite_sort_index: False: the specs must be numbered 0, 1, 2, … already.
            overwrite_experiment_id: Accepted for compatibility; the run's id is always set.
            recursion_map: The shape of scatter/gather on a fleet.
            s3_client: Accepted for compatibility, and not used.
            reuse: Whether outcomes are taken over from earlier runs where inputs, files and code are the same; or the
                version or run to take them from.

        Returns:
            The run, and a reference to its execution: `ref.result()` waits for it. The local engine has finished by
            then; a fleet goes on.

        Raises:
            InvalidInputError: If a spec or an input file is wrong; nothing was written.
            UnreachableError: If storage or engine cannot be used.
        """
        _warn_of_client(s3_client)
        del overwrite_experiment_id
        spec_list = list(specs) if isinstance(specs, Sequence) else [specs]
        self.check_spec_types(spec_list)
        if not overwrite_sort_index and [spec.sort_index for spec in spec_list] != list(range(len(spec_list))):
            raise SpecsError("with overwrite_sort_index=False, the specs must have sort_index 0, 1, 2, … in order")
        if reuse is True and version == "bumpmajor" and (latest := self.latest_version()):
            reuse = str(latest.version)  # by itself it looks at the same major version only
        choices = Choices(
            folder=check_run_name(self.base_id),
            location=self.storage_settings.location,
            version=version if isinstance(version, SemVer) else _bump(version),
            shape=recursion_map or RecursionMap(factor=10, max_depth=0),
            single=not isinstance(specs, Sequence),
            reuse=reuse,
        )
        layout, ref = allocate_specs(self.runnable, spec_list, choices)
        return _experiment_run(self, layout), ref


class InputArtifactLocations(BaseModel):
    """The list of input files, as scythe-engine writes it."""

    files: dict[str, set[S3Url]]


class ExperimentRunManifest(BaseModel):
    """The manifest, as scythe-engine writes it."""

    workflow_run_id: str
    experiment_id: str
    experiment_name: str
    specs_uri: StoredUri
    io_spec: StoredUri
    input_artifacts: StoredUri | None = None


class VersionedExperiment(Subscriptable[TInput, TOutput]):
    """One version of an experiment."""

    base_experiment: BaseExperiment[TInput, TOutput]
    version: SemVer

    @property
    def base_id(self) -> str:
        """`<experiment>/<version>`."""
        return f"{self.base_experiment.base_id}/{self.version}"

    @property
    def prefix(self) -> str:
        """The key of the version's folder in the bucket."""
        return f"{self.base_experiment.prefix}{self.version}/"

    def list_runs(self, s3_client: Any = None) -> list[ExperimentRun[TInput, TOutput]]:
        """The runs of the version, oldest first."""
        from scythe_cli.run.versions import list_runs

        _warn_of_client(s3_client)
        base = self.base_experiment
        return [_experiment_run(base, layout) for layout in list_runs(base.storage(), base.base_id, self.version)]

    @property
    def latest_run(self) -> ExperimentRun[TInput, TOutput]:
        """The newest run of the version.

        Raises:
            ExperimentNotFoundError: If there is none.
        """
        runs = self.list_runs()
        if not runs:
            raise ExperimentNotFoundError(self.base_id)
        return runs[-1]

    @property
    def latest_run_results(self) -> dict[str, str]:
        """The final tables of the newest run: name to key in the bucket, or to path."""
        return self.latest_run.list_results_files()


class ExperimentRun(Subscriptable[TInput, TOutput]):
    """One run of a version."""

    versioned_experiment: VersionedExperiment[TInput, TOutput]
    timestamp: datetime

    @property
    def dt_str(self) -> str:
        """The timestamp as it is in the folder's name (UTC)."""
        return self.timestamp.astimezone(UTC).strftime(TIMESTAMP_FORMAT)

    @property
    def experiment_id(self) -> str:
        """`<experiment>/<version>/<timestamp>`."""
        return f"{self.versioned_experiment.base_id}/{self.dt_str}"

    @property
    def prefix(self) -> str:
        """The key of the run's folder in the bucket."""
        return f"{self.versioned_experiment.prefix}{self.dt_str}/"

    @property
    def artifact_prefix(self) -> str:
        """What the keys of uploaded input files begin with."""
        return f"{self.prefix}artifacts/"

    def construct_specs_filekey(self, filename: str) -> str:
        """The key of a Parquet file in the run's folder."""
        return f"{self.prefix}{filename}.pq"

    @property
    def specs_filename(self) -> str:
        """The name of the file of specs, without its ending."""
        return "specs"

    @property
    def specs_filekey(self) -> str:
        """The key of the specs."""
        return self.construct_specs_filekey(self.specs_filename)

    @property
    def manifest_filekey(self) -> str:
        """The key of the manifest."""
        return f"{self.prefix}manifest.yml"

    @property
    def io_spec_filekey(self) -> str:
        """The key of the schemas of input and output."""
        return f"{self.prefix}experiment_io_spec.yml"

    @property
    def input_artifacts_filekey(self) -> str:
        """The key of the list of input files."""
        return f"{self.prefix}input_artifacts.yml"

    @property
    def workflow_spec_filekey(self) -> str:
        """The key of the spec of a run of one spec."""
        return f"{self.prefix}workflow_spec.yml"

    @property
    def final_results_dirkey(self) -> str:
        """What the keys of final tables begin with."""
        return f"{self.prefix}final/"

    @property
    def scalars_filekey(self) -> str:
        """The key of the table of scalar outputs."""
        return f"{self.final_results_dirkey}scalars.pq"

    def as_uri(self, key: str) -> StoredUri:
        """Where the object of a key is: a URL of S3, or a path where runs are kept in a folder."""
        experiment = self.versioned_experiment.base_experiment
        return located(experiment.storage().uri(key.removeprefix(experiment.key_prefix)))

    def construct_manifest(self, workflow_run_id: str) -> ExperimentRunManifest:
        """What scythe-engine writes of a run; this program's manifest says more."""
        experiment = self.versioned_experiment.base_experiment
        return ExperimentRunManifest(
            workflow_run_id=workflow_run_id,
            experiment_id=self.experiment_id,
            experiment_name=experiment.runnable.name,
            io_spec=self.as_uri(self.io_spec_filekey),
            input_artifacts=self.as_uri(self.input_artifacts_filekey),
            specs_uri=self.as_uri(self.specs_filekey),
        )

    def open(self) -> Run:
        """The run, to ask for its status, errors and tables."""
        from scythe_cli.analysis.run import Run

        experiment = self.versioned_experiment.base_experiment
        layout = RunLayout(experiment.base_id, self.versioned_experiment.version, self.timestamp)
        return Run(experiment.storage(), layout)

    def list_results_files(self, s3_client: Any = None) -> dict[str, str]:
        """The final tables: name to key in the bucket (with its prefix), or to path when the storage is a folder."""
        _warn_of_client(s3_client)
        run = self.open()
        uris = {name: run.storage.uri(key) for name, key in run.table_keys().items()}
        return {name: uri.split("/", 3)[3] if uri.startswith("s3://") else uri for name, uri in uris.items()}


def _experiment_run(experiment: BaseExperiment[Any, Any], layout: RunLayout) -> ExperimentRun[Any, Any]:
    versioned = VersionedExperiment(base_experiment=experiment, version=layout.version)
    return ExperimentRun(versioned_experiment=versioned, timestamp=layout.timestamp)


def _bump(version: str) -> Bump:
    if version not in BUMPS:
        raise InvalidInputError(f"version={version!r} is none of {', '.join(BUMPS)} and is not a SemVer")
    return BUMPS[version]


def _warn_of_client(s3_client: Any) -> None:
    if s3_client is not None:
        warnings.warn(
            "s3_client is not used: the storage comes from SCYTHE_STORAGE_*, experiments.toml, or storage_settings",
            DeprecationWarning,
            stacklevel=3,
        )
