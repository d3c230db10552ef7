"""The seam between a run and what executes its specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from scythe_cli.executor import StopSignal
from scythe_cli.layout import RunLayout
from scythe_cli.progress import ProgressCallback
from scythe_cli.records import AllocateResult, ErrorGroup, StateCounts
from scythe_cli.registry import RegisteredExperiment
from scythe_cli.storage import Storage

__all__ = ["Engine", "Job"]


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

    def result(
        self,
        engine: str,
        *,
        counts: StateCounts,
        tables: Mapping[str, str],
        errors: Sequence[ErrorGroup],
        notices: Sequence[str],
        duration_s: float,
        workflow_run_id: str | None = None,
    ) -> AllocateResult:
        """The record of what became of the run; the id is the job's unless the engine has one of its own."""
        return AllocateResult(
            experiment_id=self.run.experiment_id,
            experiment=self.run.experiment,
            version=str(self.run.version),
            timestamp=self.run.timestamp,
            uri=self.storage.uri(self.run.experiment_id),
            engine=engine,
            workflow_run_id=workflow_run_id or self.workflow_run_id,
            n_specs=self.n_specs,
            counts=counts,
            duration_s=duration_s,
            tables=dict(tables),
            errors=list(errors),
            notices=list(notices),
        )


class Engine(Protocol):
    """Executes the specs of a job and writes their outcomes to the run's ledger."""

    @property
    def name(self) -> str:
        """The name that the configuration uses."""
        ...

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> list[str]:
        """Execute a job to its end, or until `stop` says otherwise.

        Returns:
            Notices for the user, such as why it stopped early.

        Raises:
            EntrypointError: If the experiment cannot be loaded where specs run.
            EngineError: If no process can be started.
            StorageError: If outcomes cannot be written.
        """
        ...
