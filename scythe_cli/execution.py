"""From a job to its result: execute the specs, gather the tables, tell what came of it."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from scythe_cli.engines import Engine, Job
from scythe_cli.errors import ScytheError, StoppedError
from scythe_cli.executor import StopSignal
from scythe_cli.failures import groups_of_run
from scythe_cli.gather import gather
from scythe_cli.layout import RunLayout
from scythe_cli.progress import Progress, ProgressCallback
from scythe_cli.records import AllocateResult
from scythe_cli.storage import Storage

__all__ = ["at_work", "run_job"]


@contextmanager
def at_work(storage: Storage, run: RunLayout, engine: Engine, stop: StopSignal) -> Generator[None]:
    """Be the only process that works on a run while inside; a fleet has an order of its own.

    Raises:
        UsageError: If another process is at work on it.
        StorageError: If another process has taken the run over.
    """
    if engine.name != "local":
        yield
        return
    from scythe_cli.lease import hold_lease

    with hold_lease(storage, run, stop.kill) as lease:
        yield
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
    started = time.monotonic()
    told = list(notices)
    with _resumable(job.run):
        if job.todo is None or job.todo.num_rows:
            told += engine.execute(job, stop=stop or StopSignal(), progress=progress)
        if progress:
            progress(Progress("gathering", job.counts, detail="final tables"))
        gathered = gather(job.storage, job.run)
    told += [f"part {name} of the ledger cannot be read; its specs are pending" for name in gathered.damaged]
    groups = [] if gathered.counts.succeeded == job.n_specs else groups_of_run(job.storage, job.run)
    return job.result(
        engine.name,
        counts=gathered.counts,
        tables=gathered.tables,
        errors=groups,
        notices=told,
        duration_s=time.monotonic() - started,
    )


@contextmanager
def _resumable(run: RunLayout) -> Generator[None]:
    """Tell with every error how the run goes on."""
    how = f"What is finished is kept: `scythe retry {run.experiment_id}` goes on."
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError("interrupted", hint=how) from None
    except ScytheError as error:
        if "scythe retry" not in (error.hint or ""):
            error.hint = f"{error.hint} {how}" if error.hint else how
        raise
