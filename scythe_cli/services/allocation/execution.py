"""From a job to its result: execute the specs, gather the tables, tell what came of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from scythe_cli.analysis.run import Run
from scythe_cli.core.progress import Progress, ProgressCallback
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.errors import CodeChangedError, ScytheError, StoppedError
from scythe_cli.executor.code import code_of, differing_code, made_by_this_python
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.run.final.gather import Known, gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.error_groups import groups_of_run
from scythe_cli.run.outcomes.standings import standings_of
from scythe_cli.run.outcomes.summary import read_summary
from scythe_cli.services.records import AllocateResult
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    from scythe_cli.run.lease import Lease

__all__ = [
    "at_work",
    "changed_code",
    "conclude",
    "counts_and_pending",
    "how_to_go_on",
    "left_alone",
    "resumable",
    "run_job",
]


@contextmanager
def at_work(storage: Storage, run: RunLayout, engine: Engine, stop: StopSignal) -> Generator[Lease | None]:
    """Be the only process that works on a run while inside; a fleet has an order of its own.

    Returns:
        The lease that is held; None for a fleet.

    Raises:
        UsageError: If another process is at work on it.
        StorageError: If another process has taken the run over.
    """
    if not engine.needs_lease:
        yield None
        return
    from scythe_cli.run.lease import hold_lease

    with hold_lease(storage, run, stop.kill) as lease:
        yield lease
        lease.check()


def run_job(
    job: Job,
    engine: Engine,
    *,
    stop: StopSignal | None = None,
    progress: ProgressCallback | None = None,
    notices: Sequence[str] = (),
) -> AllocateResult:
    """Execute the specs of a job and gather the final tables of its run.

    Raises:
        EntrypointError: If the experiment cannot be loaded in the processes that run it.
        StorageError: If outcomes or tables cannot be written.
        StoppedError: If it is interrupted and `stop` does not take care of that.
    """
    started = datetime.now(UTC)
    with resumable(job.run):
        execution = Execution()
        if job.todo is None or job.todo.num_rows:
            execution = engine.execute(job, stop=stop or StopSignal(), progress=progress)
        if progress and execution.gathered is None:
            progress(Progress("gathering", job.counts, detail="final tables"))
        result = conclude(job, engine.name, execution, started=started)
    return result.model_copy(update={"notices": list(dict.fromkeys([*notices, *result.notices]))})


def left_alone(name: str) -> str:
    """What is said of a file among the parts of a ledger that is none."""
    return f"{name} among the parts of the ledger is not a complete part written by scythe: it is left alone"


def conclude(
    job: Job, engine: str, execution: Execution, *, started: datetime, workflow_run_id: str | None = None
) -> AllocateResult:
    """Gather the final tables unless the engine has, and tell what became of the run.

    Args:
        job: What was to be executed.
        engine: The engine's name.
        execution: What it did.
        started: When the run, or this part of it, began; with a time zone.
        workflow_run_id: The id of the execution, unless it is the job's.

    Raises:
        StorageError: If outcomes cannot be read, or tables cannot be written.
    """
    gathered = execution.gathered or gather(job.storage, job.run, known=_known(job, execution))
    damaged = [left_alone(name) for name in gathered.damaged]
    is_whole = gathered.counts.succeeded == job.n_specs
    errors, failing = ([], []) if is_whole else groups_of_run(job.storage, job.run, job.n_specs)
    return AllocateResult(
        experiment_id=job.run.experiment_id,
        experiment=job.run.experiment,
        version=str(job.run.version),
        timestamp=job.run.timestamp,
        uri=job.storage.uri(job.run.experiment_id),
        engine=engine,
        workflow_run_id=workflow_run_id or job.workflow_run_id,
        n_specs=job.n_specs,
        counts=gathered.counts,
        duration_s=max(0.0, (datetime.now(UTC) - started).total_seconds()),
        tables=gathered.tables,
        errors=errors,
        failing=failing,
        notices=[*execution.notices, *damaged, *gathered.notices, *job.storage.notices()],
        n_warnings=gathered.n_warnings,
    )


def _known(job: Job, execution: Execution) -> Known:
    """What the ledger has to have: the outcomes from before, and those of this execution."""
    if execution.n_ended is None:
        return Known()
    return Known(n_ended=job.n_specs - job.counts.pending + execution.n_ended)


def how_to_go_on(experiment_id: str) -> str:
    """What to do when the code has changed since a run was allocated."""
    return (
        "Finished cases are kept. Undo the change, allocate a new run, or go on with the new code: "
        f"`scythe retry {experiment_id} --accept-new-code` marks what it runs."
    )


def changed_code(run: Run, experiment: RegisteredExperiment[Any, Any], root: Path | None) -> list[str]:
    """The source files that are not what the run was allocated with, as far as that can be known."""
    manifest = run.manifest
    if manifest is None or not made_by_this_python(manifest):
        return []
    return differing_code(code_of(experiment, root), manifest.code) or []


@contextmanager
def resumable(run: RunLayout) -> Generator[None]:
    """Tell with every error how the run goes on."""
    how = f"Finished cases are kept: `scythe retry {run.experiment_id}` resumes it."
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError("interrupted", hint=how) from None
    except CodeChangedError as error:
        error.hint = how_to_go_on(run.experiment_id)
        raise
    except ScytheError as error:
        if "scythe retry" not in (error.hint or ""):
            error.hint = f"{error.hint} {how}" if error.hint else how
        raise


def counts_and_pending(run: Run, n_specs: int) -> tuple[StateCounts, pl.DataFrame]:
    """The specs by state before, and those without an outcome with the number of their next attempt."""
    summary = read_summary(run.storage, run.layout)
    nothing = pl.DataFrame(schema={"sort_index": pl.Int64, "attempt": pl.Int32})
    if summary is not None and summary.counts.total == n_specs and not summary.counts.pending:
        return summary.counts, nothing
    with Ledger.open(run.storage, run.layout) as ledger:
        standings = standings_of(ledger, n_specs)
    return standings.counts(), cast("pl.DataFrame", pl.from_arrow(standings.todo({State.PENDING})))
