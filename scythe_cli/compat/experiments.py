"""Experiments from Python, with the names and shapes of scythe-engine 1.3; a thin façade over the services."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_serializer, field_validator

from scythe_cli.core.names import check_experiment_name
from scythe_cli.core.recursion import RecursionMap
from scythe_cli.core.semver import (
    BUMPS,
    Bump,
    SemVer,
    VersioningStrategy,
    next_version,
)
from scythe_cli.errors import InvalidInputError, NotFoundError, SpecsError
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.model.registration import ExperimentRegistry
from scythe_cli.model.settings import ScytheStorageSettings
from scythe_cli.run.layout import TIMESTAMP_FORMAT, RunLayout

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.engines.base import Engine
    from scythe_cli.services.allocation.submission import AllocationRequest
    from scythe_cli.services.project import Project
    from scythe_cli.services.records import AllocateResult
    from scythe_cli.services.runs.fleet import FleetRunRef
    from scythe_cli.storage.base import Storage


__all__ = [
    "BaseExperiment",
    "ExperimentNotFoundError",
    "ExperimentRun",
    "ExperimentSpecsMismatchError",
    "RunRef",
    "VersionedExperiment",
]


DatetimeFormat = TIMESTAMP_FORMAT


class ExperimentSpecsMismatchError(SpecsError):
    """A spec is not of the experiment's input model."""

    def __init__(self, expected_type: type, actual_type: type) -> None:
        self.expected_type = expected_type
        self.actual_type = actual_type
        super().__init__(f"expected specs of type {expected_type.__name__}, got {actual_type.__name__}")


class ExperimentNotFoundError(NotFoundError):
    """An experiment has no runs."""

    def __init__(self, experiment_name: str) -> None:
        self.experiment_name = experiment_name
        super().__init__(f"experiment {experiment_name!r} has no runs", hint="Allocate some specs first.")


class RunRef:
    """A reference to the execution of a run, which the local engine has finished when it is returned.

    Attributes:
        workflow_run_id: The id of the execution.
    """

    def __init__(self, result: AllocateResult) -> None:
        self.workflow_run_id = result.workflow_run_id
        self._result = result

    def result(self) -> AllocateResult:
        """What the run did: counts, tables, and what went wrong."""
        return self._result

    async def aio_result(self) -> AllocateResult:
        """The same, to await."""
        return self._result


class BaseExperiment(BaseModel):
    """A registered experiment, and where its runs are kept.

    Storage and engine are those of `SCYTHE_STORAGE_*` and `SCYTHE_ENGINE`, else of experiments.toml in the working
    directory or above, else `./runs` and the local engine.

    Attributes:
        runnable: The registered function, or its name; `experiment=` is accepted too.
        run_name: The experiment's folder, when it is not to be the registered name.
        storage_settings: The bucket to use instead.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    runnable: Any = Field(validation_alias=AliasChoices("runnable", "experiment"))
    run_name: str | None = None
    storage_settings: ScytheStorageSettings = Field(default_factory=ScytheStorageSettings)

    @field_validator("runnable", mode="before")
    @classmethod
    def _find_runnable(cls, value: Any) -> Any:
        if isinstance(value, str):
            return ExperimentRegistry.get_runnable(value)
        if not hasattr(value, "input_validator_type"):
            raise InvalidInputError(
                f"{value!r} is no experiment", hint="Decorate the function with @ExperimentRegistry.Register()."
            )
        return value

    @field_validator("run_name")
    @classmethod
    def _check_run_name(cls, value: str | None) -> str | None:
        return None if value is None else check_experiment_name(value)

    @field_serializer("runnable")
    def _name_runnable(self, value: Any) -> str:
        return str(value.name)

    @property
    def base_id(self) -> str:
        """The experiment's folder."""
        return self.run_name or str(self.runnable.name)

    @property
    def prefix(self) -> str:
        """The key of the experiment's folder in the bucket."""
        return f"{self.storage_settings.BUCKET_PREFIX}/{self.base_id}/"

    def storage(self) -> Storage:
        """The place where the runs are kept."""
        from scythe_cli.services.project import open_project

        return open_project(storage=self.storage_settings.location).storage

    def list_versions(self, s3_client: Any = None) -> list[VersionedExperiment]:
        """The versions of the experiment, oldest first; folders that are no versions are passed over."""
        from scythe_cli.run.versions import list_versions

        _warn_of_client(s3_client)
        versions = list_versions(self.storage(), self.base_id)
        return [VersionedExperiment(base_experiment=self, version=version) for version in versions]

    def latest_version(self, s3_client: Any = None, from_cache: bool = False) -> VersionedExperiment | None:
        """The newest version; None when there is none. It is looked up each time: `from_cache` is accepted only."""
        del from_cache
        versions = self.list_versions(s3_client)
        return versions[-1] if versions else None

    @property
    def latest_run(self) -> ExperimentRun:
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
        expected = self.runnable.input_validator_type
        for spec in specs:
            if not isinstance(spec, expected):
                raise ExperimentSpecsMismatchError(expected_type=expected, actual_type=type(spec))

    def allocate(
        self,
        specs: Sequence[ExperimentInputSpec] | ExperimentInputSpec,
        version: SemVer | VersioningStrategy = "bumpmajor",
        overwrite_sort_index: bool = True,
        overwrite_experiment_id: bool = True,
        recursion_map: RecursionMap | None = None,
        s3_client: Any = None,
    ) -> tuple[ExperimentRun, RunRef | FleetRunRef]:
        """Run specs: one, or a sequence.

        Args:
            specs: Instances of the input model; `experiment_id` and `sort_index` are set on them.
            version: `bumpmajor`, `bumpminor`, `bumppatch`, `keep`, or a version.
            overwrite_sort_index: False: the specs must be numbered 0, 1, 2, … already.
            overwrite_experiment_id: Accepted for compatibility; the run's id is always set.
            recursion_map: The shape of scatter/gather on a fleet.
            s3_client: Accepted for compatibility, and not used.

        Returns:
            The run, and a reference to its execution: `ref.result()` waits for it. The local engine has finished by
            then; a fleet goes on.

        Raises:
            InvalidInputError: If a spec or an input file is wrong; nothing was written.
            UnreachableError: If storage or engine cannot be used.
        """
        from scythe_cli.model.function_loading import stop_if_in_worker
        from scythe_cli.services.allocation.submission import execute, submit
        from scythe_cli.services.project import open_project
        from scythe_cli.services.runs.fleet import submit_job

        stop_if_in_worker()
        _warn_of_client(s3_client)
        del overwrite_experiment_id
        spec_list = list(specs) if isinstance(specs, Sequence) else [specs]
        self.check_spec_types(spec_list)
        if not overwrite_sort_index and [spec.sort_index for spec in spec_list] != list(range(len(spec_list))):
            raise SpecsError("with overwrite_sort_index=False, the specs must have sort_index 0, 1, 2, … in order")
        project = open_project(storage=self.storage_settings.location)
        request = replace(
            self._request(project, spec_list, recursion_map or RecursionMap(factor=10, max_depth=0)),
            version=version if isinstance(version, SemVer) else _bump(version),
            single=not isinstance(specs, Sequence),
        )
        submission = submit(request)
        layout = submission.job.run
        _number(spec_list, layout.experiment_id)
        if project.engine.outlives_client:
            return _experiment_run(self, layout), submit_job(submission.job, project.engine)
        return _experiment_run(self, layout), RunRef(execute(submission, request.engine))

    def _request(
        self, project: Project, specs: Sequence[ExperimentInputSpec], shape: RecursionMap
    ) -> AllocationRequest:
        """What is to be allocated, once the specs are known to survive being written and read again."""
        from scythe_cli.model.entrypoints import entrypoint_of
        from scythe_cli.model.spec_rows import table_from_specs
        from scythe_cli.run.manifest import RecursionRecord
        from scythe_cli.sampling.field_values import check_round_trip
        from scythe_cli.services.allocation.submission import AllocationRequest

        experiment = self._experiment(project.engine)
        inputs = table_from_specs(specs, experiment.input_validator_type)
        check_round_trip(experiment.input_validator_type, inputs)
        return AllocationRequest(
            experiment=experiment,
            folder=check_experiment_name(self.base_id),
            inputs=inputs,
            storage=project.storage,
            engine=project.engine,
            root=project.root if project.config_path else None,
            base_dir=Path.cwd(),
            workers=min(project.workers, len(specs) or 1),
            recursion=RecursionRecord(factor=shape.factor, max_depth=shape.max_depth),
            entrypoint=entrypoint_of(experiment.fn),
        )

    def _experiment(self, engine: Engine) -> RegisteredExperiment[Any, Any]:
        """What is to be called for each spec."""
        if isinstance(self.runnable, RegisteredExperiment):
            return cast("RegisteredExperiment[Any, Any]", self.runnable)
        workflow = engine.experiment_of(self.runnable)
        if workflow is not None:
            return workflow
        raise InvalidInputError(
            f"{self.base_id} is a workflow, which only the hatchet engine runs", hint="Set SCYTHE_ENGINE=hatchet."
        )


class VersionedExperiment(BaseModel):
    """One version of an experiment."""

    base_experiment: BaseExperiment
    version: SemVer

    @property
    def base_id(self) -> str:
        """`<experiment>/<version>`."""
        return f"{self.base_experiment.base_id}/{self.version}"

    @property
    def prefix(self) -> str:
        """The key of the version's folder in the bucket."""
        return f"{self.base_experiment.prefix}{self.version}/"

    def list_runs(self, s3_client: Any = None) -> list[ExperimentRun]:
        """The runs of the version, oldest first."""
        from scythe_cli.run.versions import list_runs

        _warn_of_client(s3_client)
        base = self.base_experiment
        return [_experiment_run(base, layout) for layout in list_runs(base.storage(), base.base_id, self.version)]

    @property
    def latest_run(self) -> ExperimentRun:
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


class ExperimentRun(BaseModel):
    """One run of a version."""

    versioned_experiment: VersionedExperiment
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


def _number(specs: Sequence[ExperimentInputSpec], experiment_id: str) -> None:
    """Tell the specs which they are, where their models allow it."""
    for position, spec in enumerate(specs):
        if type(spec).model_config.get("frozen"):
            break
        spec.experiment_id = experiment_id
        spec.sort_index = position


def _experiment_run(experiment: BaseExperiment, layout: RunLayout) -> ExperimentRun:
    versioned = VersionedExperiment(base_experiment=experiment, version=layout.version)
    return ExperimentRun(versioned_experiment=versioned, timestamp=layout.timestamp)


def _bump(version: str) -> Bump:
    if version not in BUMPS:
        raise InvalidInputError(f"version={version!r} is none of {', '.join(BUMPS)}, and no SemVer")
    return BUMPS[version]


def _warn_of_client(s3_client: Any) -> None:
    if s3_client is not None:
        warnings.warn(
            "s3_client is not used: the storage comes from SCYTHE_STORAGE_*, experiments.toml, or storage_settings",
            DeprecationWarning,
            stacklevel=3,
        )
