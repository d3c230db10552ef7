"""A project: experiments.toml, and everything that a command does with it, as calls that return records."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scythe_cli.config import CONFIG_NAME, Config, EngineName, ExperimentConfig, find_config, load_config
from scythe_cli.errors import ConfigError, EntrypointError, NotFoundError, ScytheError, UsageError
from scythe_cli.records import (
    AllocateResult,
    CancelResult,
    ExperimentRecord,
    RunRecord,
    RunStatus,
    SubmitResult,
    ValidationReport,
    VersionRecord,
)
from scythe_cli.settings import EngineSettings, ScytheStorageSettings

if TYPE_CHECKING:
    from scythe_cli.allocation import AllocationRequest
    from scythe_cli.executor import StopSignal
    from scythe_cli.outcomes import State
    from scythe_cli.progress import ProgressCallback
    from scythe_cli.registry import RegisteredExperiment
    from scythe_cli.runs import Run
    from scythe_cli.sampling import SamplingTable
    from scythe_cli.storage import Storage
    from scythe_cli.versioning import Bump

__all__ = ["Project", "open_project"]


def open_project(
    config: Path | None = None,
    *,
    storage: str | None = None,
    engine: str | None = None,
    start: Path | None = None,
) -> Project:
    """Open the project of a folder.

    Args:
        config: The configuration file; looked for from `start` upwards unless given.
        storage: A folder or s3://bucket/prefix, instead of what the environment or the file says.
        engine: `local` or `hatchet`, instead of what the environment or the file says.
        start: Where the search begins; the working directory unless given.

    Returns:
        The project. Without a configuration file it has no experiments, but its storage can be read.

    Raises:
        ConfigError: If the file is not there or not right.
    """
    path = config or find_config((start or Path.cwd()).absolute())
    if path is None:
        root, loaded = (start or Path.cwd()).absolute(), Config()
    else:
        path = path.absolute()
        root, loaded = path.parent, load_config(path)
    return Project(
        root=root,
        config_path=path,
        config=loaded,
        location=_location(storage, loaded, root),
        engine_name=_engine(engine, loaded),
    )


def _location(storage: str | None, config: Config, root: Path) -> str:
    """Where runs are kept: the option, then the environment (both seen from here), then the file (from its folder)."""
    from_outside = storage or ScytheStorageSettings().location
    if from_outside is not None:
        return from_outside if "://" in from_outside else str(Path(from_outside).expanduser().absolute())
    location = config.scythe.storage
    return location if "://" in location else str(root / Path(location).expanduser())


def _engine(engine: str | None, config: Config) -> EngineName:
    name = engine or EngineSettings().ENGINE or config.scythe.engine
    if name not in ("local", "hatchet"):
        raise UsageError(f"there is no engine {name!r}", hint="Engines are local and hatchet.")
    return name


@dataclass(frozen=True)
class Project:
    """A project.

    Attributes:
        root: The folder of its configuration; the working directory without one.
        config_path: The configuration file; None when there is none.
        config: What it says.
        location: Where runs are kept.
        engine_name: What runs specs.
    """

    root: Path
    config_path: Path | None
    config: Config
    location: str
    engine_name: EngineName

    @property
    def storage(self) -> Storage:
        """The place where runs are kept."""
        from scythe_cli.storage import open_storage

        return open_storage(self.location, base=self.root)

    def experiment_names(self) -> list[str]:
        """The experiments of the configuration, in its order."""
        return list(self.config.experiments)

    def _choose(self, name: str | None) -> tuple[str, ExperimentConfig]:
        experiments = self.config.experiments
        if self.config_path is None:
            raise ConfigError(
                f"there is no {CONFIG_NAME} in {self.root} or in a folder above it",
                hint="`scythe init` makes a working project; --config names a file elsewhere.",
            )
        if not experiments:
            raise ConfigError(
                f"{self.config_path.name}: it has no experiments",
                hint="Add a table [experiments.<name>] with entrypoint = 'module:function'.",
            )
        if name is None:
            if len(experiments) > 1:
                raise UsageError(
                    f"there are several experiments: {', '.join(experiments)}",
                    hint="Choose one with --experiment NAME.",
                )
            name = next(iter(experiments))
        if name not in experiments:
            close = difflib.get_close_matches(name, experiments, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(experiments)}."
            raise NotFoundError(f"{self.config_path.name} has no experiment {name!r}", hint=hint)
        return name, experiments[name]

    def experiment(self, name: str | None = None) -> tuple[str, RegisteredExperiment[Any, Any]]:
        """Load an experiment, with the options that the configuration gives it.

        Args:
            name: Its name; may be left out when there is only one.

        Returns:
            Its name in the configuration, and the function.

        Raises:
            ConfigError: If there is no configuration, or no experiment in it.
            NotFoundError: If there is no such experiment.
            EntrypointError: If its module cannot be imported or its function is not right.
        """
        from scythe_cli.entrypoints import load_entrypoint
        from scythe_cli.registry import RegisteredExperiment, with_options

        name, settings = self._choose(name)
        loaded = load_entrypoint(settings.entrypoint, self.root)
        if isinstance(loaded, RegisteredExperiment):
            experiment = cast("RegisteredExperiment[Any, Any]", loaded)
        elif self.engine_name == "hatchet":
            from scythe_cli.engines.hatchet.workflows import workflow_experiment

            experiment = workflow_experiment(loaded)
        else:
            raise EntrypointError(
                f"[experiments.{name}]: {settings.entrypoint} is a workflow, which only the hatchet engine runs",
                hint="Use --engine hatchet.",
            )
        options = with_options(
            experiment.options,
            execution_timeout=settings.execution_timeout,
            schedule_timeout=settings.schedule_timeout,
            memory_limit_bytes=settings.memory_limit,
            retries=settings.retries,
        )
        return name, experiment.configured(name=name, options=options)

    def experiment_of(self, run: Run) -> RegisteredExperiment[Any, Any]:
        """Load the experiment of a run: that of its folder's name, else the one with its entrypoint.

        Only what the configuration names is loaded, whatever the run's manifest says.

        Raises:
            NotFoundError: If the configuration has not the run's experiment.
            EntrypointError: If its module cannot be imported or its function is not right.
        """
        name, manifest = run.layout.experiment, run.manifest
        if name not in self.config.experiments and manifest is not None and manifest.entrypoint:
            same = [n for n, settings in self.config.experiments.items() if settings.entrypoint == manifest.entrypoint]
            name = same[0] if len(same) == 1 else name
        return self.experiment(name)[1]

    def describe(self, name: str | None = None) -> list[ExperimentRecord]:
        """Describe the experiments, or one of them with its fields.

        Without a name, an experiment that cannot be loaded is described with the problem; with a name it raises.
        """
        from scythe_cli.describe import describe_experiment

        if name is not None:
            name, settings = self._choose(name)
            return [describe_experiment(name, settings.entrypoint, self.experiment(name)[1])]
        if self.config_path is None:
            self._choose(None)  # raises: there is no configuration
        records: list[ExperimentRecord] = []
        for each, settings in self.config.experiments.items():
            try:
                records.append(describe_experiment(each, settings.entrypoint, self.experiment(each)[1]))
            except ScytheError as error:
                records.append(
                    ExperimentRecord(
                        name=each,
                        entrypoint=settings.entrypoint,
                        description="",
                        kind="function",
                        execution_timeout_s=0.0,
                        retries=0,
                        problem=error.message,
                    )
                )
        return records

    def _read(self, file: Path, experiment: str | None) -> tuple[str, RegisteredExperiment[Any, Any], SamplingTable]:
        from scythe_cli.sampling import read_sampling_file

        name, loaded = self.experiment(experiment)
        return name, loaded, read_sampling_file(file, loaded.input_validator_type)

    def _request(
        self,
        name: str,
        experiment: RegisteredExperiment[Any, Any],
        table: SamplingTable,
        *,
        bump: Bump = "minor",
        workers: int | None = None,
        copy_inputs: bool = False,
        max_failures: int | None = None,
    ) -> AllocationRequest:
        from scythe_cli.allocation import AllocationRequest
        from scythe_cli.engines import get_engine
        from scythe_cli.manifest import RecursionRecord

        settings = self.config.experiments[name]
        return AllocationRequest(
            experiment=experiment,
            folder=name,
            inputs=table.inputs,
            storage=self.storage,
            engine=get_engine(self.engine_name),
            version=bump,
            root=self.root,
            base_dir=table.path.absolute().parent,
            row_label=table.row_label,
            source=table.path.name,
            copy_inputs=copy_inputs,
            workers=workers or self._workers(),
            recursion=RecursionRecord(
                factor=settings.factor or 10, max_depth=1 if settings.max_depth is None else settings.max_depth
            ),
            specs_per_task=settings.specs_per_task,
            entrypoint=settings.entrypoint,
            max_failures=max_failures,
        )

    def validate(self, file: Path, experiment: str | None = None) -> ValidationReport:
        """Check a sampling file and the input files that it names; nothing is written.

        Raises:
            SamplingFileError: If the file or some of its cells are wrong.
            SpecsError: If it has no cases, or input files are missing.
        """
        from scythe_cli.allocation import check_inputs

        name, loaded, table = self._read(file, experiment)
        plan = check_inputs(self._request(name, loaded, table))
        return ValidationReport(
            file=str(file),
            experiment=name,
            n_specs=table.inputs.num_rows,
            columns=[c for c in table.inputs.column_names if c not in table.defaulted],
            defaulted=table.defaulted,
            ignored=table.ignored,
            input_files=len(plan.uploads),
            input_bytes=plan.total_bytes,
        )

    def allocate(
        self,
        file: Path,
        *,
        experiment: str | None = None,
        bump: Bump = "minor",
        workers: int | None = None,
        copy_inputs: bool = False,
        max_failures: int | None = None,
        wait_timeout_s: float | None = None,
        progress: ProgressCallback | None = None,
        stop: StopSignal | None = None,
    ) -> AllocateResult:
        """Run every case of a sampling file, and gather the final tables.

        Args:
            file: A CSV or Parquet file, one case per row.
            experiment: Which experiment; may be left out when there is only one.
            bump: Which part of the version goes up; `keep` adds a run to the newest version.
            workers: Processes of the local engine; the configuration, or the number of cores, unless given.
            copy_inputs: Whether input files on S3 or HTTP(S) are copied into the run as well.
            max_failures: Stop when that many specs have ended without success.
            wait_timeout_s: How long to wait for a fleet.
            progress: Called as the run goes on.
            stop: Stops the run when it is triggered.

        Raises:
            InvalidInputError: If configuration, module or file are wrong; nothing was written.
            UnreachableError: If storage or engine cannot be used.
            WaitTimeoutError: If a fleet has not finished in time; the run goes on.
        """
        from scythe_cli.allocation import execute, submit
        from scythe_cli.progress import Progress
        from scythe_cli.records import StateCounts

        _check_numbers(workers, max_failures)
        if progress:
            progress(Progress("checking", StateCounts(), detail=file.name))
        name, loaded, table = self._read(file, experiment)
        request = self._request(
            name,
            loaded,
            table,
            bump=bump,
            workers=workers,
            copy_inputs=copy_inputs,
            max_failures=max_failures,
        )
        self._check_engine()
        submission = submit(replace(request, wait_timeout_s=wait_timeout_s), progress)
        return execute(submission, request.engine, stop=stop, progress=progress, notices=_table_notices(table))

    def submit(
        self,
        file: Path,
        *,
        experiment: str | None = None,
        bump: Bump = "minor",
        copy_inputs: bool = False,
    ) -> SubmitResult:
        """Hand every case of a sampling file to a fleet, and return while it works.

        Args:
            file: A CSV or Parquet file, one case per row.
            experiment: Which experiment; may be left out when there is only one.
            bump: Which part of the version goes up.
            copy_inputs: Whether input files on S3 or HTTP(S) are copied into the run as well.

        Raises:
            UsageError: If the engine is not a fleet.
            InvalidInputError: If configuration, module or file are wrong; nothing was written.
            UnreachableError: If storage or engine cannot be used.
        """
        from scythe_cli.allocation import submit
        from scythe_cli.engines.hatchet import HatchetEngine

        if self.engine_name != "hatchet":
            raise UsageError(f"the {self.engine_name} engine runs specs in this process, and has to be waited for")
        name, loaded, table = self._read(file, experiment)
        request = self._request(name, loaded, table, bump=bump, copy_inputs=copy_inputs)
        self._check_engine()
        submission = submit(request)
        job = submission.job
        ref = HatchetEngine().submit(job)
        return SubmitResult(
            experiment_id=job.run.experiment_id,
            experiment=job.run.experiment,
            version=str(job.run.version),
            timestamp=job.run.timestamp,
            uri=submission.uri,
            engine=self.engine_name,
            workflow_run_id=ref.workflow_run_id,
            n_specs=job.n_specs,
            notices=_table_notices(table),
        )

    def _check_engine(self) -> None:
        """See that a fleet can be reached, before a run is claimed for it."""
        if self.engine_name == "hatchet":
            from scythe_cli.engines.hatchet import HatchetEngine

            HatchetEngine().check()

    def status(self, reference: str = "latest") -> RunStatus:
        """Count the specs of a run by state; of a run on a fleet, tell also who serves it."""
        run = self.run(reference)
        status = run.status()
        if status.engine == "hatchet":
            from scythe_cli.fleet import with_workers

            return with_workers(status, run)
        return status

    def cancel(self, reference: str = "latest") -> CancelResult:
        """Stop what has not run of a run on a fleet; results so far are kept and gathered.

        Raises:
            UsageError: If the run is not on a fleet.
            EngineError: If the engine cannot be reached.
        """
        from scythe_cli.fleet import cancel_run

        return cancel_run(self.run(reference))

    def retry(
        self,
        reference: str = "latest",
        *,
        only: Collection[State] | None = None,
        engine: EngineName | None = None,
        workers: int | None = None,
        max_failures: int | None = None,
        progress: ProgressCallback | None = None,
        stop: StopSignal | None = None,
    ) -> AllocateResult:
        """Run again, in the same run, the specs that have no outcome or did not succeed, and gather anew.

        Args:
            reference: The run.
            only: The states to run again; all but `succeeded` unless given.
            engine: What runs them; the engine that the run was allocated with unless given.
            workers: Processes of the local engine.
            max_failures: Stop when that many specs have ended without success.
            progress: Called as the run goes on.
            stop: Stops the run when it is triggered.

        Raises:
            NotFoundError: If there is no such run, or the configuration has not its experiment.
            UsageError: If another process is at work on the run.
            InvalidInputError: If the experiment's models have changed since.
            UnreachableError: If storage or engine cannot be used.
        """
        from scythe_cli.engines import get_engine
        from scythe_cli.recovery import RETRIED, retry_run

        _check_numbers(workers, max_failures)
        run = self.run(reference)
        experiment = self.experiment_of(run)
        allocated_with = run.manifest.engine if run.manifest else None
        return retry_run(
            run,
            experiment,
            get_engine(engine or allocated_with or self.engine_name),
            only=RETRIED if only is None else only,
            root=self.root,
            workers=workers or self._workers(),
            max_failures=max_failures,
            stop=stop,
            progress=progress,
        )

    def _workers(self) -> int:
        return self.config.scythe.workers or os.cpu_count() or 1

    def runs(self, experiment: str | None = None) -> list[RunRecord]:
        """All runs, or those of one experiment, newest first."""
        from scythe_cli.runs import run_records

        return run_records(self.storage, experiment)

    def versions(self, experiment: str | None = None) -> list[VersionRecord]:
        """All versions, or those of one experiment, newest first."""
        from scythe_cli.runs import version_records

        return version_records(self.storage, experiment)

    def run(self, reference: str = "latest") -> Run:
        """Find a run: `latest`, `<experiment>`, `<experiment>/<version>`, or the beginning of its name.

        Raises:
            NotFoundError: If no run, or more than one, fits.
        """
        from scythe_cli.catalog import find_run
        from scythe_cli.runs import Run

        storage = self.storage
        return Run(storage, find_run(storage, reference))

    def load_run(self, reference: str = "latest") -> Run:
        """The same as `run`."""
        return self.run(reference)


def _check_numbers(workers: int | None, max_failures: int | None) -> None:
    if max_failures is not None and max_failures < 1:
        raise UsageError(f"max_failures is {max_failures}; it must be at least 1")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1")


def _table_notices(table: SamplingTable) -> list[str]:
    def names(columns: Sequence[str]) -> str:
        return ", ".join(columns)

    return [f"reserved columns are overwritten: {names(table.ignored)}"] if table.ignored else []
