"""Serving: what a process does that runs specs, from the rows that the parent sends to the outcomes that it gets.

A process runs rows by itself, or forks a process for each one or few of them. It then has never run any: what it forks
is as fresh as it is itself, and what a row does to its process is gone with it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.core.states import RetryRule, State
from scythe_cli.executor.attribution import failure_of_lateness
from scythe_cli.executor.child.forking import end_like, fork, kill_orphans, wait_for
from scythe_cli.executor.child.handing import Handing
from scythe_cli.executor.child.place import Place
from scythe_cli.executor.child.preparing import Preparation, Rows
from scythe_cli.executor.ipc import from_ipc, pack
from scythe_cli.executor.protocol import (
    Board,
    Connection,
    Message,
    Phase,
)
from scythe_cli.executor.rows.call import Leaf, RunContext
from scythe_cli.executor.rows.capture import Capture, log_line
from scythe_cli.executor.rows.failure import Failure, failure_from
from scythe_cli.executor.rows.imports import ImportClock
from scythe_cli.executor.rows.memory import peak_memory
from scythe_cli.executor.rows.outcomes import OutcomeBatch
from scythe_cli.executor.rows.randomness import SharedGenerators
from scythe_cli.model.experiment import RegisteredExperiment

__all__ = ["Server"]


_FLUSH_S = 0.25
_FAILURE_S = 0.02  # the next row may take an hour, and a failure is to be seen at once
_FLUSH_ROWS = 10_000
_FLUSH_BYTES = 8_000_000
_BUILD_ROWS = 64
_BUILD_FIRST = 8  # what is built is lost when one of the first rows ends the process

_PHASE, _ROW, _GIVE_BACK, _LATE_ROW, _LATE_CHUNK = (
    Board.PHASE,
    Board.ROW,
    Board.GIVE_BACK,
    Board.LATE_ROW,
    Board.LATE_CHUNK,
)
_IDLE, _RUNNING = int(Phase.IDLE), int(Phase.RUNNING)

# what a process that was forked for some rows leaves on the board: all are finished, or it has given back the others
_DONE = 0
_GAVE_BACK = -1
_HANDED = -2  # all are finished, and their outcomes are left to the process that has forked it

# whether such a process has sent outcomes, beginning with those that were at hand before
_NOTHING_SENT, _SENDING, _SENT = range(3)


class Server:
    """Runs the rows that the parent sends, and sends back outcomes.

    Args:
        connection: To the parent.
        board: What the parent sees of what is going on.
        capture: What rows print.
        experiment: What to call.
        context: The run.
        scratch: Where temporary folders are made.
        execution_timeout_s: How long one attempt may take, for messages.
        generators: What gives `random` and `numpy.random` the seed of a row.
        place: Where specs run.
        retry: After what specs are run again.
        startup_timeout_s: How long the modules that a spec imports may take to be loaded.
    """

    def __init__(
        self,
        connection: Connection,
        board: Board,
        capture: Capture,
        experiment: RegisteredExperiment[Any, Any],
        context: RunContext,
        scratch: Path,
        execution_timeout_s: float,
        generators: SharedGenerators,
        place: Place,
        retry: RetryRule | None = None,
        startup_timeout_s: float = 300.0,
    ) -> None:
        self._connection = connection
        self._board = board
        self._capture = capture
        self._place = place
        self._preparation = Preparation(experiment.input_validator_type, context.root_workflow_run_id, board)
        self._scratch = scratch
        self._leaf = Leaf(experiment, context, scratch=scratch, log_sink=log_line, generators=generators)
        self._batch = OutcomeBatch(experiment.output_validator_type, context.worker, retry=retry or RetryRule(0))
        self._handing = Handing()
        self._hands = False  # this process was forked for some rows, and all their outcomes so far were handed over
        self._handed_s: float | None = None  # the time of rows at hand that were run by such processes
        self._forked = False  # a spec has forked this process, which is not to go on
        self._is_fork = False  # this process was forked for some rows
        self._flushed_s = 0.0
        self._timeout_s = execution_timeout_s
        self._n_run = 0
        self._is_worn = False
        self._quota = 0
        self._gave_back = False
        self._imports = ImportClock(board.clock, startup_timeout_s)
        os.register_at_fork(after_in_child=self._note_fork)

    def _note_fork(self) -> None:
        self._forked = True

    def serve(self) -> None:
        """Run rows until the parent closes its end."""
        while (message := self._connection.receive()) is not None:
            if message.kind == "rows":
                fields = message.fields
                os.environ.update(fields["environment"])
                self._run(fields["chunk"], from_ipc(message.blobs[0]), fields["per_process"], forks=fields["forks"])

    def _run(self, chunk: int, table: pa.Table, per_process: int, *, forks: bool) -> None:
        """Run the rows of one chunk, as many in one process as there may be; 0 for any number."""
        if self._board.give_back or self._is_worn:
            self._send(chunk, 0, [], n=0, back=True)
            return
        rows = self._begin(chunk, table)
        if forks:
            self._handed_s = 0.0
            self._run_in_forks(rows, per_process)
            self._handed_s = None
        else:
            self._quota = per_process
            self._run_rows(rows, 0, rows.n)

    def _run_in_forks(self, rows: Rows, per_process: int) -> None:
        for start in range(0, rows.n, per_process):
            if start and self._board.give_back:
                self._flush(rows.chunk, start, rows.tries, back=True)
                return
            stop = min(start + per_process, rows.n)
            if not self._fork_for(rows, start, stop):
                return
            if len(self._batch) and (stop == rows.n or self._is_time_to_send()):
                self._flush(rows.chunk, stop, rows.tries)

    def _is_time_to_send(self) -> bool:
        batch = self._batch
        return (
            time.monotonic() - self._flushed_s >= _FLUSH_S or len(batch) >= _FLUSH_ROWS or batch.n_bytes >= _FLUSH_BYTES
        )

    def _fork_for(self, rows: Rows, start: int, stop: int) -> bool:
        """Run some rows of a chunk in a process of their own; tells whether the chunk goes on."""
        words = self._board.words
        words[Board.SENT] = _NOTHING_SENT
        self._handing.clear()
        began_s = time.monotonic()
        pid = fork()
        if not pid:
            words[Board.RUNNER] = os.getpid()
            self._is_fork, self._hands, self._forked, self._gave_back = True, True, False, False
            self._flushed_s = time.monotonic()
            self._run_rows(rows, start, stop)
            self._capture.flush()
            words[Board.RUNNER] = _HANDED if self._hands else _GAVE_BACK if self._gave_back else _DONE
            os._exit(0)
        status = wait_for(pid)
        end = words[Board.RUNNER]
        words[Board.RUNNER] = 0
        kill_orphans()
        handed: list[Any] = []
        if words[Board.SENT] == _NOTHING_SENT:
            handed = self._handing.take()
        else:
            self._batch.clear()  # the other has sent what was at hand as well
            self._handed_s, self._flushed_s = 0.0, time.monotonic()
        if status or end not in (_DONE, _GAVE_BACK, _HANDED):
            self._take_over(handed, self._board.clock[0] - began_s if handed else 0.0)
            self._tell_death(rows, start + len(handed), status)
            return False
        if end == _HANDED:
            self._place.removed, busy_s, imports_s = handed.pop()
            self._take_over(handed, busy_s)
            self._imports.note(imports_s)
        if stop - start > 1 or self._place.is_changed():
            self._place.renew()
        return end != _GAVE_BACK

    def _tell_death(self, rows: Rows, done: int, status: int) -> None:
        """Tell the parent how a process has ended that was forked for rows, of which some are finished.

        This process ends in the same way where the parent must see to files, or may have got half a message.
        """
        if self._board.words[Board.SENT] == _SENDING:
            end_like(status)
        if len(self._batch):
            self._flush(rows.chunk, done, rows.tries)
        if self._place.keeps != "never":
            end_like(status)
        death = {"chunk": rows.chunk, "status": status, "snapshot": astuple(self._board.snapshot())}
        self._board.words[_PHASE] = _IDLE
        self._connection.send(Message("died", death, [(self._capture.take() or "").encode()]))
        self._place.renew()

    def _hand_over(self) -> bool:
        """Leave the last outcome to the process that has forked this one, where it is plain; tells whether it is."""
        outcome = self._batch.last_plain()
        self._hands = outcome is not None and self._handing.add(outcome)
        return self._hands

    def _take_over(self, outcomes: list[Any], busy_s: float) -> None:
        """Take the outcomes of a process that was forked for them."""
        for took, values in outcomes:
            self._batch.add_plain(tuple(took), tuple(values) if isinstance(values, list) else values)
        self._handed_s = (self._handed_s or 0.0) + busy_s

    def _run_rows(self, chunk_rows: Rows, start: int, stop: int) -> None:
        """Run some rows of a chunk in this process."""
        chunk, rows, run_ids, tries = chunk_rows.chunk, chunk_rows.rows, chunk_rows.run_ids, chunk_rows.tries
        words, clock, batch = self._board.words, self._board.clock, self._batch
        capture, place, sort_index = self._capture, self._place, batch.attempts.sort_index
        prepare, run, take, add = self._leaf.prepare, self._leaf.run, capture.take, batch.add
        now, go_back = time.monotonic, place.go_back
        words[Board.CHUNK], specs = chunk, list[Any]()
        first = built = sent = start
        if not self._n_run:
            self._imports.start()
        for row in range(start, stop):
            if row == built:
                first, built = built, min(stop, built + min(_BUILD_ROWS, max(_BUILD_FIRST, built - start)))
                specs = self._preparation.specs_of(rows, first, built)
            spec = specs[row - first]
            clock[0] = begin_s = now()
            words[_ROW] = row
            words[_PHASE] = _RUNNING
            if isinstance(spec, BaseException):
                result = failure_from(spec)
            else:
                prepare(spec, run_ids[row])
                result = run(spec)
            if self._forked:
                # a process that the spec has forked, and that came back from its function
                os._exit(1 if isinstance(result, Failure) else 0)
            end_s = now()
            if words[_LATE_ROW] == row and words[_LATE_CHUNK] == chunk:
                # the signal for its stack may have cut short what it waited for
                result = failure_of_lateness(self._timeout_s)
            is_worn = isinstance(result, Failure) and result.state is State.CRASHED
            if is_worn and self._n_run:
                # earlier specs may have used up the memory: this one has another chance, in a process of its own
                words[_PHASE] = _IDLE
                take()
                self._flush(chunk, row, tries, back=True, worn=True)
                return
            if not self._n_run:
                self._imports.stop()
            self._n_run += 1
            is_worn = is_worn or self._n_run == self._quota
            # what fails here, because the spec has closed what is not its own, is to be its fault and no other's
            go_back()
            add(row, begin_s, end_s - begin_s, take(), result, peak_memory(end_s - begin_s))
            if capture.has_seen or place.watches_times:
                is_last = self._is_fork and row + 1 == stop
                place.settle(result, sort_index[row].as_py(), self._leaf, is_last=is_last)
            words[_PHASE] = _IDLE
            if self._hands and self._hand_over() and row + 1 == stop:
                break
            waits_s = _FAILURE_S if isinstance(result, Failure) else _FLUSH_S
            del result  # what is large in it is not needed twice while it is sent
            if is_worn or (words[_GIVE_BACK] and row + 1 < chunk_rows.n):
                self._flush(chunk, row + 1, tries, back=row + 1 < chunk_rows.n, worn=is_worn)
                return
            if end_s - self._flushed_s >= waits_s or row - sent >= _FLUSH_ROWS or batch.n_bytes >= _FLUSH_BYTES:
                self._flush(chunk, row + 1, tries)
                sent = row
        self._end_rows(chunk_rows, stop)

    def _end_rows(self, rows: Rows, stop: int) -> None:
        """Say how long rows took whose outcomes were handed over, or send them."""
        if self._hands:
            busy_s = time.monotonic() - self._flushed_s
            self._hands = self._handing.add((self._place.removed, busy_s, self._imports.take_s()))
        if len(self._batch) and not self._hands:
            self._flush(rows.chunk, stop, rows.tries)

    def _begin(self, chunk: int, table: pa.Table) -> Rows:
        """Prepare for the rows of a chunk."""
        started_s = self._flushed_s = time.monotonic()
        self._batch.clock_offset_s = time.time() - started_s
        rows = self._preparation.rows_of(chunk, table)
        self._batch.attempts = rows.attempts
        self._leaf.begin(rows.rows)
        return rows

    def _flush(self, chunk: int, done: int, tries: list[int], *, back: bool = False, worn: bool = False) -> None:
        """Send the outcomes at hand.

        Args:
            chunk: The chunk that they are of.
            done: How many of its rows are finished.
            tries: By row of the chunk, how many more attempts there may be.
            back: Whether the rows that are not finished are given back.
            worn: Whether this process has so little memory left that it gives back all that it gets from now on.
        """
        self._is_worn = worn
        self._gave_back = back
        n = len(self._batch)
        if not n:
            self._send(chunk, done, [], n=0, back=back, worn=worn)
            return
        n_modules, began_s = len(sys.modules), time.monotonic()
        outcomes = self._batch.finish(tries)
        if len(sys.modules) != n_modules:
            # Arrow loads pandas for values that are not plain: rows are not slow for that
            self._imports.note(time.monotonic() - began_s)
        files, blobs = pack(outcomes.tables, self._scratch)
        failed, again = outcomes.failed, outcomes.again
        self._send(chunk, done, blobs, files, n=n, back=back, worn=worn, failed=failed, again=again)
        self._flushed_s = time.monotonic()
        self._batch.clock_offset_s = time.time() - self._flushed_s
        if self._handed_s is not None:
            self._handed_s = 0.0

    def _send(
        self,
        chunk: int,
        done: int,
        blobs: list[memoryview],
        files: Sequence[str] = (),
        *,
        n: int,
        back: bool,
        worn: bool = False,
        failed: Sequence[int] = (),
        again: Sequence[int] = (),
    ) -> None:
        busy_s, imports_s = self._handed_s or 0.0, self._imports.take_s()
        if self._handed_s is None or self._is_fork:
            busy_s += time.monotonic() - self._flushed_s
        words = self._board.words
        fields = {
            "chunk": chunk,
            "done": done,
            "files": files,
            "n": n,
            "failed": failed,
            "again": again,
            "busy_s": max(0.0, busy_s - imports_s),
            "imports_s": imports_s,
            "back": back,
            "worn": worn,
            "removed": self._place.removed,
        }
        self._hands = False
        words[Board.SENT] = _SENDING
        self._connection.send(Message("done", fields, blobs))
        words[Board.SENT] = _SENT
