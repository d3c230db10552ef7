"""The loop of one run: waits for messages, deaths, deadlines and the stop signal, and does what is decided then."""

from __future__ import annotations

import selectors
import time
from collections.abc import Collection, Iterator

import pyarrow as pa

from scythe_cli.errors import EngineError
from scythe_cli.executor.attribution import over_memory, over_time
from scythe_cli.executor.deaths import settle_child, settle_fork
from scythe_cli.executor.dispatch import Chunk, Dispatch
from scythe_cli.executor.ipc import unpack
from scythe_cli.executor.limits import StopSignal
from scythe_cli.executor.process import ChildProcess, ChildProcesses
from scythe_cli.executor.protocol import loading_error
from scythe_cli.executor.rows.capture import has_whole_stack, split_fault
from scythe_cli.executor.scheduling import (
    HEARTBEAT_S,
    STACK_S,
    Overdue,
    TimeAction,
    children_to_ask_back,
    is_bloated,
    is_stalled,
    next_to_feed,
    rows_per_process,
    rows_to_start_for,
    time_action,
    wait_s,
)
from scythe_cli.executor.starting.startup import Startup
from scythe_cli.executor.starting.template import Template
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA

__all__ = ["RunLoop"]


_MEMORY_POLL_S = 0.05
_MUTE_S = 1.0
_PAUSE_S = 1.0
_TEMPLATE_POLL_S = 0.05


class RunLoop:
    """One run of rows. Closing it ends the processes that are still at work, and keeps those that wait.

    Args:
        processes: The processes; more are started as they are needed.
        dispatch: The rows.
        stop: Ends the run early.
    """

    def __init__(self, processes: ChildProcesses, dispatch: Dispatch, stop: StopSignal) -> None:
        self._processes = processes
        self._dispatch = dispatch
        self._stop = stop
        self._timeout_s = processes.limits.execution_timeout_s
        self._memory_limit = processes.limits.memory_limit_bytes
        self._selector = selectors.DefaultSelector()
        self._events: dict[int, int] = {}  # what is waited for on the channel of a child, by its number
        self._keeps_spare = False
        self._memory_due_s = 0.0
        self._heeds_drain = True
        self._tick_s = 0.0
        self._startup = Startup(processes, self._selector)

    def tables(self) -> Iterator[pa.Table]:
        """The outcomes; see `Executor.run`."""
        for fd in (self._stop.drain_fd, self._stop.kill_fd):
            self._selector.register(fd, selectors.EVENT_READ, None)
        for child in self._processes.all:
            self._watch(child)
        last_s = self._tick_s = time.monotonic()
        while True:
            if self._stop.killing:
                yield from self._kill()
                return
            self._distribute()
            if self._is_finished():
                return
            self._check_progress()
            self._wait()
            self._keep_limits()
            if self._dispatch.has_outcomes:
                if not self._dispatch.has_failures:
                    # what the caller does with outcomes takes a while; failures may make it stop the run
                    self._distribute()
                yield from self._dispatch.take_outcomes()
                last_s = self._tick_s = time.monotonic()
            elif time.monotonic() - last_s >= HEARTBEAT_S:
                yield pa.Table.from_batches([], OUTCOME_SCHEMA)  # without pandas
                last_s = self._tick_s = time.monotonic()

    def close(self) -> None:
        """End the processes that are at work."""
        self._selector.close()
        for child in [c for c in self._processes.all if c.chunks]:
            self._processes.drop(child)

    def _is_finished(self) -> bool:
        if self._dispatch.has_outcomes or any(child.chunks for child in self._processes.all):
            return False
        return self._stop.draining or not self._dispatch.holds(1)

    def _check_progress(self) -> None:
        """See that something is going to happen.

        Raises:
            EngineError: If rows wait and nothing would ever run them, which is a mistake in this package.
        """
        states = [child.state() for child in self._processes.all]
        waits = not self._stop.draining and not self._dispatch.has_outcomes and not self._startup.is_loading
        if waits and is_stalled(states, has_rows=self._dispatch.holds(1)):
            raise EngineError(
                "cases are waiting, but no process is running or starting",
                hint="This is a bug in scythe; please report it. Finished cases are kept.",
            )

    def _kill(self) -> list[pa.Table]:
        """End all children that run something; what they had finished and sent is kept."""
        for child in [c for c in self._processes.all if c.chunks]:
            child.kill()
            child.reap()
            self._receive_rest(child)
            self._drop(child)
        return self._dispatch.take_outcomes()

    # giving rows

    def _distribute(self) -> None:
        children = self._processes.all
        if self._stop.draining:
            for child in children:
                if child.n_remaining > 1:
                    child.board.give_back = True
            return
        # first what is ready gets rows: to start a process takes a while
        self._feed_all()
        self._start_processes()
        self._feed_all()
        positions = children_to_ask_back(
            [child.state() for child in children], self._processes.workers, time.monotonic()
        )
        if positions and not self._dispatch.holds(1):
            for position in positions:
                children[position].board.give_back = True

    def _feed_all(self, dead: Collection[ChildProcess] = ()) -> None:
        """Give rows to all that are to have some, those in place of children included that have just died."""
        while (child := self._next_to_feed(dead)) is not None:
            self._feed(child)

    def _start_processes(self) -> None:
        while True:
            states = [child.state() for child in self._processes.all]
            n = rows_to_start_for(states, self._processes.workers, keeps_spare=self._keeps_spare)
            if n is None or not self._dispatch.holds(n):
                return
            child = self._processes.start()
            if child is not None:
                self._watch(child)
            elif self._startup.awaits_template():
                return

    def _next_to_feed(self, dead: Collection[ChildProcess]) -> ChildProcess | None:
        children = [child for child in self._processes.all if child not in dead]
        states = [child.state() for child in children]
        position = next_to_feed(states, self._processes.workers, is_fast=self._dispatch.is_fast)
        return None if position is None or not self._dispatch.can_give() else children[position]

    def _feed(self, child: ChildProcess) -> None:
        """Give a child its next rows, or put another in its place."""
        if not child.chunks:
            if self._is_used_up(child):
                self._drop(child)
                self._start_processes()
                return
            child.board.give_back = False
        per_process = self._rows_per_process()
        rows = self._dispatch.next_rows()
        if ending := self._processes.equip(child, rows):
            self._dispatch.take_back(rows)
            for each in ending:
                self._drop(each)
            self._start_processes()
            return
        can_fork = self._processes.templates.forks
        if can_fork and not per_process and not child.has_run and self._dispatch.is_deadly:
            per_process = rows.num_rows  # a fork that dies costs less than a process that does
        chunk = Chunk(self._processes.new_serial(), rows)
        child.give(chunk, per_process, forks=per_process > 0 and can_fork)
        self._update(child)

    def _rows_per_process(self) -> int:
        limits = self._processes.limits
        fork_s = self._processes.templates.fork_s
        row_s, imports_s = self._dispatch.row_s, self._dispatch.imports_s
        return rows_per_process(
            limits.isolation, limits.rows_per_process, fork_s=fork_s, row_s=row_s, imports_s=imports_s
        )

    def _is_used_up(self, child: ChildProcess) -> bool:
        """Whether an idle child has too much of earlier specs, in its memory or at all, to run the next."""
        if child.has_run and self._processes.templates.forks and self._rows_per_process():
            return True
        if child.is_worn or self._memory_limit is None:
            return child.is_worn
        return is_bloated(child.memory_bytes(self._memory_limit), child.baseline_bytes, self._memory_limit)

    # waiting

    def _watch(self, child: ChildProcess) -> None:
        self._events[child.pid] = selectors.EVENT_READ
        self._selector.register(child.channel, selectors.EVENT_READ, child)
        if child.pidfd is not None:
            self._selector.register(child.pidfd, selectors.EVENT_READ, child)

    def _drop(self, child: ChildProcess) -> None:
        """End a child, and wait for nothing of it any more."""
        if self._events.pop(child.pid) and child.eof_s is None:
            self._selector.unregister(child.channel)
        if child.pidfd is not None:
            self._selector.unregister(child.pidfd)
        self._processes.drop(child)

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
        timeout_s = wait_s(
            [child.state() for child in self._processes.all],
            now_s=time.monotonic(),
            execution_timeout_s=self._timeout_s,
            memory_due_s=None if self._memory_limit is None else self._memory_due_s,
        )
        if self._startup.is_loading:
            timeout_s = min(timeout_s, _TEMPLATE_POLL_S)
        ready = self._selector.select(timeout_s)
        self._note_pause(timeout_s)
        self._startup.poll()
        for key, events in ready:
            child: ChildProcess | Template | None = key.data
            if isinstance(child, Template):
                continue
            if child is None:
                if self._heeds_drain and self._stop.draining:
                    # it stays readable; that it is set is looked at in each round
                    self._selector.unregister(self._stop.drain_fd)
                    self._heeds_drain = False
            elif child in self._processes.all and key.fileobj is child.channel:
                if events & selectors.EVENT_WRITE:
                    child.channel.flush()
                    self._update(child)
                if events & selectors.EVENT_READ:
                    self._receive(child)
        dead = [child for child in self._processes.all if child.is_dead()]
        if dead and not self._stop.draining:
            self._feed_all(dead)  # the spare goes on while it is found out what has happened
        for child in dead:
            if child in self._processes.all:
                self._handle_death(child)
        for child in self._processes.all:
            if child.eof_s is not None and time.monotonic() - child.eof_s > _MUTE_S:
                child.is_mute = True  # its spec has closed descriptors that are not its own, or written to them
                child.kill()

    def _note_pause(self, timeout_s: float) -> None:
        """Take note when this process did not run for longer than it waited: then nor did the specs."""
        now_s = time.monotonic()
        pause_s = now_s - self._tick_s - timeout_s
        if pause_s >= _PAUSE_S:
            for child in self._processes.all:
                if child.chunks:
                    # a spec may have begun since the last look, before the pause or after it
                    child.add_pause(min(pause_s, max(0.0, now_s - child.snapshot().started_s)))
        self._tick_s = now_s

    # taking outcomes

    def _receive_rest(self, child: ChildProcess) -> None:
        """Take what a dead child had sent before."""
        while child.eof_s is None and self._receive(child):
            pass

    def _receive(self, child: ChildProcess) -> bool:
        """Take what a child has sent; tell whether that was anything."""
        messages = child.channel.receive()
        for message in messages:
            if child.is_mute:
                break  # what has come before is gone
            child.last_message_s = time.monotonic()
            if message.kind == "done":
                outcomes = unpack(message.fields["files"], message.blobs, child.scratch)
                if outcomes is None:
                    child.is_mute = True  # a spec has removed them, or written to them
                    child.kill()
                    continue
                self._processes.removed = self._processes.removed or message.fields["removed"]
                if message.fields["worn"]:
                    child.is_worn = child.board.give_back = True
                if self._dispatch.add_outcomes(child.chunks[0], outcomes, message.fields):
                    child.chunks.popleft()
            elif message.kind == "died":
                settle_fork(child.chunks.popleft(), message, self._dispatch)
                child.overdue = None
            elif message.kind == "ready":
                child.is_ready = True
                self._startup.note_success()
                if self._memory_limit is not None:
                    child.baseline_bytes = child.memory_bytes(self._memory_limit)
            else:
                raise loading_error(message.fields)
        if child.channel.at_end and child.eof_s is None:
            self._selector.unregister(child.channel)
            child.eof_s = time.monotonic()
        return bool(messages)

    # limits

    def _keep_limits(self) -> None:
        now_s = time.monotonic()
        checks_memory = self._memory_limit is not None and now_s >= self._memory_due_s
        for child in self._processes.all:
            if child.termination is not None:
                continue
            if not child.is_ready:
                self._startup.check_time(child.started_s)
            if not child.chunks:
                child.overdue = None  # its spec has finished at the last moment
                continue
            self._keep_time(child, now_s)
            if checks_memory and child.termination is None:
                self._keep_memory(child)
        if checks_memory:
            self._memory_due_s = time.monotonic() + _MEMORY_POLL_S

    def _keep_time(self, child: ChildProcess, now_s: float) -> None:
        snapshot = child.snapshot()
        has_stack = child.overdue is not None and has_whole_stack(child.output())
        match time_action(
            snapshot,
            child.overdue,
            now_s=now_s,
            execution_timeout_s=self._timeout_s,
            has_stack=has_stack,
            paused_s=child.paused_s(snapshot),
        ):
            case TimeAction.ASK_FOR_STACK:
                child.ask_for_stack(Overdue(snapshot, now_s + STACK_S))
            case TimeAction.FORGET:
                child.overdue = None
            case TimeAction.TERMINATE:
                child.terminate(over_time(snapshot, self._timeout_s))
            case TimeAction.NOTHING:
                pass

    def _keep_memory(self, child: ChildProcess) -> None:
        limit = self._memory_limit or 0
        used = child.memory_bytes(limit)
        if used > limit:
            child.terminate(over_memory(child.snapshot(), used, limit))
        elif is_bloated(used, child.baseline_bytes, limit):
            child.board.give_back = True  # rows that it has not begun may need what earlier ones have kept

    # deaths

    def _handle_death(self, child: ChildProcess) -> None:
        """Find out what ended a child, and which of its rows; the others are run by another one."""
        died_s = time.monotonic()
        code = child.reap()
        self._receive_rest(child)
        if not child.is_ready:
            self._startup.note_failure(code, *split_fault(child.output()))
        elif child.chunks:
            # from now on, one more is kept ready to take the place of the next that dies
            self._keeps_spare = True
            row = settle_child(child, code, died_s, self._dispatch)
            if row is not None and self._processes.limits.keep_files != "never":
                self._processes.keep_files(child, row)
        self._drop(child)
