"""Runs on a fleet: waited for, asked after, and cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from scythe_cli.analysis.run import Run
from scythe_cli.core.records import FleetWorker, StateCounts
from scythe_cli.engines.base import CANCEL_GRACE_S, Engine, Job, Submitted
from scythe_cli.errors import EngineError, InvalidInputError, NotFoundError, UsageError
from scythe_cli.run.final.gather import gather
from scythe_cli.run.records import RunStatus
from scythe_cli.services.allocation.execution import conclude
from scythe_cli.services.records import AllocateResult, CancelResult

if TYPE_CHECKING:
    from scythe_cli.model.experiment import RegisteredExperiment
    from scythe_cli.services.configured import ConfiguredProject

__all__ = ["FleetRunRef", "cancel_run", "fleet_workers", "submit_job", "with_workers"]


@dataclass(frozen=True, slots=True)
class FleetRunRef:
    """A reference to a run that a fleet works on.

    Attributes:
        job: Its specs.
        engine: The name of the engine.
        submitted: What the engine knows it by.
    """

    job: Job
    engine: str
    submitted: Submitted

    @property
    def workflow_run_id(self) -> str:
        """The id of the execution, as the engine's own tools show it."""
        return self.submitted.workflow_run_id

    def result(self, timeout_s: float | None = None) -> AllocateResult:
        """Wait for the end of the run, and tell what it did.

        Raises:
            WaitTimeoutError: If the run is not done in time; it goes on.
            EngineError: If the run failed as a whole, or the engine cannot be reached for minutes.
        """
        execution = self.submitted.wait(timeout_s=timeout_s)
        started = self.job.run.timestamp.replace(tzinfo=UTC)
        return conclude(self.job, self.engine, execution, started=started, workflow_run_id=self.workflow_run_id)

    async def aio_result(self) -> AllocateResult:
        """The same, to await."""
        return await asyncio.to_thread(self.result)


def submit_job(job: Job, engine: Engine) -> FleetRunRef:
    """Hand a job to a fleet, and return while it works.

    Raises:
        UsageError: If the engine does not outlive its client, or is still at work on the run.
        EngineError: If the engine cannot be reached.
    """
    return FleetRunRef(job, engine.name, engine.submit(job))


def with_workers(status: RunStatus, run: Run, engine: Engine) -> RunStatus:
    """Add to the status of an unfinished run on a fleet who serves it.

    Returns:
        The status with `workers`, and with a notice when none can work on it or the engine cannot be asked.
    """
    manifest = run.manifest
    if manifest is None or status.counts is None:
        return status
    if not status.counts.pending and status.gathered:
        return status
    try:
        queue = engine.queue(run.storage, run.layout)
    except EngineError as error:
        notice = f"cannot tell what is in the queue: {error.message}"
        return status.model_copy(update={"notice": status.notice or notice})
    if queue is not None:
        notice = f"no job of it is in the queue; `scythe retry {run.experiment_id}` resumes it"
        notice = status.notice or (notice if queue.is_empty else None)
        return status.model_copy(update={"queue": queue, "notice": notice})
    if not status.counts.pending:
        return status
    try:
        workers = engine.workers(manifest.experiment_name)
        unserved = None if workers is None else engine.unserved(run.storage, run.layout, manifest.experiment_name)
    except EngineError as error:
        notice = f"cannot tell whether a worker is running: {error.message}"
        return status.model_copy(update={"notice": status.notice or notice})
    if workers is None:
        return status
    return status.model_copy(update={"workers": workers, "notice": status.notice or unserved})


def fleet_workers(project: ConfiguredProject) -> list[FleetWorker]:
    """The workers of the project's engine that are alive, by name.

    Raises:
        UsageError: If the engine has no workers.
        EngineError: If it cannot be reached.
    """
    experiments: list[RegisteredExperiment[Any, Any]] = []
    for name in project.experiment_names():
        # one that cannot be loaded has no code to compare with
        with suppress(InvalidInputError, NotFoundError):
            experiments.append(project.experiment(name)[1])
    workers = project.engine.fleet(experiments, project.root)
    if workers is None:
        raise UsageError(f"the {project.engine.label} engine has no workers", hint="Use --engine hatchet.")
    return sorted(workers, key=lambda worker: worker.name)


def cancel_run(run: Run, engine: Engine, grace_s: float = CANCEL_GRACE_S) -> CancelResult:
    """Stop a run on a fleet; results so far are kept and gathered.

    Args:
        run: The run.
        engine: What runs it.
        grace_s: How long specs that are being run may take to finish before they are stopped as well.

    Raises:
        UsageError: If the run is not on a fleet.
        EngineError: If the engine cannot be reached.
    """
    cancelled = engine.cancel(run.storage, run.layout, grace_s=grace_s)
    if cancelled:
        # what was running and has finished since counts with what it became
        cancelled = gather(run.storage, run.layout).counts.cancelled
    return CancelResult(experiment_id=run.experiment_id, cancelled=cancelled, counts=_counts(run))


def _counts(run: Run) -> StateCounts:
    counts = run.status().counts
    return counts if counts is not None else StateCounts()
