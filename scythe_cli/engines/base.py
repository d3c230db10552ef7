"""The seam between a run and what executes its specs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from scythe_cli.core.progress import ProgressCallback
from scythe_cli.core.records import StateCounts
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.run.final.gather import GatherResult, gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.outcomes.error_groups import groups_of_run
from scythe_cli.services.records import AllocateResult
from scythe_cli.storage.base import Storage

__all__ = ["Engine", "Execution", "Job", "conclude"]


@dataclass(frozen=True, slots=True)
class Job:
    """Specs of one run that are to be executed.

    Attributes:
        storage: Where the run is kept.
        run: The run; its `specs.pq` is written.
        experiment: What to call for each spec.
        root: The project's folder, from which the experiment's module is imported.
        workflow_run_id: The id of the execution as a whole.
        n_specs: The number of specs of the run, those that are not to be executed included.
        todo: Columns `sort_index` (int64, ascending) and `attempt` (int32, the number of the next attempt) of the
            specs to execute; None for all of them, for the first time.
        counts: The specs by state at the start.
        workers: The number of processes.
        max_failures: Stop when that many specs have ended without success; None for never.
        wait_timeout_s: How long to wait for a fleet; the run goes on after that. None for as long as it takes.
    """

    storage: Storage
    run: RunLayout
    experiment: RegisteredExperiment[Any, Any]
    root: Path | None
    workflow_run_id: str
    n_specs: int
    todo: pa.Table | None
    counts: StateCounts
    workers: int
    max_failures: int | None = None
    wait_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """What an engine has done with a job.

    Attributes:
        notices: For the user, such as why it stopped early.
        gathered: The final tables, where the engine has made them itself since the last outcome.
    """

    notices: list[str] = field(default_factory=list[str])
    gathered: GatherResult | None = None


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
    gathered = execution.gathered or gather(job.storage, job.run)
    damaged = [f"part {name} of the ledger cannot be read; its specs are pending" for name in gathered.damaged]
    n_bad = gathered.counts.unsuccessful
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
        errors=groups_of_run(job.storage, job.run) if n_bad else [],
        notices=[*execution.notices, *damaged],
    )


class Engine(Protocol):
    """Executes the specs of a job and writes their outcomes to the run's ledger."""

    @property
    def name(self) -> str:
        """The name that the configuration uses."""
        ...

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute a job to its end, or until `stop` says otherwise.

        Raises:
            EntrypointError: If the experiment cannot be loaded where specs run.
            EngineError: If no process can be started.
            StorageError: If outcomes cannot be written.
        """
        ...
