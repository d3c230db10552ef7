"""What a task of an array runs: `python -m scythe_cli.engines.slurm.task`, with its assignment on standard input.

Rows are run by the same executor as everywhere, with the cores of the job, and outcomes go to the ledger as they come.
A task that Slurm starts again looks there first. Before its time is over it begins no more rows; those that it has not
begun stay pending, and the closing job submits them again.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from scythe_cli.core.cores import usable_cores
from scythe_cli.core.states import State
from scythe_cli.engines.base import with_attempts
from scythe_cli.engines.slurm.assignment import Assignment, read_stop, write_error, write_stop
from scythe_cli.engines.slurm.commands import Slurm
from scythe_cli.engines.slurm.progress import remaining
from scythe_cli.engines.slurm.queue import seconds_of
from scythe_cli.engines.slurm.sizing import rows_of_task
from scythe_cli.errors import ScytheError
from scythe_cli.executor.code import check_sources
from scythe_cli.executor.limits import StopSignal
from scythe_cli.executor.pool import Executor
from scythe_cli.run.ledger import Ledger, LedgerWriter
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = ["Clock", "Place", "main", "run_task"]


_LOOK_S = 5.0
_END_MARGIN_S = 5.0
_DRAIN_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task runs.

    Attributes:
        task: Its number in the array.
        restarts: How often Slurm has started it before.
        job: The id of its job, as squeue takes it.
        shown: The id for people.
        node: The name of the node.
        end_s: When its time is over, in seconds since 1970, as far as the environment says.
    """

    task: int
    restarts: int
    job: str
    shown: str
    node: str
    end_s: float | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place:
        """From what Slurm sets."""
        task = int(environment.get("SLURM_ARRAY_TASK_ID", "0"))
        job = environment.get("SLURM_JOB_ID", "")
        end = environment.get("SLURM_JOB_END_TIME", "")
        return cls(
            task=task,
            restarts=int(environment.get("SLURM_RESTART_COUNT", "0")),
            job=job,
            shown=f"{environment.get('SLURM_ARRAY_JOB_ID', job)}_{task}",
            node=environment.get("SLURMD_NODENAME") or socket.gethostname(),
            # where there is no limit, it is 2038 or later
            end_s=float(end) if end.isdecimal() and int(end) < time.time() + 366 * 86_400 else None,
        )


@dataclass
class Clock:
    """When a task begins no more rows, and when it ends those that run.

    Attributes:
        end_s: When its time is over, on the clock of `now`; None where nothing limits it.
        budget_s: After how long it begins no more; None for its end alone.
        now: Tells the time.
    """

    end_s: float | None
    budget_s: float | None
    now: Callable[[], float] = time.time
    longest_s: float = 0.0
    _start_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._start_s = self.now()

    @property
    def drains(self) -> bool:
        """Whether no more rows are begun: such as the longest so far would not end in time."""
        now = self.now()
        if self.budget_s is not None and now - self._start_s >= self.budget_s:
            return True
        if self.end_s is None:
            return False
        # of a short limit, a part at least is worked
        margin_s = min(_DRAIN_MARGIN_S, (self.end_s - self._start_s) / 4)
        return now >= self.end_s - margin_s - 1.2 * self.longest_s

    @property
    def is_over(self) -> bool:
        """Whether what runs is ended, so that what is finished can still be written."""
        return self.end_s is not None and self.now() >= self.end_s - _END_MARGIN_S


@dataclass
class Failures:
    """Counts the cases of a submission that did not succeed, over all of its tasks; each part is read once."""

    storage: Storage
    assignment: Assignment
    n: int = 0
    _seen: set[str] = field(default_factory=set[str])

    def look(self) -> int:
        """Read what is new.

        Raises:
            StorageError: If the ledger cannot be listed or read.
        """
        run = self.assignment.layout
        for file in self.storage.list_files(run.outcomes, starting=self.assignment.session):
            if file.name in self._seen or not file.name.endswith(".pq"):
                continue
            self._seen.add(file.name)
            try:
                data = self.storage.read_bytes(run.key("outcomes", file.name))
            except MissingKeyError:
                continue
            with pq.ParquetFile(io.BytesIO(data)) as part:
                self.n += failures_of(part.read(columns=["state", "final"]))
        return self.n


def failures_of(outcomes: pa.Table) -> int:
    """The cases that have come to an end and did not succeed."""
    rows = outcomes.select(["state", "final"]).to_pydict()
    return sum(
        final and state != State.SUCCEEDED.value for state, final in zip(rows["state"], rows["final"], strict=True)
    )


def own_rows(storage: Storage, assignment: Assignment, place: Place) -> pl.DataFrame:
    """The rows of a task that have no outcome yet, with the number of their next attempt.

    Raises:
        StorageError: If they, or the ledger, cannot be read.
    """
    rows = rows_of_task(place.task, assignment.rows_per_task, assignment.n_rows)
    todo = assignment.read_todo(storage).slice(rows.start, len(rows))
    names = [
        file.name
        for file in storage.list_files(assignment.layout.outcomes, starting=assignment.part_prefix(place.task))
        if file.name.endswith(".pq")
    ]
    if not names:
        return todo
    with Ledger.open(storage, assignment.layout, names=names) as ledger:
        return remaining(ledger.outcomes(assignment.n_specs), todo)


def run_task(assignment: Assignment, place: Place, stop: StopSignal, clock: Clock) -> int:
    """Run the rows of a task; returns how many came to an outcome.

    Raises:
        EntrypointError: If the experiment cannot be loaded on this node.
        StorageError: If rows cannot be read, or outcomes cannot be written.
    """
    storage, run = assignment.open_storage(), assignment.layout
    if read_stop(storage, run, assignment.session) is not None:
        return 0
    frame = own_rows(storage, assignment, place)
    if not frame.height:
        return 0
    target = assignment.experiment_target()
    check_sources(target)
    todo = frame.to_arrow()
    prefix = f"{assignment.part_prefix(place.task)}r{place.restarts}-{uuid4().hex[:6]}"
    writer = LedgerWriter(storage, run, prefix, code=assignment.code_mark, is_alone=False)
    context = assignment.context(f"{place.node}, task {place.shown}")
    watch = _Watch(storage, assignment, stop, clock)
    n_done = 0
    with (
        SpecFile.open(storage, run) as specs,
        Executor(target, context, assignment.run_limits(), workers=usable_cores()) as executor,
    ):
        rows = with_attempts(specs.batches(todo.column("sort_index").combine_chunks()), todo)
        try:
            for outcomes in executor.run(rows, stop=stop):
                if outcomes.num_rows:
                    writer.add(outcomes)
                    n_done += watch.note(outcomes)
                else:
                    writer.flush_if_due()
                watch.look()
        finally:
            writer.flush()  # what has finished is kept, whatever ended the loop
        for notice in executor.notices:
            print(notice, flush=True)
    return n_done


@dataclass
class _Watch:
    """Ends a task in time: at its end, at a stop, and at too many failures."""

    storage: Storage
    assignment: Assignment
    stop: StopSignal
    clock: Clock
    _n_failed: int = 0
    _due_s: float = field(default_factory=lambda: time.monotonic() + _LOOK_S)

    def __post_init__(self) -> None:
        self._failures = Failures(self.storage, self.assignment)

    def note(self, outcomes: pa.Table) -> int:
        """Take note of outcomes; returns how many are final."""
        durations = [each for each in outcomes.column("duration_s").to_pylist() if each is not None]
        self.clock.longest_s = max([self.clock.longest_s, *durations])
        self._n_failed += failures_of(outcomes)
        limit = self.assignment.max_failures
        if limit is not None and self._n_failed >= limit:
            self._stop_all(self._n_failed)
        return outcomes.column("final").to_pylist().count(True)

    def look(self) -> None:
        """See whether it is time."""
        if self.clock.drains:
            self.stop.drain()
        if self.clock.is_over:
            self.stop.kill()
        if time.monotonic() < self._due_s or self.stop.draining:
            return
        self._due_s = time.monotonic() + _LOOK_S
        run, limit = self.assignment.layout, self.assignment.max_failures
        if read_stop(self.storage, run, self.assignment.session) is not None:
            self.stop.drain()
        elif limit is not None and (n := self._failures.look()) >= limit:
            self._stop_all(n)

    def _stop_all(self, n: int) -> None:
        if not self.stop.draining:
            cases = "1 case" if n == 1 else f"{n:,} cases"
            why = f"stopped: {cases} did not succeed; the rest are pending"
            write_stop(self.storage, self.assignment.layout, self.assignment.session, why)
            self.stop.drain()


def end_of(place: Place, slurm: Slurm) -> float | None:
    """When the time of this job is over, in seconds since 1970; None where that is not known."""
    if place.end_s is not None:
        return place.end_s
    try:
        left_s = seconds_of(slurm.time_left(place.job))
    except ScytheError:
        return None
    return None if left_s is None else time.time() + left_s


def main() -> int:
    """Run the task that the environment and standard input tell of; returns the exit code."""
    assignment = Assignment.from_text(sys.stdin.buffer.read())
    place = Place.of(os.environ)
    stop = StopSignal()

    # at the end of its time, when it is preempted, and by `scancel --signal`
    def drain(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.drain()

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, drain)
    clock = Clock(end_of(place, Slurm()), assignment.budget_s)
    try:
        n = run_task(assignment, place, stop, clock)
    except ScytheError as error:
        print(f"error: {error}", flush=True)
        with contextlib.suppress(ScytheError):  # such as a storage that this node does not see
            write_error(assignment.open_storage(), assignment.layout, assignment.session, error.message)
        return error.exit_code
    print(f"task {place.shown} on {place.node}: {n:,} cases ended", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
