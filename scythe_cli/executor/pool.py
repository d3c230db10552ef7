"""The pool: gives rows to child processes, takes their outcomes, and finds out what ended those that died."""

from __future__ import annotations

import os
import selectors
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.quantities import format_duration, format_size
from scythe_cli.core.states import State
from scythe_cli.errors import EntrypointError
from scythe_cli.executor.backlog import (
    ATTEMPT,
    TRIES_LEFT,
    Backlog,
    Pace,
)
from scythe_cli.executor.board import Phase, Sighting
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.memory import tree_memory_bytes
from scythe_cli.executor.process import (
    DUMP_SIGNAL,
    EXIT_BAD_DESCRIPTOR,
    ChildProcess,
    Chunk,
    Sentence,
    death_of,
)
from scythe_cli.executor.protocol import Message, from_ipc, to_ipc
from scythe_cli.executor.rows.capture import has_whole_stack, split_fault
from scythe_cli.executor.rows.failure import Failure, cut_middle
from scythe_cli.executor.rows.outcomes import outcome_of_failure
from scythe_cli.model.function_ref import ExperimentTarget
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA

if TYPE_CHECKING:
    from scythe_cli.executor.rows.call import RunContext


__all__ = ["Executor"]


_HEARTBEAT_S = 0.5
_MEMORY_POLL_S = 0.05
_STACK_S = 0.5
_STACK_POLL_S = 0.02
_REBALANCE_S = 0.1
_MAX_DEATHS = 3
_EXIT_GRACE_S = 1.0


class Executor:
    """Processes that run the specs of one experiment.

    Processes are started when rows come, and kept until `close`, for further runs.

    Args:
        target: The experiment.
        context: The run that the specs belong to.
        limits: What one spec may use.
        workers: The number of processes.
    """

    def __init__(self, target: ExperimentTarget, context: RunContext, limits: Limits, *, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers={workers}: there must be one at least")
        self.target = target
        self.context = context
        self.limits = limits
        self.workers = workers
        self.children: list[ChildProcess] = []
        self._context_bytes = context.to_bytes()
        self._scratch = Path(tempfile.mkdtemp(prefix=owned_prefix("executor")))
        self._n_started = 0
        self._n_chunks = 0
        self._is_closed = False

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
        run = _Run(self, rows, stop)
        try:
            yield from run.tables()
        finally:
            run.close()

    def running(self) -> list[tuple[int, float]]:
        """The specs that are being run: `sort_index`, and for how many seconds."""
        found: list[tuple[int, float]] = []
        now_s = time.monotonic()
        for child in self.children:
            sighting = child.sighting()
            chunk = next((each for each in child.chunks if each.serial == sighting.chunk), None)
            if sighting.phase is Phase.RUNNING and chunk is not None and sighting.row < chunk.rows.num_rows:
                row: Any = chunk.rows.column("sort_index")[sighting.row].as_py()
                found.append((int(row), max(now_s - sighting.started_s, 0.0)))
        return found

    def start_child(self) -> ChildProcess:
        """Start a process; it is not ready yet."""
        self._n_started += 1
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        folder = self._scratch / f"child-{self._n_started}"
        child = ChildProcess(self.target, self._context_bytes, self.limits, folder, threads)
        self.children.append(child)
        return child

    def new_serial(self) -> int:
        """A number for a chunk, which no other one of any run has: boards of processes outlive runs."""
        self._n_chunks += 1
        return self._n_chunks

    def drop_child(self, child: ChildProcess) -> None:
        """End a process that is of no more use."""
        self.children.remove(child)
        child.close()

    def close(self) -> None:
        """End all processes, and remove what they have left."""
        self._is_closed = True
        children, self.children = self.children, []
        for child in children:
            child.channel.close()  # all of them come to their end at the same time
        until_s = time.monotonic() + _EXIT_GRACE_S
        for child in children:
            is_idle = child.is_ready and not child.chunks
            child.close(grace_s=max(0.0, until_s - time.monotonic()) if is_idle else 0.0)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Run:
    """One run of rows: a single loop that waits for messages, deaths, deadlines and the stop signal."""

    def __init__(self, executor: Executor, rows: Iterable[pa.RecordBatch], stop: StopSignal) -> None:
        self._executor = executor
        self._limits = executor.limits
        self._stop = stop
        self._backlog = Backlog(rows, executor.limits.retries)
        self._pace = Pace()
        self._selector = selectors.DefaultSelector()
        self._events: dict[int, int] = {}
        self._outcomes: list[pa.Table] = []
        self._has_failures = False  # whether any of these failed
        self._n_unexplained = 0  # deaths of which it is not known what the process was doing
        self._suspected: Counter[int] = Counter()  # how often a row was alone in such a process, by sort_index
        self._failed_starts = 0
        self._keeps_spare = False
        self._has_started = any(child.is_ready for child in executor.children)
        self._memory_due_s = 0.0
        for fd in (stop.drain_fd, stop.kill_fd):
            self._selector.register(fd, selectors.EVENT_READ, None)
        self._heeds_drain = True
        for child in executor.children:
            self._watch(child)

    def tables(self) -> Iterator[pa.Table]:
        """The outcomes."""
        last_s = time.monotonic()
        while True:
            if self._stop.killing:
                yield from self._kill()
                return
            self._distribute()
            if self._is_finished():
                return
            self._wait()
            self._keep_limits()
            if self._outcomes:
                if not self._has_failures:
                    # what the caller does with outcomes takes a while; failures may make it stop the run
                    self._distribute()
                yield from self._take()
                last_s = time.monotonic()
            elif time.monotonic() - last_s >= _HEARTBEAT_S:
                yield OUTCOME_SCHEMA.empty_table()
                last_s = time.monotonic()

    def close(self) -> None:
        """Leave only idle processes behind."""
        self._selector.close()
        for child in [c for c in self._executor.children if c.chunks]:
            self._executor.drop_child(child)

    def _take(self) -> list[pa.Table]:
        outcomes, self._outcomes = self._outcomes, []
        self._has_failures = False
        return outcomes

    def _is_finished(self) -> bool:
        if self._outcomes or any(child.chunks for child in self._executor.children):
            return False
        return self._stop.draining or not self._backlog.holds(1)

    # giving rows

    def _distribute(self) -> None:
        children = self._executor.children
        if self._stop.draining:
            for child in children:
                if child.n_left > 1:
                    child.board.give_back = True
            return
        n_busy = sum(1 for child in children if child.chunks)
        # once a process has died, one more is kept ready to take the place of the next
        n_wanted = self._executor.workers + self._keeps_spare - len(children)
        if n_wanted > 0 and self._backlog.holds(1):
            # no more processes than rows
            while n_wanted > 0 and self._backlog.holds(len(children) - n_busy + 1):
                self._watch(self._executor.start_child())
                n_wanted -= 1
        for child in list(children):
            if child.is_ready and not child.chunks and n_busy < self._executor.workers and self._feed(child):
                n_busy += 1
        if self._pace.is_fast:
            for child in children:
                if child.is_ready and len(child.chunks) == 1:
                    self._feed(child)
        self._rebalance()

    def _feed(self, child: ChildProcess) -> bool:
        if child.sentence is not None or child.overdue is not None or self._replace_if_bloated(child):
            return False
        if not child.chunks:
            child.board.give_back = False
        if child.board.give_back or not self._backlog.holds(1):
            return False
        n = self._pace.rows(self._backlog.remaining(), self._executor.workers)
        self._backlog.holds(n)
        rows = self._backlog.take(n)
        serial = self._executor.new_serial()
        child.give(Chunk(serial, rows), Message("rows", {"chunk": serial}, [to_ipc(rows)]))
        self._update(child)
        return True

    def _replace_if_bloated(self, child: ChildProcess) -> bool:
        """End an idle child in which earlier specs have left so much memory that the next could reach the limit."""
        limit = self._limits.memory_limit_bytes
        if limit is None or child.chunks:
            return False
        used = tree_memory_bytes(child.pid, limit)
        if used - child.baseline_bytes < (limit - child.baseline_bytes) / 2 or used == child.baseline_bytes:
            return False
        self._unwatch(child)
        self._executor.drop_child(child)
        return True

    def _rebalance(self) -> None:
        """Let busy children give back rows that idle ones could run; rows differ in the time that they take."""
        children = self._executor.children
        n_busy = sum(1 for child in children if child.chunks)
        if n_busy >= min(self._executor.workers, sum(child.is_ready for child in children)) or self._backlog.holds(1):
            return
        now_s = time.monotonic()
        for child in children:
            if child.n_left > 1 and now_s - child.last_message_s >= _REBALANCE_S:
                child.board.give_back = True

    # waiting

    def _watch(self, child: ChildProcess) -> None:
        self._events[child.pid] = selectors.EVENT_READ
        self._selector.register(child.channel, selectors.EVENT_READ, child)
        if child.pidfd is not None:
            self._selector.register(child.pidfd, selectors.EVENT_READ, child)

    def _unwatch(self, child: ChildProcess) -> None:
        if self._events.pop(child.pid) and child.eof_s is None:
            self._selector.unregister(child.channel)
        if child.pidfd is not None:
            self._selector.unregister(child.pidfd)

    def _update(self, child: ChildProcess) -> None:
        """Wait for the socket to take more, only while there is more."""
        if child.eof_s is not None:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.wants_write else 0)
        if self._events[child.pid] != events:
            self._events[child.pid] = events
            self._selector.modify(child.channel, events, child)

    def _wait(self) -> None:
        """Wait for something to happen, and deal with messages and deaths."""
        for key, events in self._selector.select(self._timeout_s()):
            child: ChildProcess | None = key.data
            if child is None:
                if self._heeds_drain and self._stop.draining:
                    # it stays readable; that it is set is looked at in each round
                    self._selector.unregister(self._stop.drain_fd)
                    self._heeds_drain = False
            elif child in self._executor.children and key.fileobj is child.channel:
                if events & selectors.EVENT_WRITE:
                    child.channel.flush()
                    self._update(child)
                if events & selectors.EVENT_READ:
                    self._receive(child)
        for child in list(self._executor.children):
            if child.is_dead():
                self._bury(child)
            elif child.eof_s is not None and time.monotonic() - child.eof_s > 1.0:
                child.is_mute = True  # its spec has closed descriptors that are not its own, or written to them
                child.kill()

    def _timeout_s(self) -> float:
        now_s = time.monotonic()
        # a spec that begins while this waits ends no sooner than that
        until_s = now_s + min(_HEARTBEAT_S, self._limits.execution_timeout_s)
        for child in self._executor.children:
            if child.overdue is not None:
                until_s = min(until_s, now_s + _STACK_POLL_S)
            elif child.chunks:
                sighting = child.sighting()
                if sighting.phase is not Phase.IDLE:
                    until_s = min(until_s, sighting.started_s + self._limits.execution_timeout_s)
                if self._limits.memory_limit_bytes is not None:
                    until_s = min(until_s, self._memory_due_s)
                if len(self._executor.children) > 1 and child.n_left > 1:
                    until_s = min(until_s, max(now_s, child.last_message_s) + _REBALANCE_S)
            if child.pidfd is None or child.eof_s is not None:
                until_s = min(until_s, now_s + 0.05)
        return max(0.0, until_s - now_s)

    # taking outcomes

    def _receive_rest(self, child: ChildProcess) -> None:
        """Take what a dead child had sent before."""
        while child.eof_s is None and self._receive(child):
            pass

    def _receive(self, child: ChildProcess) -> bool:
        """Take what a child has sent; tell whether that was anything."""
        messages = child.channel.receive()
        for message in messages:
            child.last_message_s = time.monotonic()
            if message.kind == "done":
                self._take_outcomes(child, message)
            elif message.kind == "ready":
                child.is_ready = self._has_started = True
                if self._limits.memory_limit_bytes is not None:
                    child.baseline_bytes = tree_memory_bytes(child.pid, self._limits.memory_limit_bytes)
                self._failed_starts = 0
            else:
                raise EntrypointError(message.fields["message"], hint=message.fields["hint"])
        if child.channel.at_end and child.eof_s is None:
            self._selector.unregister(child.channel)
            child.eof_s = time.monotonic()
        return bool(messages)

    def _take_outcomes(self, child: ChildProcess, message: Message) -> None:
        fields = message.fields
        chunk = child.chunks[0]
        self._outcomes += [from_ipc(blob) for blob in message.blobs]
        if fields["n"]:
            self._pace.record(fields["n"], fields["busy_s"])
        self._has_failures |= bool(fields["failed"])
        if self._limits.retries and fields["failed"]:
            tries_left: Any = chunk.rows.column(TRIES_LEFT)
            again = [row for row in fields["failed"] if tries_left[row].as_py() > 0]
            if again:
                self._backlog.put_again(chunk.rows.take(pa.array(again, pa.int64())))
        chunk.done = fields["done"]
        if fields["back"]:
            if not self._stop.draining:
                self._backlog.put_back(chunk.rows.slice(chunk.done))
            child.chunks.popleft()
        elif not chunk.n_left:
            child.chunks.popleft()

    # limits

    def _keep_limits(self) -> None:
        now_s = time.monotonic()
        checks_memory = self._limits.memory_limit_bytes is not None and now_s >= self._memory_due_s
        for child in self._executor.children:
            if not child.chunks or child.sentence is not None:
                continue
            self._keep_time(child, now_s)
            if checks_memory and child.sentence is None:
                self._keep_memory(child)
        if checks_memory:
            self._memory_due_s = time.monotonic() + _MEMORY_POLL_S

    def _keep_time(self, child: ChildProcess, now_s: float) -> None:
        limit_s = self._limits.execution_timeout_s
        sighting = child.sighting()
        if child.overdue is not None:
            if child.overdue != sighting:
                child.overdue = None  # it has just finished
            elif now_s >= child.kill_at_s or has_whole_stack(child.output()):
                message = f"still running after {format_duration(limit_s)}"
                child.sentence = Sentence(sighting, State.TIMEOUT, "Timeout", message)
                child.kill()
        elif sighting.phase is not Phase.IDLE and now_s - sighting.started_s >= limit_s:
            child.overdue = sighting
            child.kill_at_s = now_s + _STACK_S
            child.ask_for_stack(DUMP_SIGNAL)

    def _keep_memory(self, child: ChildProcess) -> None:
        limit = self._limits.memory_limit_bytes or 0
        used = tree_memory_bytes(child.pid, limit)
        if used > limit:
            message = f"used {format_size(used)}, the limit is {format_size(limit)}"
            child.sentence = Sentence(child.sighting(), State.CRASHED, "MemoryLimit", message)
            child.kill()

    # deaths

    def _bury(self, child: ChildProcess) -> None:
        """Find out what ended a child, and which of its rows; the others are run by another one."""
        died_s = time.monotonic()
        code = child.reap()
        self._receive_rest(child)
        sighting = child.sighting()
        self._unwatch(child)
        output, stack = split_fault(child.output())
        if not child.is_ready:
            self._note_failed_start(code, output, stack)
        elif child.chunks:
            self._keeps_spare = True
            self._settle(child, sighting, code, died_s, output, stack)
        self._executor.drop_child(child)

    def _note_failed_start(self, code: int, output: str | None, stack: str | None) -> None:
        self._failed_starts += 1
        if self._has_started and self._failed_starts < _MAX_DEATHS:
            return
        text = "\n".join(part.rstrip() for part in (output, stack) if part)
        raise EntrypointError(
            f"{self._executor.target.describe()} cannot be loaded: {death_of(code)[1]}"
            + (f"\n{cut_middle(text, 5_000)}" if text else "")
        )

    def _settle(
        self,
        child: ChildProcess,
        sighting: Sighting,
        code: int,
        died_s: float,
        output: str | None,
        stack: str | None,
    ) -> None:
        chunk = child.chunks[0]
        others = list(child.chunks)[1:]
        failure = self._failure_of(child, code, stack)
        known = sighting.chunk == chunk.serial
        begun = known and sighting.phase is not Phase.IDLE and not child.is_mute
        sentence = child.sentence
        n = chunk.rows.num_rows
        # what is put to the front last is run first
        for other in reversed(others):
            self._requeue(other.rows)
        if sentence is not None and sentence.sighting != sighting:
            # the spec that it was killed for has finished at that very moment
            self._requeue(chunk.rows.slice(chunk.done))
        elif begun and (sighting.phase is Phase.RUNNING or n == 1):
            self._requeue(chunk.rows.slice(sighting.row + 1))
            self._requeue(chunk.rows.slice(chunk.done, sighting.row - chunk.done))
            self._blame(chunk.rows.slice(sighting.row, 1), failure, sighting.started_s, died_s, output)
        elif begun:
            # one of the rows whose specs it was making; alone, it will show
            self._requeue(chunk.rows.slice(sighting.end))
            self._requeue(chunk.rows.slice(sighting.row, sighting.end - sighting.row), alone=True)
            self._requeue(chunk.rows.slice(chunk.done, sighting.row - chunk.done))
        elif known and n == 1:
            self._blame(chunk.rows, failure, sighting.started_s, died_s, output)
        elif known:
            # it ended itself between rows, or could not say what became of them; which was the cause shows alone
            seen = max(chunk.done, min(sighting.row + 1, n))
            self._requeue(chunk.rows.slice(seen))
            self._requeue(chunk.rows.slice(chunk.done, seen - chunk.done), alone=True)
        elif n > 1:
            # the first time it may have been by chance, before it began
            self._n_unexplained += 1
            self._requeue(chunk.rows.slice(chunk.done), alone=self._n_unexplained > 1)
        else:
            row: Any = chunk.rows.column("sort_index")[0].as_py()
            self._suspected[row] += 1
            if self._suspected[row] < _MAX_DEATHS:
                self._requeue(chunk.rows, alone=True)
            else:
                self._blame(chunk.rows, failure, died_s, died_s, output)

    def _requeue(self, rows: pa.RecordBatch, *, alone: bool = False) -> None:
        if not self._stop.draining:
            self._backlog.put_back(rows, alone=alone)

    def _failure_of(self, child: ChildProcess, code: int, stack: str | None) -> Failure:
        sentence = child.sentence
        if sentence is not None:
            return Failure(sentence.state, sentence.error_type, sentence.message, stack)
        error_type, message = death_of(EXIT_BAD_DESCRIPTOR if child.is_mute else code)
        return Failure(State.CRASHED, error_type, message, stack)

    def _blame(
        self, row: pa.RecordBatch, failure: Failure, started_s: float, died_s: float, output: str | None
    ) -> None:
        from scythe_cli.model.spec_rows import workflow_run_id

        cells = row.select(["sort_index", "workflow_run_id", ATTEMPT, TRIES_LEFT]).to_pylist()[0]
        root = self._executor.context.root_workflow_run_id
        self._has_failures = True
        self._outcomes.append(
            outcome_of_failure(
                failure,
                sort_index=cells["sort_index"],
                attempt=cells[ATTEMPT],
                final=cells[TRIES_LEFT] <= 0,
                workflow_run_id=cells["workflow_run_id"] or workflow_run_id(root, cells["sort_index"]),
                worker=self._executor.context.worker,
                started_s=started_s + time.time() - time.monotonic(),
                duration_s=max(0.0, died_s - started_s),
                log=output,
            )
        )
        if cells[TRIES_LEFT] > 0:
            self._backlog.put_again(row, alone=True)

    def _kill(self) -> list[pa.Table]:
        """End all children that run something; what they had finished and sent is kept."""
        for child in [c for c in self._executor.children if c.chunks]:
            child.kill()
            child.reap()
            self._receive_rest(child)
            self._unwatch(child)
            self._executor.drop_child(child)
        return self._take()
