"""The process that runs specs: `python -m scythe_cli.executor.child SOCKET BOARD LIFELINE` (inherited descriptors)."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import functools
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.arrow.build import array_of
from scythe_cli.core.states import State
from scythe_cli.errors import EntrypointError, ScytheError
from scythe_cli.executor.attribution import failure_of_lateness
from scythe_cli.executor.limits import limit_own_memory
from scythe_cli.executor.protocol import (
    ATTEMPT,
    DUMP_SIGNAL,
    EXIT_BAD_DESCRIPTOR,
    TRIES_REMAINING,
    Board,
    Connection,
    Message,
    Phase,
    from_ipc,
    to_ipc,
)
from scythe_cli.executor.rows.call import Leaf, RunContext
from scythe_cli.executor.rows.capture import Capture, log_line
from scythe_cli.executor.rows.failure import Failure, failure_from
from scythe_cli.executor.rows.outcomes import Attempts, OutcomeBatch
from scythe_cli.executor.rows.randomness import SharedGenerators
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.function_loading import enter_worker, load_target
from scythe_cli.model.function_ref import ExperimentTarget
from scythe_cli.model.spec_rows import spec_factory, workflow_run_id, workflow_run_ids

__all__ = ["main"]


_FLUSH_S = 0.25
_FLUSH_ROWS = 10_000
_FLUSH_BYTES = 8_000_000
_BUILD_ROWS = 64


def main(arguments: list[str]) -> int:
    """Run specs until the parent has no more."""
    socket_fd, board_fd, lifeline_fd = (int(argument) for argument in arguments)
    for fd in (socket_fd, board_fd, lifeline_fd):
        os.set_inheritable(fd, False)
    _hold_lifeline(lifeline_fd)
    output_fd = os.dup(1)
    faulthandler.enable(output_fd, all_threads=False)
    faulthandler.register(DUMP_SIGNAL, output_fd, all_threads=False)
    connection = Connection(socket.socket(fileno=socket_fd))
    board = Board(board_fd)
    os.close(board_fd)
    capture = Capture(output_fd)
    enter_worker()
    start = connection.receive()
    if start is None:
        return 0
    target, context = (bytes(blob) for blob in start.blobs)
    generators = SharedGenerators(RunContext.from_bytes(context).seed)
    generators.install()
    try:
        experiment = load_target(ExperimentTarget.from_bytes(target))
    except EntrypointError as error:
        connection.send(Message("broken", {"message": error.message, "hint": error.hint}))
        return 1
    except ScytheError as error:
        connection.send(Message("broken", {"message": str(error), "hint": None}))
        return 1
    capture.install_logging()
    capture.take()
    if start.fields["memory_limit_bytes"] is not None:
        limit_own_memory(start.fields["memory_limit_bytes"])
    # what is loaded stays loaded: the collector need not look at it again and again
    gc.collect()
    gc.freeze()
    server = _Server(
        connection,
        board,
        capture,
        experiment,
        RunContext.from_bytes(context),
        Path(start.fields["scratch"]),
        start.fields["execution_timeout_s"],
        generators,
    )
    connection.send(Message("ready", {}))
    try:
        server.serve()
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except OSError as error:
        if error.errno in (errno.EBADF, errno.ENOTSOCK):
            os._exit(EXIT_BAD_DESCRIPTOR)
        raise
    return 0


def _hold_lifeline(fd: int) -> None:
    """End this process and all that it started when the parent ends, however that happens."""
    parent = os.getppid()
    if sys.platform == "linux":
        import fcntl

        # the kernel itself sends the signal, even when a spec never lets another thread of Python run
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)

    def watch() -> None:
        import select

        while os.getppid() == parent:
            # a process that the parent forked may keep the other end open, hence the timeout
            if select.select([fd], [], [], 10.0)[0]:
                break
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="scythe-lifeline", daemon=True).start()


class _Server:
    """Runs the rows that the parent sends, and sends back outcomes."""

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
    ) -> None:
        self._connection = connection
        self._board = board
        self._capture = capture
        self._context = context
        self._model = experiment.input_validator_type
        self._leaf = Leaf(experiment, context, scratch=scratch, log_sink=log_line, generators=generators)
        self._batch = OutcomeBatch(experiment.output_validator_type, context.worker)
        self._schema: pa.Schema | None = None
        self._build: Any = None
        self._forked = False
        self._moved = False
        self._home = os.open(".", os.O_RDONLY)
        self._flushed_s = 0.0
        self._timeout_s = execution_timeout_s
        self._n_run = 0
        self._is_worn = False
        os.register_at_fork(after_in_child=self._note_fork)
        os.chdir = self._noting_moves(os.chdir)
        os.fchdir = self._noting_moves(os.fchdir)

    def _note_fork(self) -> None:
        self._forked = True

    def _noting_moves(self, change: Callable[..., None]) -> Callable[..., None]:
        """Take note when a spec changes the working directory: the next one starts from where the first did."""

        @functools.wraps(change)
        def noting(*arguments: Any, **options: Any) -> None:
            self._moved = True
            change(*arguments, **options)

        return noting

    def serve(self) -> None:
        """Run rows until the parent closes its end."""
        while (message := self._connection.receive()) is not None:
            if message.kind == "rows":
                self._run(message.fields["chunk"], from_ipc(message.blobs[0]))

    def _run(self, chunk: int, table: pa.Table) -> None:
        """Run the rows of one chunk."""
        if self._board.give_back or self._is_worn:
            self._send(chunk, 0, [], n=0, back=True)
            return
        rows, run_ids, retryable = self._begin(table)
        n = rows.num_rows
        words, clock, batch = self._board.words, self._board.clock, self._batch
        prepare, run, take, add, now = self._leaf.prepare, self._leaf.run, self._capture.take, batch.add, time.monotonic
        idle, running = int(Phase.IDLE), int(Phase.RUNNING)
        words[Board.CHUNK] = chunk
        row_word, phase_word, back_word = Board.ROW, Board.PHASE, Board.GIVE_BACK
        late_row_word, late_chunk_word = Board.LATE_ROW, Board.LATE_CHUNK
        specs: list[Any] = []
        first = built = sent = 0
        for row in range(n):
            if row == built:
                first = built
                built = min(n, first + _BUILD_ROWS)
                specs = self._build_specs(rows, first, built)
            spec = specs[row - first]
            run_id = run_ids[row]
            clock[0] = begin_s = now()
            words[row_word] = row
            words[phase_word] = running
            if isinstance(spec, BaseException):
                result = failure_from(spec)
            else:
                prepare(spec, run_id)
                result = run(spec)
            if self._forked:
                # a process that the spec has forked, and that came back from its function
                os._exit(1 if isinstance(result, Failure) else 0)
            end_s = now()
            if words[late_row_word] == row and words[late_chunk_word] == chunk:
                # the signal for its stack may have cut short what it waited for
                result = failure_of_lateness(self._timeout_s)
            is_worn = isinstance(result, Failure) and result.state is State.CRASHED
            if is_worn and self._n_run:
                # earlier specs may have used up the memory: this one has another chance, in a process of its own
                words[phase_word] = idle
                take()
                self._flush(chunk, row, retryable, back=True, worn=True)
                return
            self._n_run += 1
            # what fails here, because the spec has closed what is not its own, is to be its fault and no other's
            if self._moved:
                os.fchdir(self._home)
                self._moved = False
            add(row, begin_s, end_s - begin_s, take(), result)
            words[phase_word] = idle
            if is_worn or (words[back_word] and row + 1 < n):
                self._flush(chunk, row + 1, retryable, back=row + 1 < n, worn=is_worn)
                return
            if end_s - self._flushed_s >= _FLUSH_S or row - sent >= _FLUSH_ROWS or batch.n_bytes >= _FLUSH_BYTES:
                self._flush(chunk, row + 1, retryable)
                sent = row
        if len(batch):
            self._flush(chunk, n, retryable)

    def _begin(self, table: pa.Table) -> tuple[pa.RecordBatch, list[Any], list[bool]]:
        """Prepare for the rows of a chunk: the specs' own columns, their ids, and whether each is tried again."""
        started_s = self._flushed_s = time.monotonic()
        self._batch.clock_offset_s = time.time() - started_s
        tries: list[Any] = table.column(TRIES_REMAINING).to_pylist()
        attempts = self._batch.attempts = self._attempts_of(table)
        rows = table.drop_columns([ATTEMPT, TRIES_REMAINING]).combine_chunks().to_batches()[0]
        self._choose_factory(rows.schema)
        self._leaf.begin(rows)
        return rows, attempts.workflow_run_id.to_pylist(), [n_tries > 0 for n_tries in tries]

    def _attempts_of(self, table: pa.Table) -> Attempts:
        sort_index, attempt, own_ids = (
            table.column(name).combine_chunks() for name in ("sort_index", ATTEMPT, "workflow_run_id")
        )
        root = self._context.root_workflow_run_id
        if own_ids.null_count == len(own_ids):
            run_ids = workflow_run_ids(root, sort_index)
        else:
            indices: list[Any] = sort_index.to_pylist()
            pairs = zip(own_ids.to_pylist(), indices, strict=True)
            run_ids = array_of([own or workflow_run_id(root, index) for own, index in pairs], pa.string())
        return Attempts(sort_index, attempt, run_ids)

    def _choose_factory(self, schema: pa.Schema) -> None:
        if self._schema is None or not self._schema.equals(schema):
            self._schema = schema
            self._build = spec_factory(self._model, schema)

    def _build_specs(self, rows: pa.RecordBatch, first: int, end: int) -> list[Any]:
        """Make the specs of some rows; a row that the model refuses becomes the error."""
        board = self._board
        board.clock[0] = time.monotonic()
        board.words[Board.ROW], board.words[Board.END] = first, end
        board.words[Board.PHASE] = Phase.BUILDING
        try:
            specs: list[Any] = self._build(rows.slice(first, end - first))
        except BaseException as error:  # noqa: BLE001 - validators are the user's code
            if end - first == 1:
                specs = [error]
            else:
                specs = [spec for row in range(first, end) for spec in self._build_specs(rows, row, row + 1)]
        board.words[Board.PHASE] = Phase.IDLE
        return specs

    def _flush(self, chunk: int, done: int, retryable: list[bool], *, back: bool = False, worn: bool = False) -> None:
        """Send the outcomes at hand.

        Args:
            chunk: The chunk that they are of.
            done: How many of its rows are finished.
            retryable: By row of the chunk, whether it is run again when it did not succeed.
            back: Whether the rows that are not finished are given back.
            worn: Whether this process has so little memory left that it gives back all that it gets from now on.
        """
        self._is_worn = worn
        n = len(self._batch)
        if not n:
            self._send(chunk, done, [], n=0, back=back, worn=worn)
            return
        outcomes = self._batch.finish(retryable)
        blobs = [to_ipc(table) for table in outcomes.tables]
        self._send(chunk, done, blobs, n=n, back=back, worn=worn, failed=outcomes.failed)
        self._flushed_s = time.monotonic()
        self._batch.clock_offset_s = time.time() - self._flushed_s

    def _send(
        self,
        chunk: int,
        done: int,
        blobs: list[memoryview],
        *,
        n: int,
        back: bool,
        worn: bool = False,
        failed: Sequence[int] = (),
    ) -> None:
        busy_s = time.monotonic() - self._flushed_s
        fields = {"chunk": chunk, "done": done, "n": n, "failed": failed, "busy_s": busy_s, "back": back, "worn": worn}
        self._connection.send(Message("done", fields, blobs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
