"""The pool: runs the specs of one experiment in processes that can be killed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scythe_cli.core.cores import share_of_cores
from scythe_cli.executor.backlog import Room
from scythe_cli.executor.dispatch import Dispatch, Pace
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.loop import RunLoop
from scythe_cli.executor.process import ChildProcess, ChildProcesses
from scythe_cli.executor.protocol import Phase
from scythe_cli.executor.starting.interpreter import Interpreter
from scythe_cli.executor.starting.template import Templates
from scythe_cli.model.functions.reference import ExperimentTarget

if TYPE_CHECKING:
    from scythe_cli.executor.rows.call import RunContext


__all__ = ["Executor", "templates_for"]


def templates_for(
    target: ExperimentTarget,
    context: RunContext,
    limits: Limits,
    workers: int,
    interpreter: Interpreter | None = None,
) -> Templates:
    """What processes are forked from that share the cores with others, as many as `workers`.

    Args:
        target: The experiment.
        context: The run that the specs belong to.
        limits: What one spec may use.
        workers: The number of processes, or of cores where specs take several.
        interpreter: One that was started ahead.
    """
    return Templates(
        target,
        limits.threads or threads_of(limits.needs.cpus, workers),
        context.seed,
        needs_s3=context.storage_location.startswith("s3://"),
        start_method=limits.start_method,
        interpreter=interpreter,
    )


def threads_of(cpus: int | str, workers: int) -> int:
    """How many threads libraries should start in a process: as many as its spec has cores, as far as that is known."""
    if isinstance(cpus, str):
        return 1
    return cpus if cpus > 1 else share_of_cores(workers)


class Executor:
    """Processes that run the specs of one experiment.

    Processes are started when rows come, and kept until `close`, for further runs.

    Args:
        target: The experiment.
        context: The run that the specs belong to.
        limits: What one spec may use.
        workers: The number of processes, or of cores where specs take several.
        templates: What processes are forked from, where several executors share it; closed by its owner.
        interpreter: One that was started ahead, unless there are templates; closed with this executor.
    """

    def __init__(
        self,
        target: ExperimentTarget,
        context: RunContext,
        limits: Limits,
        *,
        workers: int,
        templates: Templates | None = None,
        interpreter: Interpreter | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers={workers}: there must be at least one")
        self.context = context
        self.limits = limits
        self.workers = limits.needs.at_once(workers)
        self._capacity = limits.needs.capacity(workers)
        self._templates = templates or templates_for(target, context, limits, workers, interpreter)
        self._owns_templates = templates is None
        self._processes = ChildProcesses(target, context, limits, self.workers, self._templates)
        self._pace = Pace()
        self._is_closed = False

    @property
    def children(self) -> list[ChildProcess]:
        """The processes that there are."""
        return self._processes.all

    @property
    def notices(self) -> list[str]:
        """For the user: what is not as it was asked for."""
        notices = list(self._templates.notices)
        if self._processes.removed is not None:
            notices.append(
                f"cases wrote files into their own working folders, such as {self._processes.removed}, which were "
                'removed: `keep_files = "always"` keeps them, and `working_directory = "project"` writes into '
                "the project's folder"
            )
        return notices

    def run(self, rows: Iterable[pa.RecordBatch], *, stop: StopSignal) -> Iterator[pa.Table]:
        """Run rows.

        Args:
            rows: Batches with the columns of `specs.pq`, and `__attempt__`, int32: the number to record for the first
                attempt; 1 where the column is missing. They are asked for as they are needed.
            stop: Ends the run before all rows are done; those that were not begun have no outcome.

        Returns:
            Tables of outcomes, in the order in which specs finish, with at least the columns of `OUTCOME_SCHEMA`. An
            empty one comes about twice a second when nothing else does, so that the caller can do what is due.

        Raises:
            EntrypointError: If a process cannot load the experiment.
            EngineError: If no process can be started.
        """
        if self._is_closed:
            raise ValueError("the executor is closed")
        needs = self.limits.needs
        room = None if needs.is_fixed else Room(needs, self._capacity)
        dispatch = Dispatch(rows, self.limits.retry, self.context, self.workers, self._pace, room)
        with contextlib.closing(RunLoop(self._processes, dispatch, stop)) as loop:
            yield from loop.tables()

    def running(self) -> list[tuple[int, float]]:
        """The specs that are being run: `sort_index`, and for how many seconds."""
        running: list[tuple[int, float]] = []
        now_s = time.monotonic()
        for child in self.children:
            snapshot = child.snapshot()
            chunk = next((each for each in child.chunks if each.serial == snapshot.chunk), None)
            if snapshot.phase is Phase.RUNNING and chunk is not None and snapshot.row < chunk.rows.num_rows:
                row: Any = chunk.rows.column("sort_index")[snapshot.row].as_py()
                running.append((int(row), max(now_s - snapshot.started_s, 0.0)))
        return running

    def close(self) -> None:
        """End all processes, and remove what they have written."""
        self._is_closed = True
        with contextlib.ExitStack() as steps:
            if self._owns_templates:
                steps.callback(self._templates.close)
            self._processes.close()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
