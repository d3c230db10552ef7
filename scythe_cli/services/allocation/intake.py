"""From a sampling file of a project to what is to be allocated: read, checked, and put together with its options."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scythe_cli.analysis.notebook import notebook_progress
from scythe_cli.core.progress import Progress
from scythe_cli.core.records import StateCounts
from scythe_cli.core.text import redact_uri
from scythe_cli.errors import UsageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.executor.rows.randomness import module_generators
from scythe_cli.model.describe import describe_experiment
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.entrypoints import load_function
from scythe_cli.run.design_record import DesignRecord
from scythe_cli.run.final.gather import gather
from scythe_cli.run.manifest import RecursionRecord
from scythe_cli.run.specs_file import REPLICATE
from scythe_cli.sampling.reading import Helpers, SamplingTable, read_design
from scythe_cli.services.allocation.choosing import chosen_rows, with_rows
from scythe_cli.services.allocation.execution import resumable
from scythe_cli.services.allocation.functions import function_experiment
from scythe_cli.services.allocation.growing import grow, run_grown, run_to_grow
from scythe_cli.services.allocation.learning import learned
from scythe_cli.services.allocation.options import AllocateOptions, CaseOptions
from scythe_cli.services.allocation.submission import AllocationRequest, Submission, check_inputs, execute, submit
from scythe_cli.services.chains.choosing import case_source
from scythe_cli.services.completions import remember_columns, remember_run
from scythe_cli.services.records import SubmitResult, ValidationReport
from scythe_cli.services.runs.fleet import submit_job

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.config.schema import ExperimentConfig
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.engines.base import Job
    from scythe_cli.services.configured import ConfiguredProject
    from scythe_cli.services.records import AllocateResult

__all__ = [
    "Intake",
    "add_intake",
    "allocate_cases",
    "allocate_intake",
    "cases_for",
    "cases_of",
    "read_cases",
    "submit_cases",
    "validate_cases",
]

_ONE_NODE = 1000
_ONE_NODE_AUTO = 100_000


@dataclass(frozen=True, slots=True)
class Intake:
    """A sampling file that was read and checked.

    Attributes:
        name: The experiment's name in the configuration.
        experiment: The experiment, with the options that the configuration gives it.
        table: The file's cases.
        settings: The experiment's table in the configuration; None for a function that is in none.
        entrypoint: `module:function`, for the manifest.
        is_part: Whether only some of the file's cases are taken.
        replicates: How often each case is in the table; that of the file where it has replicates itself.
        shown: What the cases were read from, for results.
    """

    name: str
    experiment: RegisteredExperiment[Any, Any]
    table: SamplingTable
    settings: ExperimentConfig | None = None
    entrypoint: str | None = None
    is_part: bool = False
    replicates: int = 1
    shown: str = ""

    def request(self, project: ConfiguredProject, options: AllocateOptions) -> AllocationRequest:
        """What is to be allocated."""
        settings = self.settings
        if options.dedupe and self.replicates > 1:
            raise UsageError("dedupe runs equal cases once, and the file has replicates: leave one of them out")
        return AllocationRequest(
            experiment=learned(project.storage, self.name, self.experiment),
            folder=self.name,
            inputs=self.table.inputs,
            storage=project.storage,
            engine=project.engine,
            version=options.bump,
            root=project.root,
            base_dir=self.table.base_dir,
            row_label=self.table.row_label,
            source=self.table.source,
            copy_inputs=options.copy_inputs,
            workers=options.workers or project.workers,
            recursion=RecursionRecord(
                factor=(settings.factor if settings else None) or 10,
                max_depth=_depth(settings, self.table.inputs.num_rows),
            ),
            specs_per_task=settings.specs_per_task if settings else "auto",
            entrypoint=self.entrypoint,
            max_failures=options.max_failures,
            wait_timeout_s=options.wait_timeout_s,
            priority=options.priority,
            reuse=options.reuse_request,
            dedupe=options.dedupe,
            seed=0 if options.seed == "new" else options.seed,
            replicates=self.replicates > 1,
            upstream=self.table.upstream,
        )

    def part(self, options: AllocateOptions) -> Intake:
        """The first cases, or random ones, if not all are wanted."""
        if options.limit is None and options.sample is None:
            return self
        rows = chosen_rows(np.arange(self.table.inputs.num_rows), options)
        return replace(self, table=with_rows(self.table, rows), is_part=len(rows) < self.table.inputs.num_rows)

    def replicated(self, replicates: Sequence[int] | int | None) -> Intake:
        """Each case several times: the first replicate of all cases, then the second; so a run can get more of them.

        Raises:
            UsageError: If the experiment has a field of that name, or the file has other replicates.
        """
        of_file = self.table.replicates
        if replicates is None and of_file == 1:
            return self
        if of_file > 1 and replicates not in (None, of_file):
            raise UsageError(
                f"{self.table.source} has {of_file:,} replicates of each case already",
                hint="Leave out --replicates and --until, or sample the file without replicates.",
            )
        outputs = self.experiment.output_validator_type.model_fields
        if REPLICATE in outputs or REPLICATE in self.table.inputs.column_names:
            raise UsageError(f"{self.name!r} has a field {REPLICATE}, as tables call the number of a replicate")
        if of_file > 1 or replicates is None:
            return replace(self, replicates=of_file)
        counts = np.broadcast_to(np.asarray(replicates, np.int64), (self.table.inputs.num_rows,))
        most = int(counts.max(initial=1))
        rows = np.concatenate([np.flatnonzero(counts > i) for i in range(most)]).astype(np.int64)
        return replace(self, table=self.table.taken(rows), replicates=most)

    def design(self) -> tuple[DesignRecord | None, list[str]]:
        """How the file was made, if it says so; and all that there is to tell of the file."""
        has_design = self.table.is_local and not self.is_part
        design, notice = read_design(self.table.path) if has_design else (None, None)
        ignored = self.table.ignored
        notices = [f"reserved columns are overwritten: {', '.join(ignored)}"] if ignored else []
        return design, [*self.table.notices, *notices, *([notice] if notice else [])]


def read_cases(
    project: ConfiguredProject, file: str | Path | None, options: CaseOptions, *, prepare_engine: bool = False
) -> Intake:
    """Read a sampling file, or a run in its place, and check it against the input model of its experiment.

    Args:
        project: The project.
        file: A sampling file, by its path or URL, or `-` for standard input; or a run; None for the run that the
            experiment's `input_from` names.
        options: What is said of the cases.
        prepare_engine: Whether the engine is wanted afterwards, so that its client can be loaded meanwhile.

    Raises:
        InvalidInputError: If configuration, module or file are wrong.
        UsageError: If a run is unfinished, or has not what it is to give.
    """
    function, rules = options.function, options.chain_rules
    if function is not None:
        source = case_source(project, file, None, rules, options.read_options)
        fn, raw = load_function(function, project.root), source.raw()
        loaded = function_experiment(project.engine, fn, raw, name=options.experiment)
        table = source.table(loaded.input_validator_type, loaded.name)
        return Intake(loaded.name, loaded, table, entrypoint=function, shown=source.shown)
    name, loaded = project.experiment(options.experiment)
    source = case_source(project, file, name, rules, options.read_options)
    helpers: Helpers | None = None
    if type(loaded) is RegisteredExperiment:  # no workflow of a fleet, which only its workers can load
        helpers = Helpers(loaded, project.root, min(project.workers, project.cores) - 1)
    if prepare_engine and source.is_large:
        threading.Thread(target=_load_clients, args=(project,)).start()
    table = source.table(loaded.input_validator_type, name, helpers)
    settings = project.config.experiments[name]
    return Intake(name, loaded, table, settings, settings.entrypoint, shown=source.shown)


def validate_cases(project: ConfiguredProject, cases: Intake) -> ValidationReport:
    """Check the input files that cases name, and tell of the file; nothing is written.

    Raises:
        SpecsError: If there are no cases, or input files are missing.
    """
    table = cases.table
    plan = check_inputs(cases.request(project, AllocateOptions()))
    return ValidationReport(
        file=cases.shown,
        experiment=cases.name,
        n_specs=table.inputs.num_rows,
        columns=[c for c in table.inputs.column_names if c not in table.defaulted],
        defaulted=table.defaulted,
        ignored=table.ignored,
        input_files=len(plan.uploads),
        input_bytes=plan.total_bytes,
        notices=table.notices,
    )


def _depth(settings: ExperimentConfig | None, n_rows: int) -> int:
    if settings is not None and settings.max_depth is not None:
        return settings.max_depth
    # for few tasks, a tree is more work than they are; where a task takes as many cases as pay, there are few
    is_auto = settings is None or settings.specs_per_task == "auto"
    return 0 if n_rows <= (_ONE_NODE_AUTO if is_auto else _ONE_NODE) else 1


def allocate_cases(
    project: ConfiguredProject,
    file: str | Path | None,
    options: AllocateOptions,
    *,
    progress: ProgressCallback | None = None,
    stop: StopSignal | None = None,
) -> AllocateResult:
    """Run every case of a sampling file, and gather the final tables; see `Project.allocate`."""
    with notebook_progress(progress) as show:
        if show:
            name = "" if file is None else Path(redact_uri(str(file))).name
            show(Progress("checking", StateCounts(), detail=name))
        options = options.with_seed()
        if options.into is None:
            return allocate_intake(project, cases_of(project, file, options), options, progress=show, stop=stop)
        cases = cases_for(project, file, run_to_grow(project, options), options)
        return add_intake(project, cases, options, progress=show, stop=stop)


def add_intake(
    project: ConfiguredProject,
    cases: Intake,
    options: AllocateOptions,
    *,
    progress: ProgressCallback | None = None,
    stop: StopSignal | None = None,
) -> AllocateResult:
    """Add cases that were read and checked to the run that the options name, and run them."""
    run, stop = run_to_grow(project, options), stop or StopSignal()
    design, notices = cases.design()
    with grow(project, cases.request(project, options), design, run, options, stop) as grown:
        return run_grown(project, grown, stop, progress, notices)


def cases_for(project: ConfiguredProject, file: str | Path | None, run: Run, options: AllocateOptions) -> Intake:
    """Read a file with cases for a run, and check them against the experiment of that."""
    experiment = project.experiment_of(run, options.function)
    names = {run.layout.experiment, experiment.name}
    if options.experiment not in {None, *names}:
        raise UsageError(f"{run.experiment_id} is a run of {run.layout.experiment!r}, not of {options.experiment!r}")
    name = next((each for each in project.config.experiments if each in names), None)
    settings = None if name is None else project.config.experiments[name]
    project.engine.for_experiment(run.layout.experiment).check()
    source = case_source(project, file, name, options.chain_rules, options.read_options)
    table = source.table(experiment.input_validator_type, experiment.name)
    cases = Intake(run.layout.experiment, experiment, table, settings, shown=source.shown)
    return cases.replicated(options.replicates)


def cases_of(project: ConfiguredProject, file: str | Path | None, options: AllocateOptions) -> Intake:
    """Read and check the cases of a new run: all of a file, or the part that the options say.

    Raises:
        UsageError: If a run is named that is to get them.
        InvalidInputError: If configuration, module or file are wrong.
    """
    if options.into is not None:
        raise UsageError("--plan does not go with --into", hint="`scythe validate FILE` checks the file.")
    cases = read_cases(project, file, options, prepare_engine=True)
    return cases.part(options).replicated(options.replicates)


def allocate_intake(
    project: ConfiguredProject,
    cases: Intake,
    options: AllocateOptions,
    *,
    progress: ProgressCallback | None = None,
    stop: StopSignal | None = None,
) -> AllocateResult:
    """Run cases that were read and checked, and gather the final tables."""
    with notebook_progress(progress) as show:
        submission, notices = _submitted(project, cases, options, show)
        del cases  # the run has them now, and they may be many
        return execute(submission, project.engine, stop=stop, progress=show, notices=notices)


def submit_cases(project: ConfiguredProject, file: str | Path | None, options: AllocateOptions) -> SubmitResult:
    """Hand every case of a sampling file to a fleet, and return while it works; see `Project.submit`."""
    if not project.engine.outlives_client:
        raise UsageError(f"the {project.engine.label} engine runs cases in this process, so it has to be waited for")
    options = options.with_seed()
    if options.until is not None:
        raise UsageError("until looks at results, so that the run has to be waited for", hint="Add --wait.")
    if options.into is not None:
        run = run_to_grow(project, options)
        cases = cases_for(project, file, run, options)
        design, notices = cases.design()
        with grow(project, cases.request(project, options), design, run, options, StopSignal()) as grown:
            added = {"n_added": grown.n_added, "n_known": grown.n_known}
            submitted = _submitted_job(project, grown.job, [*notices, *grown.notices])
            return submitted.model_copy(update=added)
    submission, notices = _submitted(project, cases_of(project, file, options), options)
    return _submitted_job(project, submission.job, [*notices, *submission.left.notices])


def _submitted_job(project: ConfiguredProject, job: Job, notices: list[str]) -> SubmitResult:
    """Hand a job to the fleet; with nothing to run, the tables are made here."""
    workflow_run_id, look = job.workflow_run_id, None
    if job.n_rows:
        with resumable(job.run):
            submitted = submit_job(job, project.engine).submitted
        workflow_run_id, look = submitted.workflow_run_id, submitted.look
    else:
        gather(job.storage, job.run)  # everything was taken over
    return SubmitResult(
        experiment_id=job.run.experiment_id,
        experiment=job.run.experiment,
        version=str(job.run.version),
        timestamp=job.run.timestamp,
        uri=job.storage.uri(job.run.experiment_id),
        engine=project.engine_name,
        workflow_run_id=workflow_run_id,
        look=look,
        n_specs=job.n_specs,
        notices=notices,
    )


def _submitted(
    project: ConfiguredProject, cases: Intake, options: AllocateOptions, progress: ProgressCallback | None = None
) -> tuple[Submission, list[str]]:
    """Claim a run and write its folder, once the engine is known to be there; and what there is to tell of the file."""
    chosen = options.with_seed()
    request = cases.request(project, chosen)
    project.engine.for_experiment(cases.name).check()
    design, notices = cases.design()
    if chosen is not options:
        notices.append(f"the seed is {chosen.seed}; --seed {chosen.seed} gives the same random numbers again")
    # a process that runs nothing else begins with the generator as the module has made it
    is_alone = cases.experiment.options.isolation == "row" or cases.experiment.options.rows_per_process == 1
    if not is_alone and (shared := module_generators(project.root)):
        notices.append(
            f"{', '.join(shared)}: a random generator created at module level is shared between cases, so their "
            "numbers depend on which cases ran before; `spec.rng()` gives each case its own"
        )
    submission = submit(replace(request, design=design), progress)
    remember_run(project.storage.location, submission.job.run.experiment_id)
    record = describe_experiment(cases.name, "", cases.experiment)
    names = [field.name for field in (*record.inputs, *record.outputs)]
    remember_columns(project.storage.location, record.name, "", names)
    return submission, notices


def _load_clients(project: ConfiguredProject) -> None:
    """Load the clients of engine and storage beside the reading of a file, which leaves Python idle mostly."""
    modules: Sequence[str] = ()
    if project.engine.outlives_client and project.location.lower().startswith("s3://"):
        modules = ("scythe_cli.storage.s3", "s3fs")
    # what goes wrong goes wrong again where they are used, and is told there
    with contextlib.suppress(Exception):
        project.engine.prepare()
        for name in modules:
            importlib.import_module(name)
