"""Runs on a fleet: handed over, asked after, and cancelled."""

from __future__ import annotations

from scythe_cli.analysis.run import Run
from scythe_cli.core.records import StateCounts
from scythe_cli.engines.hatchet.engine import HatchetEngine
from scythe_cli.errors import EngineError, UsageError
from scythe_cli.run.records import RunStatus
from scythe_cli.services.records import CancelResult

__all__ = ["cancel_run", "with_workers"]


def with_workers(status: RunStatus, run: Run) -> RunStatus:
    """Add to the status of an unfinished run on a fleet who serves it.

    Returns:
        The status with `workers`, and with a notice when there are none or the engine cannot be asked.
    """
    manifest = run.manifest
    if manifest is None or manifest.engine != "hatchet" or status.counts is None or not status.counts.pending:
        return status
    try:
        workers = [worker.name for worker in HatchetEngine().workers_for(manifest.experiment_name)]
    except EngineError as error:
        notice = f"whether a worker is there is not known: {error.message}"
        return status.model_copy(update={"notice": status.notice or notice})
    notice = None if workers else f"no worker serves {manifest.experiment_name!r}: `scythe worker` starts one"
    return status.model_copy(update={"workers": workers, "notice": status.notice or notice})


def cancel_run(run: Run) -> CancelResult:
    """Stop what has not run of a run on a fleet; results so far are kept and gathered.

    Raises:
        UsageError: If the run is not on a fleet.
        EngineError: If the engine cannot be reached.
    """
    manifest = run.manifest
    if manifest is None or manifest.engine != "hatchet":
        raise UsageError(
            f"{run.experiment_id} does not run on a fleet",
            hint="A local run is stopped with Ctrl-C where it runs; `scythe retry` goes on with it.",
        )
    cancelled = HatchetEngine().cancel(run.storage, run.layout)
    return CancelResult(experiment_id=run.experiment_id, cancelled=cancelled, counts=_counts(run))


def _counts(run: Run) -> StateCounts:
    counts = run.status().counts
    return counts if counts is not None else StateCounts()
