"""A project: experiments.toml, and everything that a command does with it, as calls that return records."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scythe_cli.config.file import find_config
from scythe_cli.config.location import locate
from scythe_cli.config.schema import Config, load_config
from scythe_cli.services.configured import engine_name_of
from scythe_cli.services.page import ShowsPage

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from typing_extensions import Unpack

    from scythe_cli.analysis.run import Run
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.core.states import State
    from scythe_cli.doe.settings import SampleOptionsDict
    from scythe_cli.engines.base import Engine
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.model.describe import ExperimentRecord
    from scythe_cli.run.catalog import VersionRecord
    from scythe_cli.run.design_record import DesignName, SampleResult
    from scythe_cli.run.records import RunRecord, RunStatus
    from scythe_cli.services.allocation.options import AllocateOptionsDict, ReadingDict
    from scythe_cli.services.allocation.plan import AllocationPlan
    from scythe_cli.services.mapping import MapOptions
    from scythe_cli.services.records import AllocateResult, CancelResult, SubmitResult, ValidationReport
    from scythe_cli.services.reuse.explanation import Explanation
    from scythe_cli.services.runs.verify import VerifyResult

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
        engine: `local`, `hatchet`, `slurm` or another by its name, instead of what the environment or the file says.
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
        location=locate(storage, loaded.scythe.storage, root),
        engine_name=engine_name_of(engine, loaded),
    )


class Project(ShowsPage):
    """A project: each method is one command."""

    def describe(self, name: str | None = None) -> list[ExperimentRecord]:
        """Describe the experiments, or one of them with its fields.

        Without a name, an experiment that cannot be loaded is described with the problem; with a name it raises.
        """
        from scythe_cli.services.described import describe_all, describe_one

        return describe_all(self) if name is None else [describe_one(self, name)]

    def sample(
        self,
        out: str | Path,
        experiment: str | None = None,
        *,
        design: DesignName | None = None,
        n: int | None = None,
        seed: int | None = None,
        continues: str | None = None,
        overwrite: bool = False,
        drop_refused: bool = False,
        **options: Unpack[SampleOptionsDict],
    ) -> SampleResult:
        """Make a sampling file from the bounds of an experiment's inputs.

            project.sample("cases.csv", n=128, design="sobol", set={"tilt": (10, 40), "kind": ["flat", "saw"]})

        Args:
            out: The file, CSV or Parquet by its ending.
            experiment: Which experiment; may be left out when there is only one.
            design: `lhs`, which is the default, `sobol`, `halton`, `random`, `saltelli`, `grid`, `oat` or `zip`.
            n: The number of rows; of `saltelli` the base points, of `grid` and `oat` the most rows.
            seed: For random designs; drawn unless given, and then told in the result.
            continues: A run, of whose own design the next `n` points are wanted.
            overwrite: Whether a file of that name is replaced.
            drop_refused: Whether rows that the model refuses by rules that its bounds do not tell are left out.
            options: `set`, `fix`, `levels`, `log`, `normal`, `triangular`, `only`, `where` and others: what is said of
                fields and rows; see `scythe_cli.doe.settings.SampleOptions`.

        Raises:
            UsageError: If a required field has no bounds, the file is there, or what was asked for cannot be.
            SamplingFileError: If the model refuses rows.
            StorageError: If the file cannot be written.
        """
        from scythe_cli.doe.settings import SampleOptions
        from scythe_cli.services.designs import Sampling, sample_cases

        sampling = Sampling(design, n, seed, SampleOptions(**options), continues, overwrite, drop_refused)
        return sample_cases(self, Path(out), experiment, sampling)

    def validate(
        self, file: str | Path | None = None, experiment: str | None = None, **options: Unpack[ReadingDict]
    ) -> ValidationReport:
        """Check a sampling file and the input files that it names; nothing is written.

        Args:
            file: A sampling file, by its path or URL, or `-` for standard input; or a run in its place.
            experiment: Which experiment; may be left out when there is only one.
            options: See `scythe_cli.services.allocation.options.CaseOptions`.

        Raises:
            SamplingFileError: If the file or some of its cells are wrong.
            SpecsError: If it has no cases, or input files are missing.
        """
        from scythe_cli.services.allocation.intake import read_cases, validate_cases
        from scythe_cli.services.allocation.options import CaseOptions

        return validate_cases(self, read_cases(self, file, CaseOptions(experiment=experiment, **options)))

    def allocate(
        self,
        file: str | Path | None = None,
        *,
        progress: ProgressCallback | None = None,
        stop: StopSignal | None = None,
        **options: Unpack[AllocateOptionsDict],
    ) -> AllocateResult:
        """Run every case of a sampling file, and gather the final tables.

        Args:
            file: A sampling file, by its path or URL, or `-` for standard input; or a run in its place.
            progress: Called as the run goes on; in a notebook, a bar below the cell unless given.
            stop: Stops the run when it is triggered.
            options: See `scythe_cli.services.allocation.options.AllocateOptions`.

        Raises:
            InvalidInputError: If configuration, module or file are wrong; nothing was written.
            UnreachableError: If storage or engine cannot be used.
            WaitTimeoutError: If a fleet has not finished in time; the run goes on.
        """
        with self._warmed_up(self.engine, options.get("workers")):
            from scythe_cli.services.allocation.options import AllocateOptions
            from scythe_cli.services.allocation.repeating import allocate_file

            return allocate_file(self, file, AllocateOptions(**options), progress=progress, stop=stop)

    def _warmed_up(self, engine: Engine, workers: Any) -> AbstractContextManager[None]:
        """Surrounds what will execute cases, checks of its options included."""
        return engine.warmed_up(workers if isinstance(workers, int) and workers > 0 else self.workers)

    def map(self, function: Callable[..., Any], cases: Any, **options: Unpack[MapOptions]) -> Run:
        """Call any function for each of some cases; see `scythe_cli.map`."""
        from scythe_cli.services.mapping import map_cases

        return map_cases(self, function, cases, **options)

    def plan(
        self,
        file: str | Path | None = None,
        *,
        pilot: int | None = None,
        pilot_seed: int | None = None,
        progress: ProgressCallback | None = None,
        stop: StopSignal | None = None,
        **options: Unpack[AllocateOptionsDict],
    ) -> AllocationPlan:
        """Tell what `allocate` would do; nothing is written to the storage.

        Args:
            file: A sampling file, by its path or URL, or `-` for standard input; or a run in its place.
            pilot: How many random rows to run on this machine, to see how long they take; their results are discarded.
            pilot_seed: Chooses them; the seed of the run unless given.
            progress: Called as the pilot goes on.
            stop: Stops the pilot.
            options: See `scythe_cli.services.allocation.options.AllocateOptions`.

        Raises:
            InvalidInputError: If configuration, module or file are wrong.
            UnreachableError: If the storage cannot be used.
        """
        from scythe_cli.services.allocation.intake import cases_of
        from scythe_cli.services.allocation.options import AllocateOptions
        from scythe_cli.services.allocation.plan import plan_allocation

        chosen = AllocateOptions(**options).with_seed()
        cases = cases_of(self, file, chosen)
        plan = plan_allocation(
            cases.request(self, chosen),
            file=cases.shown,
            defaulted=cases.table.defaulted,
            pilot=pilot,
            pilot_seed=int(chosen.seed) if pilot_seed is None else pilot_seed,
            stop=stop,
            progress=progress,
        )
        return plan.model_copy(update={"notices": [*cases.table.notices, *plan.notices]})

    def submit(self, file: str | Path | None = None, **options: Unpack[AllocateOptionsDict]) -> SubmitResult:
        """Hand every case of a sampling file to a fleet, and return while it works.

        Args:
            file: A sampling file, by its path or URL, or `-` for standard input; or a run in its place.
            options: See `scythe_cli.services.allocation.options.AllocateOptions`.

        Raises:
            UsageError: If the engine is not a fleet.
            InvalidInputError: If configuration, module or file are wrong; nothing was written.
            UnreachableError: If storage or engine cannot be used.
        """
        from scythe_cli.services.allocation.intake import submit_cases
        from scythe_cli.services.allocation.options import AllocateOptions

        return submit_cases(self, file, AllocateOptions(**options))

    def explain(self, reference: str, row: int) -> Explanation:
        """Tell why a spec of a run was taken over from an earlier run, or why it was not.

        Raises:
            NotFoundError: If there is no such run or row.
            StorageError: If the run cannot be read.
        """
        from scythe_cli.services.reuse.explanation import explain_row

        return explain_row(self.run(reference), row)

    def engine_of(self, run: Run) -> Engine | None:
        """The engine that a run was allocated with; None when it is not known, or not installed here."""
        from scythe_cli.engines.entry_points import is_engine

        name = None if run.manifest is None else run.manifest.engine
        return self.engine_named(name) if name is not None and is_engine(name) else None

    def status(self, reference: str = "latest") -> RunStatus:
        """Count the specs of a run by state; of a run on a fleet, tell also who serves it."""
        from scythe_cli.services.runs.fleet import with_workers

        run = self.run(reference)
        status, engine = run.status(), self.engine_of(run)
        return status if engine is None else with_workers(status, run, engine)

    def cancel(self, reference: str = "latest", **options: float) -> CancelResult:
        """Stop a run on a fleet; see `cancel_run`, also for the option, `grace_s`."""
        from scythe_cli.services.runs.fleet import cancel_run

        run = self.run(reference)
        return cancel_run(run, self.engine_of(run) or self.engine, **options)

    def retry(
        self,
        reference: str = "latest",
        *,
        only: Collection[State] | None = None,
        engine: str | None = None,
        workers: int | None = None,
        max_failures: int | None = None,
        accept_new_code: bool = False,
        force: bool = False,
        wait_timeout_s: float | None = None,
        function: Any = None,
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
            accept_new_code: Go on although the code has changed since; outcomes tell it then, and are not reused.
            force: Stop what a fleet still has of the run first, and take it over.
            wait_timeout_s: How long to wait for a fleet.
            function: The function of a run of `scythe_cli.map`, whose code may have changed, or `module:function`.
            progress: Called as the run goes on; in a notebook, a bar below the cell unless given.
            stop: Stops the run when it is triggered.

        Raises:
            NotFoundError: If there is no such run, or the configuration has not its experiment.
            UsageError: If another process is at work on the run.
            InvalidInputError: If the experiment's models, or its code, have changed since.
            UnreachableError: If storage or engine cannot be used.
        """
        from scythe_cli.analysis.notebook import notebook_progress
        from scythe_cli.services.allocation.learning import learned
        from scythe_cli.services.allocation.options import check_numbers
        from scythe_cli.services.runs.retry import RETRIED, retry_run

        check_numbers(workers, max_failures)
        run = self.run(reference)
        allocated_with = run.manifest.engine if run.manifest else None
        chosen = self.engine_named(engine or allocated_with or self.engine_name)
        with notebook_progress(progress) as show, self._warmed_up(chosen, workers):
            return retry_run(
                run,
                learned(self.storage, run.layout.experiment, self.experiment_of(run, function)),
                chosen,
                only=RETRIED if only is None else only,
                root=self.root,
                workers=workers or self.workers,
                max_failures=max_failures,
                accept_new_code=accept_new_code or callable(function),
                force=force,
                wait_timeout_s=wait_timeout_s,
                stop=stop,
                progress=show,
            )

    def verify(
        self, reference: str = "latest", *, n: int = 10, function: Any = None, stop: StopSignal | None = None
    ) -> VerifyResult:
        """Run random rows again, each in a fresh process, and compare them bit by bit with what the run holds.

        Scalars, features and tables are compared; of the run, only the note of when it was verified is written.

        Args:
            reference: The run.
            n: How many rows, of those that succeeded.
            function: The function of a run of `scythe_cli.map`, or `module:function`.
            stop: Stops it when it is triggered.

        Raises:
            NotFoundError: If there is no such run, or no row of it succeeded.
            InvalidInputError: If the experiment's models have changed since.
            StoppedError: If it was stopped.
        """
        from scythe_cli.services.runs.verify import verify_run

        run = self.run(reference)
        experiment = self.experiment_of(run, function)
        return verify_run(run, experiment, n=n, root=self.root, workers=self.workers, stop=stop)

    def runs(self, experiment: str | None = None, *, limit: int | None = None) -> list[RunRecord]:
        """All runs, or those of one experiment, newest first; at most `limit` of them."""
        from scythe_cli.services.runs.listing import run_records

        return run_records(self.storage, experiment, limit=limit)

    def versions(self, experiment: str | None = None) -> list[VersionRecord]:
        """All versions, or those of one experiment, newest first."""
        from scythe_cli.services.runs.listing import version_records

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
