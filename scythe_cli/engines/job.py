"""What an engine executes: a job, which is the cases of a run that are to be run, and what comes of it."""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.core.names import timed_name
from scythe_cli.core.records import StateCounts
from scythe_cli.executor.limits import Limits
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    from scythe_cli.executor.pool import Executor
    from scythe_cli.executor.starting.interpreter import Interpreter
    from scythe_cli.run.final.gather import GatherResult
    from scythe_cli.run.ledger import LedgerWriter

__all__ = ["Execution", "Job", "Priority", "with_attempts"]

Priority = Literal["low", "normal", "high"]


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
        seed: The seed of the run.
        code: What the code has to be, as `executor.code.code_of` tells it; None where that is not known.
        is_other_code: Whether that is not the code that the run was allocated with: outcomes tell it then.
        takes_over: Whether what a fleet still has of the run is stopped first.
        priority: What a fleet does first among what waits; None: by the size of the job.
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
    seed: int = 0
    code: Mapping[str, str] | None = None
    is_other_code: bool = False
    takes_over: bool = False
    priority: Priority | None = None

    @property
    def n_rows(self) -> int:
        """The number of specs to execute."""
        return self.n_specs if self.todo is None else self.todo.num_rows

    @contextmanager
    def rows(self) -> Generator[Iterator[pa.RecordBatch]]:
        """The rows to execute, as `Executor.run` takes them: those of `specs.pq`, and `__attempt__` (int32).

        Raises:
            StorageError: If `specs.pq` cannot be read.
        """
        from scythe_cli.run.specs_file import SpecFile

        with SpecFile.open(self.storage, self.run) as specs:
            yield with_attempts(specs.batches(), None) if self.todo is None else self._chosen(specs)

    def _chosen(self, specs: Any) -> Iterator[pa.RecordBatch]:
        assert self.todo is not None
        wanted = self.todo.column("sort_index").combine_chunks()
        return with_attempts(specs.batches(wanted), self.todo)

    @property
    def code_mark(self) -> str | None:
        """What outcomes tell of their code; None where it is that of the run."""
        from scythe_cli.executor.code import code_hash

        return code_hash(self.code) if self.is_other_code and self.code is not None else None

    def writer(self, engine: str) -> LedgerWriter:
        """What writes outcomes to the run's ledger, in parts of a name that no other session has.

        Args:
            engine: What the names of the parts begin with.
        """
        from scythe_cli.run.ledger import LedgerWriter

        session = timed_name(engine)
        return LedgerWriter(self.storage, self.run, session, code=self.code_mark)

    def executor(self, *, worker: str | None = None, interpreter: Interpreter | None = None) -> Executor:
        """A pool of processes of this machine for these specs, with the experiment's limits; use it with `with`.

        Args:
            worker: The name by which outcomes tell what ran them; this machine's unless given.
            interpreter: One that was started ahead; closed with the pool.

        Raises:
            CodeChangedError: If the code is not what it has to be.
            EntrypointError: If the experiment cannot be loaded where specs run.
            EngineError: If no process can be started.
        """
        from scythe_cli.executor.code import target_of_code
        from scythe_cli.executor.pool import Executor
        from scythe_cli.executor.rows.call import RunContext

        context = RunContext(
            storage_location=self.storage.location,
            experiment_id=self.run.experiment_id,
            root_workflow_run_id=self.workflow_run_id,
            worker=worker or socket.gethostname(),
            seed=self.seed,
        )
        limits = Limits.of(self.experiment.options)
        target = target_of_code(self.experiment, self.root, self.code)
        return Executor(target, context, limits, workers=self.workers, interpreter=interpreter)


def with_attempts(batches: Iterator[pa.RecordBatch], todo: pa.Table | None) -> Iterator[pa.RecordBatch]:
    """Add to rows of `specs.pq` the number of their next attempt; `todo` as in `Job`."""
    from scythe_cli.executor.protocol import ATTEMPT  # on use, as all that runs specs
    from scythe_cli.run.specs_file import positions_in

    first = pa.array([1], pa.int32())
    wanted = None if todo is None else todo.column("sort_index").combine_chunks()
    attempts = first if todo is None else todo.column("attempt").combine_chunks()
    for batch in batches:
        if wanted is None:
            at: Any = pa.array([0] * batch.num_rows, pa.int32())
        else:
            at = numbers(positions_in(batch.column("sort_index"), wanted), pa.int64())
        yield batch.append_column(ATTEMPT, attempts.take(at))


@dataclass(frozen=True, slots=True)
class Execution:
    """What an engine has done with a job.

    Attributes:
        notices: For the user, such as why it stopped early.
        gathered: The final tables, where the engine has made them itself since the last outcome.
        n_ended: To how many of its specs the engine has given an outcome, each of which is in the ledger; None where it
            does not know, and where there is none.
    """

    notices: list[str] = field(default_factory=list[str])
    gathered: GatherResult | None = None
    n_ended: int | None = None
