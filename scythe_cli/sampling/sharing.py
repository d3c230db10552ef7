"""Pieces of a file, judged by several processes at once where that is worth their start.

This process begins by itself, and sees how long rows take. When what is left would take seconds, it starts others and
goes on while they start. They load the experiment as the processes do that run its specs, get cells, and give back
values and problems, so that what is said, and in which order, does not depend on who judged what. What one of them had
that cannot start, or dies, is judged here.

A validator that remembers what it saw sees only the rows of its own process, as it does where specs are run.
"""

from __future__ import annotations

import logging
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from scythe_cli.errors import ScytheError
from scythe_cli.executor.protocol import (
    Channel,
    Message,
    from_ipc,
    to_ipc,
)
from scythe_cli.model.function_ref import ExperimentTarget, target_of
from scythe_cli.sampling.pieces import (
    Check,
    Helpers,
    Piece,
    Verdict,
    cells_of,
)
from scythe_cli.sampling.problems import Problems

__all__ = ["judge_shared"]


logger = logging.getLogger(__name__)

_FIRST_ROWS = 200
_PIECE_S = 0.05
_MAX_ROWS = 20_000
_AHEAD = 4  # pieces that a helper has, so that it need not wait for the next


def judge_shared(check: Check, position: int | None, helpers: Helpers) -> Iterator[Verdict]:
    """Judge all rows of a file, or all cells of a field.

    Args:
        check: The file.
        position: The position of the field among the model's; None for whole rows.
        helpers: Who may help.

    Yields:
        Verdicts, in the order of the file.
    """
    with _Shared(check, position, helpers) as shared:
        yield from shared.judge_all()


class _Shared:
    """The pieces of one file, and the processes that judge them."""

    def __init__(self, check: Check, position: int | None, helpers: Helpers) -> None:
        self._check = check
        self._position = position
        self._most = helpers
        self._helpers: list[_Helper] | None = None  # None: it has not been asked yet whether they are worth it
        self._selector = selectors.DefaultSelector()
        self._verdicts: dict[int, tuple[Piece, Verdict]] = {}  # by first row
        self._given_back: deque[Piece] = deque()
        self._at = 0
        self._n_given = 0
        self._busy_s = 0.0
        self._n_rows = 0

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers or ():
            helper.close()
        self._selector.close()

    def judge_all(self) -> Iterator[Verdict]:
        """Judge all pieces."""
        first = 0
        while first < self._check.raw.n_rows:
            piece = self._next()
            if piece is not None:
                began_s = time.perf_counter()
                self._verdicts[piece.start] = piece, self._check.judge(piece)
                self._busy_s += time.perf_counter() - began_s
                self._n_rows += piece.stop - piece.start
                if self._helpers is None and self._is_worth_it():
                    self._helpers = list(self._started())
            self._talk(None if piece is None else 0.0)
            while first in self._verdicts:
                piece, verdict = self._verdicts.pop(first)
                first = piece.stop
                yield verdict

    def _next(self) -> Piece | None:
        """The next piece that nobody has; None where there is none."""
        if self._given_back:
            return self._given_back.popleft()
        if self._at >= self._check.raw.n_rows:
            return None
        rows = _FIRST_ROWS
        if self._busy_s > 0:
            rows = max(_FIRST_ROWS, min(int(_PIECE_S * self._n_rows / self._busy_s), _MAX_ROWS, self._n_rows))
        piece = Piece(self._at, min(self._at + rows, self._check.raw.n_rows), self._position)
        self._at = piece.stop
        return piece

    def _is_worth_it(self) -> bool:
        """Whether to start others, as far as can be told by now: first rows take longer, and tell little."""
        return self._busy_s >= min(_PIECE_S, self._most.worth_s) and self._left_s() > self._most.worth_s

    def _left_s(self) -> float:
        """How long this process alone would take for what nobody has."""
        return self._busy_s / self._n_rows * (self._check.raw.n_rows - self._at)

    def _started(self) -> Iterator[_Helper]:
        n = min(self._most.n, int(self._left_s() / max(self._most.worth_s, 1e-9)) or 1)
        try:
            target = target_of(self._most.experiment, root=self._most.root)
            for _ in range(n):
                helper = _Helper(target, str(self._check.raw.path.absolute()))
                self._selector.register(helper.channel, selectors.EVENT_READ, helper)
                yield helper
        except (ScytheError, OSError) as error:
            logger.debug("rows are judged by this process alone: %s", error)

    def _talk(self, timeout_s: float | None) -> None:
        """Take verdicts, and hand out pieces."""
        if not self._selector.get_map():
            return
        for key, _ in self._selector.select(timeout_s):
            helper: _Helper = key.data
            for message in helper.channel.receive():
                self._hear(helper, message)
            if helper.channel.at_end:
                self._selector.unregister(helper.channel)
                self._given_back += helper.pieces
                helper.pieces.clear()
        for key in list(self._selector.get_map().values()):
            helper = key.data
            while helper.is_ready and len(helper.pieces) < _AHEAD and (piece := self._next()) is not None:
                helper.give(piece, _cells_of(self._check, piece))
            helper.channel.flush()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if helper.channel.wants_write else 0)
            if key.events != events:
                self._selector.modify(helper.channel, events, helper)

    def _hear(self, helper: _Helper, message: Message) -> None:
        if message.kind == "ready":
            helper.is_ready = True
        elif message.kind == "broken":
            logger.debug("a process that was to judge rows cannot: %s", message.fields["message"])
        elif message.kind == "verdict":
            piece = helper.pieces.popleft()
            problems = Problems()
            problems.take(Problems.from_plain(message.fields["problems"]), self._check.raw.row_label, piece.start)
            arrays: list[Any] = [column.chunk(0) for column in from_ipc(message.blobs[0]).columns]
            self._verdicts[piece.start] = piece, Verdict(arrays, problems)


class _Helper:
    """One process that judges, as the one that asks it holds it."""

    def __init__(self, target: ExperimentTarget, path: str) -> None:
        self.pieces: deque[Piece] = deque()
        self.is_ready = False
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    # -P: as for the processes that run specs
                    [sys.executable, "-P", "-m", "scythe_cli.sampling.helper", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                    cwd=target.cwd,
                )
        except OSError:
            ours.close()
            raise
        self.channel = Channel(ours)
        self.channel.send(Message("start", {"path": path}, [target.to_bytes()]))

    def give(self, piece: Piece, cells: pa.Table) -> None:
        """Send a piece."""
        self.pieces.append(piece)
        fields = {"n_rows": piece.stop - piece.start, "position": piece.position}
        self.channel.send(Message("piece", fields, [to_ipc(cells)]))

    def close(self) -> None:
        """End the process: it has nothing any more that is wanted."""
        self.channel.close()
        self._process.kill()
        self._process.wait()


def _cells_of(check: Check, piece: Piece) -> pa.Table:
    """The columns of a piece, by the names that they have in the file."""
    source = check.root if piece.position is None else check.root.parts[check.columns[piece.position].name]
    parts = {cell.column for cell in cells_of(source)}
    # the parts of a struct have dotted names, and the file has only its name
    heads = {".".join(part.split(".")[:n]) for part in parts for n in range(1, part.count(".") + 2)}
    wanted = [i for i, name in enumerate(check.raw.names) if name in parts or name in heads]
    table = pa.Table.from_arrays([check.raw.columns[i] for i in wanted], names=[check.raw.names[i] for i in wanted])
    return table.slice(piece.start, piece.stop - piece.start).combine_chunks()
