"""A project: experiments.toml, and everything that a command does with it, as calls that return records."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scythe_cli.config.file import CONFIG_NAME, find_config
from scythe_cli.config.location import environment_has, locate
from scythe_cli.config.schema import (
    Config,
    EngineName,
    ExperimentConfig,
    load_config,
)
from scythe_cli.core.text import hint_for
from scythe_cli.engines.hatchet.connection import use_embedded
from scythe_cli.errors import (
    ConfigError,
    EntrypointError,
    NotFoundError,
    ScytheError,
    UsageError,
)
from scythe_cli.model.records import ExperimentRecord
from scythe_cli.run.records import RunRecord, RunStatus
from scythe_cli.services.records import (
    AllocateResult,
    CancelResult,
    SubmitResult,
    ValidationReport,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from scythe_cli.analysis.run import Run
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.core.semver import Bump
    from scythe_cli.core.states import State
    from scythe_cli.doe.settings import SampleOptionsDict
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.model.experiment import RegisteredExperiment
    from scythe_cli.run.catalog import VersionRecord
    from scythe_cli.run.design_record import DesignName, DesignRecord, SampleResult
    from scythe_cli.sampling.reading import SamplingTable
    from scythe_cli.services.allocate import AllocationRequest
    from scythe_cli.services.plan import AllocationPlan
    from scythe_cli.services.reuse.copy import ReuseRequest
    from scythe_cli.services.reuse.explanation import Explanation
    from scythe_cli.storage.base import Storage


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
    use_embedded(loaded.hatchet.embedded)
    return Project(
        root=root,
        config_path=path,
        config=loaded,
        location=locate(storage, loaded.scythe.storage, root),
        engine_name=_engine(engine, loaded),
    )


def _engine(engine: str | None, config: Config) -> EngineName:
    name = engine or None
    if name is None and environment_has("SCYTHE_ENGINE"):
        from scythe_cli.model.settings import EngineSettings

        name = EngineSettings().ENGINE
    name = name or config.scythe.engine
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
    def outlived_by_runs(self) -> bool:
        """Whether a run goes on when the process ends that has allocated it."""
        return self.engine_name == "hatchet" and not self.config.hatchet.embedded

    @property
    def storage(self) -> Storage:
        """The place where runs are kept."""
        from scythe_cli.storage.opening import open_storage

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
            raise NotFoundError(f"{self.config_path.name} has no experiment {name!r}", hint=hint_for(name, experiments))
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
        from scythe_cli.model.entrypoints import load_entrypoint
        from scythe_cli.model.experiment import RegisteredExperiment, with_options

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
        from scythe_cli.model.describe import describe_experiment

        if name is not None:
            name, settings = self._choose(name)
            record = describe_experiment(name, settings.entrypoint, self.experiment(name)[1])
            self._remember_columns(record)
            return [record]
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

    def _read(
        self, file: str | Path, experiment: str | None, *, then_submit: bool = False
    ) -> tuple[str, RegisteredExperiment[Any, Any], SamplingTable]:
        from scythe_cli.model.experiment import RegisteredExperiment
        from scythe_cli.sampling.pieces import Helpers
        from scythe_cli.sampling.reading import read_sampling_file

        name, loaded = self.experiment(experiment)
        helpers: Helpers | None = None
        if type(loaded) is RegisteredExperiment:  # no workflow of a fleet, which only its workers can load
            helpers = Helpers(loaded, self.root, min(self._workers(), os.cpu_count() or 1) - 1)
        if then_submit and self.engine_name == "hatchet" and _is_large(Path(file)):
            threading.Thread(target=self._load_clients).start()
        return name, loaded, read_sampling_file(Path(file), loaded.input_validator_type, helpers=helpers)

    def _load_clients(self) -> None:
        """Load the clients of engine and storage beside the reading of a file, which leaves Python idle mostly."""
        names = ["scythe_cli.engines.hatchet.client"]
        if self.location.lower().startswith("s3://"):
            names += ["scythe_cli.storage.s3", "s3fs"]
        # what goes wrong goes wrong again where they are used, and is told there
        with contextlib.suppress(Exception):
            for name in names:
                importlib.import_module(name)

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
        reuse: bool | str = False,
        ignore_code: bool = False,
        dedupe: bool = False,
    ) -> AllocationRequest:
        from scythe_cli.engines.entry_points import get_engine
        from scythe_cli.run.manifest import RecursionRecord
        from scythe_cli.services.allocate import AllocationRequest

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
            reuse=_reuse_request(reuse, ignore_code=ignore_code),
            dedupe=dedupe,
        )

    def sample(
        self,
        out: str | Path,
        experiment: str | None = None,
        *,
        design: DesignName = "lhs",
        n: int | None = None,
        seed: int | None = None,
        overwrite: bool = False,
        drop_refused: bool = False,
        **options: Unpack[SampleOptionsDict],
    ) -> SampleResult:
        """Make a sampling file from the bounds of an experiment's inputs.

            project.sample("cases.csv", n=128, design="sobol", set={"tilt": (10, 40), "kind": ["flat", "saw"]})

        Args:
            out: The file, CSV or Parquet by its ending.
            experiment: Which experiment; may be left out when there is only one.
            design: `lhs`, `sobol`, `random`, `saltelli`, `grid`, `oat` or `zip`.
            n: The number of rows; of `saltelli` the base points, of `grid` and `oat` the most rows.
            seed: For random designs; drawn unless given, and then told in the result.
            overwrite: Whether a file of that name is replaced.
            drop_refused: Whether rows that the model refuses by rules that its bounds do not tell are left out.
            options: `set`, `fix`, `levels`, `default_levels`, `log`, `normal`, `triangular` and `only`: what is said of
                single fields; see `scythe_cli.doe.settings.SampleOptions`.

        Raises:
            UsageError: If a required field has no bounds, the file is there, or what was asked for cannot be.
            SamplingFileError: If the model refuses rows.
            StorageError: If the file cannot be written.
        """
        from scythe_cli.doe.sample_file import sample_file
        from scythe_cli.doe.settings import SampleOptions

        name, loaded = self.experiment(experiment)
        return sample_file(
            Path(out),
            name,
            loaded.input_validator_type,
            design,
            n=n,
            seed=seed,
            options=SampleOptions(**options),
            overwrite=overwrite,
            drop_refused=drop_refused,
        )

    def validate(self, file: str | Path, experiment: str | None = None) -> ValidationReport:
        """Check a sampling file and the input files that it names; nothing is written.

        Raises:
            SamplingFileError: If the file or some of its cells are wrong.
            SpecsError: If it has no cases, or input files are missing.
        """
        from scythe_cli.services.allocate import check_inputs

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
        file: str | Path,
        *,
        experiment: str | None = None,
        bump: Bump = "minor",
        workers: int | None = None,
        copy_inputs: bool = False,
        max_failures: int | None = None,
        reuse: bool | str = False,
        ignore_code: bool = False,
        dedupe: bool = False,
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
            reuse: Whether outcomes are taken over from earlier runs of the same major version where inputs, content of
                files, and code are the same; or the version or run to take them from.
            ignore_code: Whether outcomes of other code are taken over as well.
            dedupe: Whether rows that are the same are run once, and the outcome given to all of them.
            wait_timeout_s: How long to wait for a fleet.
            progress: Called as the run goes on; in a notebook, a bar below the cell unless given.
            stop: Stops the run when it is triggered.

        Raises:
            InvalidInputError: If configuration, module or file are wrong; nothing was written.
            UnreachableError: If storage or engine cannot be used.
            WaitTimeoutError: If a fleet has not finished in time; the run goes on.
        """
        from scythe_cli.analysis.notebook import notebook_progress
        from scythe_cli.core.progress import Progress
        from scythe_cli.core.records import StateCounts
        from scythe_cli.services.allocate import execute, submit

        _check_numbers(workers, max_failures)
        progress = notebook_progress(progress)
        if progress:
            progress(Progress("checking", StateCounts(), detail=Path(file).name))
        name, loaded, table = self._read(file, experiment, then_submit=True)
        request = self._request(
            name,
            loaded,
            table,
            bump=bump,
            workers=workers,
            copy_inputs=copy_inputs,
            max_failures=max_failures,
            reuse=reuse,
            ignore_code=ignore_code,
            dedupe=dedupe,
        )
        self._check_engine()
        design, notices = _design_of(table)
        submission = submit(replace(request, wait_timeout_s=wait_timeout_s, design=design), progress)
        self._remember(name, loaded, submission.job.run.experiment_id)
        return execute(submission, request.engine, stop=stop, progress=progress, notices=notices)

    def plan(
        self,
        file: str | Path,
        *,
        experiment: str | None = None,
        bump: Bump = "minor",
        workers: int | None = None,
        copy_inputs: bool = False,
        reuse: bool | str = False,
        ignore_code: bool = False,
        dedupe: bool = False,
        pilot: int | None = None,
        pilot_seed: int = 0,
        progress: ProgressCallback | None = None,
        stop: StopSignal | None = None,
    ) -> AllocationPlan:
        """Tell what `allocate` would do; nothing is written to the storage.

        Args:
            file: A CSV or Parquet file, one case per row.
            experiment: Which experiment; may be left out when there is only one.
            bump: Which part of the version goes up.
            workers: Processes of the local engine.
            copy_inputs: Whether input files on S3 or HTTP(S) are copied into the run as well.
            reuse: What is taken over from earlier runs; see `allocate`.
            ignore_code: Likewise.
            dedupe: Likewise.
            pilot: How many random rows to run on this machine, to see how long they take; their results are discarded.
            pilot_seed: Chooses them.
            progress: Called as the pilot goes on.
            stop: Stops the pilot.

        Raises:
            InvalidInputError: If configuration, module or file are wrong.
            UnreachableError: If the storage cannot be used.
        """
        from scythe_cli.services.plan import plan_allocation

        _check_numbers(workers, None)
        name, loaded, table = self._read(file, experiment)
        request = self._request(
            name,
            loaded,
            table,
            bump=bump,
            workers=workers,
            copy_inputs=copy_inputs,
            reuse=reuse,
            ignore_code=ignore_code,
            dedupe=dedupe,
        )
        return plan_allocation(
            request,
            file=str(file),
            defaulted=table.defaulted,
            pilot=pilot,
            pilot_seed=pilot_seed,
            stop=stop,
            progress=progress,
        )

    def explain(self, reference: str, row: int) -> Explanation:
        """Tell why a spec of a run was taken over from an earlier run, or why it was not.

        Raises:
            NotFoundError: If there is no such run or row.
            StorageError: If the run cannot be read.
        """
        from scythe_cli.services.reuse.explanation import explain_row

        return explain_row(self.run(reference), row)

    def submit(
        self,
        file: str | Path,
        *,
        experiment: str | None = None,
        bump: Bump = "minor",
        copy_inputs: bool = False,
        reuse: bool | str = False,
        ignore_code: bool = False,
        dedupe: bool = False,
    ) -> SubmitResult:
        """Hand every case of a sampling file to a fleet, and return while it works.

        Args:
            file: A CSV or Parquet file, one case per row.
            experiment: Which experiment; may be left out when there is only one.
            bump: Which part of the version goes up.
            copy_inputs: Whether input files on S3 or HTTP(S) are copied into the run as well.
            reuse: What is taken over from earlier runs; see `allocate`.
            ignore_code: Likewise.
            dedupe: Likewise.

        Raises:
            UsageError: If the engine is not a fleet.
            InvalidInputError: If configuration, module or file are wrong; nothing was written.
            UnreachableError: If storage or engine cannot be used.
        """
        from scythe_cli.engines.hatchet.engine import HatchetEngine
        from scythe_cli.run.final.gather import gather
        from scythe_cli.services.allocate import submit

        if not self.outlived_by_runs:
            engine = "embedded Hatchet" if self.engine_name == "hatchet" else self.engine_name
            raise UsageError(f"the {engine} engine runs specs in this process, and has to be waited for")
        name, loaded, table = self._read(file, experiment, then_submit=True)
        request = self._request(
            name,
            loaded,
            table,
            bump=bump,
            copy_inputs=copy_inputs,
            reuse=reuse,
            ignore_code=ignore_code,
            dedupe=dedupe,
        )
        self._check_engine()
        design, notices = _design_of(table)
        submission = submit(replace(request, design=design))
        job = submission.job
        self._remember(name, loaded, job.run.experiment_id)
        workflow_run_id = job.workflow_run_id
        if job.todo is not None and not job.todo.num_rows:
            gather(job.storage, job.run)  # everything was taken over
        else:
            workflow_run_id = HatchetEngine().submit(job).workflow_run_id
        return SubmitResult(
            experiment_id=job.run.experiment_id,
            experiment=job.run.experiment,
            version=str(job.run.version),
            timestamp=job.run.timestamp,
            uri=submission.uri,
            engine=self.engine_name,
            workflow_run_id=workflow_run_id,
            n_specs=job.n_specs,
            notices=[*notices, *submission.left.notices],
        )

    def _remember(self, name: str, experiment: RegisteredExperiment[Any, Any], experiment_id: str) -> None:
        """Let the shell complete a new run, and the experiment's columns."""
        from scythe_cli.model.describe import describe_experiment
        from scythe_cli.services.completions import remember_run

        remember_run(self.storage.location, experiment_id)
        self._remember_columns(describe_experiment(name, "", experiment))

    def _remember_columns(self, record: ExperimentRecord) -> None:
        from scythe_cli.services.completions import remember_columns

        names = [field.name for field in (*record.inputs, *record.outputs)]
        remember_columns(self.storage.location, record.name, "", names)

    def _check_engine(self) -> None:
        """See that a fleet can be reached, before a run is claimed for it."""
        if self.engine_name == "hatchet":
            from scythe_cli.engines.hatchet.engine import HatchetEngine

            HatchetEngine().check()

    def status(self, reference: str = "latest") -> RunStatus:
        """Count the specs of a run by state; of a run on a fleet, tell also who serves it."""
        run = self.run(reference)
        status = run.status()
        if status.engine == "hatchet":
            from scythe_cli.services.fleet import with_workers

            return with_workers(status, run)
        return status

    def cancel(self, reference: str = "latest") -> CancelResult:
        """Stop what has not run of a run on a fleet; results so far are kept and gathered.

        Raises:
            UsageError: If the run is not on a fleet.
            EngineError: If the engine cannot be reached.
        """
        from scythe_cli.services.fleet import cancel_run

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
            progress: Called as the run goes on; in a notebook, a bar below the cell unless given.
            stop: Stops the run when it is triggered.

        Raises:
            NotFoundError: If there is no such run, or the configuration has not its experiment.
            UsageError: If another process is at work on the run.
            InvalidInputError: If the experiment's models have changed since.
            UnreachableError: If storage or engine cannot be used.
        """
        from scythe_cli.analysis.notebook import notebook_progress
        from scythe_cli.engines.entry_points import get_engine
        from scythe_cli.services.retry import RETRIED, retry_run

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
            progress=notebook_progress(progress),
        )

    def _workers(self) -> int:
        return self.config.scythe.workers or os.cpu_count() or 1

    def runs(self, experiment: str | None = None, *, limit: int | None = None) -> list[RunRecord]:
        """All runs, or those of one experiment, newest first; at most `limit` of them."""
        from scythe_cli.services.listing import run_records

        return run_records(self.storage, experiment, limit=limit)

    def versions(self, experiment: str | None = None) -> list[VersionRecord]:
        """All versions, or those of one experiment, newest first."""
        from scythe_cli.services.listing import version_records

        return version_records(self.storage, experiment)

    def run(self, reference: str = "latest") -> Run:
        """Find a run: `latest`, `<experiment>`, `<experiment>/<version>`, or the beginning of its name.

        Raises:
            NotFoundError: If no run, or more than one, fits.
        """
        from scythe_cli.analysis.run import Run
        from scythe_cli.run.catalog import find_run
        from scythe_cli.services.completions import remember_run

        storage = self.storage
        found = find_run(storage, reference)
        remember_run(storage.location, found.experiment_id)
        return Run(storage, found)

    def load_run(self, reference: str = "latest") -> Run:
        """The same as `run`."""
        return self.run(reference)


def _reuse_request(reuse: bool | str, *, ignore_code: bool) -> ReuseRequest | None:
    from scythe_cli.services.reuse.copy import ReuseRequest

    if reuse is False or reuse == "":
        return None
    return ReuseRequest(source=None if reuse is True else reuse, ignore_code=ignore_code)


def _is_large(file: Path) -> bool:
    """Whether reading a file takes longer than starting a thread, and a mistake in it is not told at once anyway."""
    try:
        return file.stat().st_size > 10_000_000
    except OSError:
        return False


def _check_numbers(workers: int | None, max_failures: int | None) -> None:
    if max_failures is not None and max_failures < 1:
        raise UsageError(f"max_failures is {max_failures}; it must be at least 1")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1")


def _design_of(table: SamplingTable) -> tuple[DesignRecord | None, list[str]]:
    """How a sampling file was made, if it says so; and all that there is to tell of the file."""
    from scythe_cli.sampling.reading import read_design

    design, notice = read_design(table.path)
    return design, [*_table_notices(table), *([notice] if notice else [])]


def _table_notices(table: SamplingTable) -> list[str]:
    def names(columns: Sequence[str]) -> str:
        return ", ".join(columns)

    return [f"reserved columns are overwritten: {names(table.ignored)}"] if table.ignored else []
