"""`allocate --into RUN`: the cases of a file that a run does not have yet become cases of this run, and only they run.

One process at a time extends a run, as long as it holds the run's lease; see `run.extension` for what is written, and
in which order.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.analysis.run import Run
from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.core.records import StateCounts
from scythe_cli.engines.base import Execution, Job
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.executor.code import code_of, raise_if_changed, told_changes
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.catalog import find_run
from scythe_cli.run.extension import finish_extension
from scythe_cli.run.final.gather import GatherResult
from scythe_cli.run.input_files import ArtifactPlan
from scythe_cli.run.manifest import ExtensionRecord, RunManifest, command_line
from scythe_cli.run.outcomes.summary import empty_summary
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.allocation.choosing import (
    alike,
    check_outputs,
    chosen_rows,
    of_design,
    same_cases,
)
from scythe_cli.services.allocation.execution import at_work, changed_code, conclude, counts_and_pending, run_job
from scythe_cli.services.allocation.extending import extend_run
from scythe_cli.services.allocation.run_files import hashes_of, used_files
from scythe_cli.services.allocation.submission import AllocationRequest, check_inputs
from scythe_cli.services.reuse.known import content_hashes

if TYPE_CHECKING:
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.run.design_record import DesignRecord
    from scythe_cli.run.lease import Lease
    from scythe_cli.services.allocation.options import AllocateOptions
    from scythe_cli.services.configured import ConfiguredProject
    from scythe_cli.services.records import AllocateResult

__all__ = ["Grown", "briefly_alone", "grow", "run_grown", "run_to_grow", "same_in_run"]


_PATIENCE_S = 30.0
_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Grown:
    """A run that was extended and whose new specs have not been executed.

    Attributes:
        job: What the engine gets.
        run: The run.
        n_added: How many specs it has got.
        n_known: How many of the file it had already.
        notices: For the user.
    """

    job: Job
    run: Run
    n_added: int
    n_known: int
    notices: list[str] = field(default_factory=list[str])


def run_to_grow(project: ConfiguredProject, options: AllocateOptions) -> Run:
    """The run that is to get cases.

    Raises:
        NotFoundError: If there is none, or more than one, of this name.
        UsageError: If it cannot get any, or an option contradicts that.
    """
    run = Run(project.storage, find_run(project.storage, options.into or "latest"))
    _manifest_of(run)
    without = {"--bump": options.bump != "minor", "--reuse": bool(options.reuse), "--dedupe": options.dedupe}
    for option, is_set in without.items():
        if is_set:
            raise UsageError(f"{option} does not go with --into: the cases become part of {run.experiment_id}")
    return run


def _manifest_of(run: Run) -> RunManifest:
    manifest = run.manifest
    if manifest is None or manifest.n_specs is None:
        raise UsageError(f"{run.experiment_id} is an older run, to which no cases can be added")
    if manifest.state == "allocating":
        raise StorageError(f"the allocation of {run.experiment_id} did not finish", hint="Allocate the file again.")
    return manifest


@contextmanager
def grow(
    project: ConfiguredProject,
    request: AllocationRequest,
    design: DesignRecord | None,
    run: Run,
    options: AllocateOptions,
    stop: StopSignal,
) -> Generator[Grown]:
    """Extend a run; inside, its new specs can be executed, and nobody else is at work on it, unless a fleet is.

    Args:
        project: The project.
        request: The cases of the file, read and checked.
        design: How the file was made, for the manifest.
        run: The run.
        options: What `allocate` was told.
        stop: Stops the run when it is triggered.

    Raises:
        UsageError: If another process is at work on the run, or the seed is another one.
        CodeChangedError: If the code has changed, and that was not accepted.
        InvalidInputError: If the models have changed so that the cases do not fit.
        StorageError: If the run cannot be read or written.
    """
    engine = project.engine
    if engine.needs_lease:
        with at_work(run.storage, run.layout, engine, stop) as lease:
            yield _extended(project, request, design, run, options, lease)
        return
    with briefly_alone(run) as lease:
        grown = _extended(project, request, design, run, options, lease)
    yield grown


@contextmanager
def briefly_alone(run: Run) -> Generator[Lease]:
    """Hold the lease of a run on a fleet, which nobody holds for long."""
    from scythe_cli.run.lease import hold_lease

    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            held = hold_lease(run.storage, run.layout)
            lease = held.__enter__()
        except UsageError:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
            continue
        try:
            yield lease
        finally:
            held.__exit__(None, None, None)
        return


def run_grown(
    project: ConfiguredProject, grown: Grown, stop: StopSignal, progress: ProgressCallback | None, notices: list[str]
) -> AllocateResult:
    """Execute what is to be run of a grown run, and gather its tables."""
    said = [*notices, *grown.notices]
    job = grown.job
    if not job.n_rows and grown.run.tables_are_current():
        tables = {name: job.storage.uri(key) for name, key in grown.run.table_keys().items()}
        as_it_is = Execution(said, GatherResult(tables, job.counts, damaged=[]))
        result = conclude(job, project.engine.name, as_it_is, started=datetime.now(UTC))
    else:
        empty_summary(job.storage, job.run)
        result = run_job(job, project.engine, stop=stop, progress=progress, notices=said)
    return result.model_copy(update={"n_added": grown.n_added, "n_known": grown.n_known})


def _extended(
    project: ConfiguredProject,
    request: AllocationRequest,
    design: DesignRecord | None,
    run: Run,
    options: AllocateOptions,
    lease: Lease | None,
) -> Grown:
    run = Run(run.storage, run.layout)  # as it is now that nobody else extends it
    changed = changed_code(run, request.experiment, project.root)
    if not options.accept_new_code:
        raise_if_changed(
            changed,
            hint="Undo the change, allocate a new run, or add the cases with the new code: --accept-new-code marks "
            "their outcomes.",
        )
    manifest = _manifest_of(run)
    seed = manifest.seed or 0
    if options.sample is None and options.seed not in (0, seed):
        raise UsageError(
            f"the seed of {run.experiment_id} is {seed}: cases that are added to it have the same",
            hint="Leave out --seed, or allocate a new run.",
        )
    with SpecFile.open(run.storage, run.layout) as specs:
        manifest = finish_extension(run.storage, run.layout, specs, manifest)
        names = [name for name in specs.schema.names if name not in NOT_INPUT or name == REPETITION]
        old = specs.read(0, specs.n_specs, columns=names).select(names)
        check_outputs(specs, request.experiment, run)
        request = replace(request, replicates=request.replicates or specs.has_replicates)
    counts, pending = counts_and_pending(run, old.num_rows)
    growing = _Growing.of(request, design, run, manifest, old, options)
    n_added = len(growing.rows)
    if n_added:
        growing.write(lease, {} if not changed else code_of(request.experiment, project.root) or {})
    return growing.grown(project, changed, counts, pending)


def same_in_run(run: Run, known: pa.Table, new: pa.Table, plan: ArtifactPlan) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each new case the spec of a run that says the same; −1 where there is none.

    Args:
        run: The run.
        known: The inputs of its specs; see `alike`.
        new: Those of the cases.
        plan: The input files of the cases.
    """
    hashes = content_hashes(run.storage, run.layout, list(plan.files))
    new_hashes = {name: dict(of) for name, of in hashes_of(plan).items()}
    return same_cases(known.select(new.column_names), hashes, new, new_hashes)


@dataclass(frozen=True, slots=True)
class _Growing:
    """What is added to a run.

    Attributes:
        request: The cases that are added.
        run: The run.
        manifest: Its manifest before.
        old: The inputs of the specs that it has, with the columns of the new ones, and `REPETITION` if it has any.
        plan: The input files of the new cases.
        rows: Which cases of the file are added.
        same: For each case of the file the spec that is the same; −1 for a new one.
        options: What `allocate` was told.
        design: How the file was made.
    """

    request: AllocationRequest
    run: Run
    manifest: RunManifest
    old: pa.Table
    plan: ArtifactPlan
    rows: np.ndarray[Any, np.dtype[np.int64]]
    same: np.ndarray[Any, np.dtype[np.int64]]
    options: AllocateOptions
    design: DesignRecord | None

    @classmethod
    def of(
        cls,
        request: AllocationRequest,
        design: DesignRecord | None,
        run: Run,
        manifest: RunManifest,
        old: pa.Table,
        options: AllocateOptions,
    ) -> _Growing:
        plan = check_inputs(request)
        known, new = alike(old, request.inputs, request.experiment, run)
        same = of_design(manifest, design, options, new.num_rows)
        if same is None:
            same = same_in_run(run, known, new, plan)
        rows = chosen_rows(np.flatnonzero(same < 0).astype(np.int64), options)
        inputs = new.take(numbers(rows, pa.int64()))
        request = request.with_cases(inputs, rows)
        return cls(request, run, manifest, known, used_files(plan, inputs), rows, same, options, design)

    def write(self, lease: Lease | None, code: dict[str, str]) -> None:
        """Write the longer run."""
        record = self._record(self.old.num_rows, code)
        extend_run(self.run, self.manifest, self.request, self.old, self.plan, record, lease)

    def _record(self, n_before: int, code: dict[str, str]) -> ExtensionRecord:
        design = self.design if len(self.rows) == len(self.same) else None
        return ExtensionRecord(
            extended_at=datetime.now(UTC).replace(microsecond=0),
            first_row=n_before,
            rows=len(self.rows),
            known=int(np.count_nonzero(self.same >= 0)),
            sampling_file=self.request.source,
            sample_seed=int(self.options.seed) if self.options.sample is not None else None,
            design=design,
            upstream=self.request.upstream.record if self.request.upstream else None,
            code=code or None,
            command=command_line(),
        )

    def grown(
        self, project: ConfiguredProject, changed: list[str], counts: StateCounts, pending: pl.DataFrame
    ) -> Grown:
        """What is to be run: the new specs, and those of the file that have no outcome, unless a fleet has them."""
        run, n_before, n_added = self.run, self.old.num_rows, len(self.rows)
        n_specs = n_before + n_added
        again = pending.filter(pl.col("sort_index").is_in(self.same[self.same >= 0].tolist()))
        if not project.engine.needs_lease:
            again = again.clear()
        added = pl.DataFrame({"sort_index": np.arange(n_before, n_specs, dtype=np.int64)})
        todo = pl.concat([again, added.with_columns(attempt=pl.lit(1, pl.Int32))]).to_arrow()
        experiment = self.request.experiment
        job = Job(
            storage=run.storage,
            run=run.layout,
            experiment=experiment,
            root=project.root,
            workflow_run_id=self.manifest.workflow_run_id,
            n_specs=n_specs,
            todo=todo,
            counts=counts.model_copy(update={"pending": counts.pending + n_added}),
            workers=self.request.workers,
            max_failures=self.request.max_failures,
            wait_timeout_s=self.request.wait_timeout_s,
            priority=self.request.priority,
            seed=self.manifest.seed or 0,
            code=code_of(experiment, project.root),
            is_other_code=bool(changed),
        )
        n_known = int(np.count_nonzero(self.same >= 0))
        notices = _told(run, n_added, n_known, len(self.same) - n_known - n_added, pending.height - again.height)
        if changed:
            notices.append(f"{told_changes(changed)}; outcomes of the new code are marked")
        return Grown(job, Run(run.storage, run.layout), n_added, n_known, notices)


def _told(run: Run, n_added: int, n_known: int, n_left: int, n_pending: int) -> list[str]:
    def cases(n: int) -> str:
        return "1 case" if n == 1 else f"{n:,} cases"

    said = [f"{cases(n_added)} added to {run.experiment_id}"] if n_added else []
    if n_known:
        verb = "is" if n_known == 1 else "are"
        said.append(f"{cases(n_known)} of the file {verb} in {run.experiment_id} already")
    if n_left:
        said.append(f"{cases(n_left)} of the file can still be added")
    if n_pending:
        verb = "is" if n_pending == 1 else "are"
        said.append(f"{cases(n_pending)} of the run {verb} still pending: `scythe retry {run.experiment_id}` runs them")
    return said
