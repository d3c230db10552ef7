"""Pieces of a file, validated by several processes at once where that is worth their start.

This process begins by itself, and sees how long rows take. When what is left would take seconds, it starts others and
goes on while they start. They load the experiment as the processes do that run its specs, get cells, and give back
values and problems, so that what is said, and in which order, does not depend on which process validated what. What one
of them had that cannot start, or dies, is validated here.

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.errors import ScytheError
from scythe_cli.executor.ipc import from_ipc, to_ipc
from scythe_cli.executor.protocol import Channel, Message
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.reference import ExperimentTarget, target_of
from scythe_cli.sampling.file_columns import RawFile, columns_of_source
from scythe_cli.sampling.file_validator import FileValidator, Piece, ValidationResult
from scythe_cli.sampling.problems import Problems

__all__ = ["file_facts", "validate_shared"]


logger = logging.getLogger(__name__)

_FIRST_ROWS = 200
_PIECE_S = 0.05
_MAX_ROWS = 20_000
_AHEAD = 4  # pieces that a helper has, so that it need not wait for the next


def validate_shared(
    validator: FileValidator,
    position: int | None,
    experiment: RegisteredExperiment[Any, Any],
    root: Path | None,
    *,
    n_helpers: int,
    worth_s: float,
) -> Iterator[ValidationResult]:
    """Validate all rows of a file, or all cells of a field.

    Args:
        validator: The file.
        position: The position of the field among the model's; None for whole rows.
        experiment: The experiment whose input model validates.
        root: The project's folder, from which its module is imported.
        n_helpers: How many processes may be started.
        worth_s: One is started for so many seconds of work.

    Yields:
        Results, in the order of the file.
    """

    def target() -> ExperimentTarget:
        return target_of(experiment, root=root)

    with _Shared(validator, position, target, n_helpers, worth_s) as shared:
        yield from shared.validate_all()


class _Shared:
    """The pieces of one file, and the processes that validate them."""

    def __init__(
        self,
        validator: FileValidator,
        position: int | None,
        target: Callable[[], ExperimentTarget],
        n_helpers: int,
        worth_s: float,
    ) -> None:
        self._validator = validator
        self._position = position
        self._target = target
        self._n_helpers = n_helpers
        self._worth_s = worth_s
        self._helpers: list[_Helper] | None = None  # None: it has not been asked yet whether they are worth it
        self._selector = selectors.DefaultSelector()
        self._results: dict[int, tuple[Piece, ValidationResult]] = {}  # by first row
        self._returned: deque[Piece] = deque()
        self._at = 0
        self._busy_s = 0.0
        self._n_rows = 0

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers or ():
            helper.close()
        self._selector.close()

    def validate_all(self) -> Iterator[ValidationResult]:
        """Validate all pieces."""
        first = 0
        while first < self._validator.raw.n_rows:
            piece = self._next()
            if piece is not None:
                began_s = time.perf_counter()
                self._results[piece.start] = piece, self._validator.validate_piece(piece)
                self._busy_s += time.perf_counter() - began_s
                self._n_rows += piece.stop - piece.start
                if self._helpers is None and self._is_worth_it():
                    self._helpers = list(self._started())
            self._exchange(None if piece is None else 0.0)
            while first in self._results:
                piece, result = self._results.pop(first)
                first = piece.stop
                yield result

    def _next(self) -> Piece | None:
        """The next piece that nobody has; None where there is none."""
        if self._returned:
            return self._returned.popleft()
        if self._at >= self._validator.raw.n_rows:
            return None
        rows = _FIRST_ROWS
        if self._busy_s > 0:
            rows = max(_FIRST_ROWS, min(int(_PIECE_S * self._n_rows / self._busy_s), _MAX_ROWS, self._n_rows))
        piece = Piece(self._at, min(self._at + rows, self._validator.raw.n_rows), self._position)
        self._at = piece.stop
        return piece

    def _is_worth_it(self) -> bool:
        """Whether to start others, as far as can be told by now: first rows take longer, and tell little."""
        return self._busy_s >= min(_PIECE_S, self._worth_s) and self._remaining_s() > self._worth_s

    def _remaining_s(self) -> float:
        """How long this process alone would take for what nobody has."""
        return self._busy_s / self._n_rows * (self._validator.raw.n_rows - self._at)

    def _started(self) -> Iterator[_Helper]:
        n = min(self._n_helpers, int(self._remaining_s() / max(self._worth_s, 1e-9)) or 1)
        try:
            target = self._target()
            for _ in range(n):
                helper = _Helper(target, file_facts(self._validator.raw))
                self._selector.register(helper.channel, selectors.EVENT_READ, helper)
                yield helper
        except (ScytheError, OSError) as error:
            logger.debug("rows are validated by this process alone: %s", error)

    def _exchange(self, timeout_s: float | None) -> None:
        """Take results, and hand out pieces."""
        if not self._selector.get_map():
            return
        for key, _ in self._selector.select(timeout_s):
            helper: _Helper = key.data
            for message in helper.channel.receive():
                self._take(helper, message)
            if helper.channel.at_end:
                self._selector.unregister(helper.channel)
                self._returned += helper.pieces
                helper.pieces.clear()
        for key in list(self._selector.get_map().values()):
            helper = key.data
            while helper.is_ready and len(helper.pieces) < _AHEAD and (piece := self._next()) is not None:
                helper.send(piece, _cells_of(self._validator, piece))
            helper.channel.flush()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if helper.channel.wants_write else 0)
            if key.events != events:
                self._selector.modify(helper.channel, events, helper)

    def _take(self, helper: _Helper, message: Message) -> None:
        if message.kind == "ready":
            helper.is_ready = True
        elif message.kind == "broken":
            logger.debug("a process that was to validate rows cannot: %s", message.fields["message"])
        elif message.kind == "result":
            piece = helper.pieces.popleft()
            problems = Problems()
            problems.take(Problems.from_plain(message.fields["problems"]), self._validator.raw.row_label, piece.start)
            arrays: list[Any] = [column.chunk(0) for column in from_ipc(message.blobs[0]).columns]
            self._results[piece.start] = piece, ValidationResult(arrays, problems)


class _Helper:
    """One process that validates, as the one that asks it holds it."""

    def __init__(self, target: ExperimentTarget, facts: dict[str, Any]) -> None:
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
        self.channel.send(Message("start", facts, [target.to_bytes()]))

    def send(self, piece: Piece, cells: pa.Table) -> None:
        """Send a piece."""
        self.pieces.append(piece)
        fields = {"n_rows": piece.stop - piece.start, "position": piece.position}
        self.channel.send(Message("piece", fields, [to_ipc(cells)]))

    def close(self) -> None:
        """End the process: it has nothing any more that is wanted."""
        self.channel.close()
        self._process.kill()
        self._process.wait()


def file_facts(raw: RawFile) -> dict[str, Any]:
    """What another process has to know of a file to validate cells of it."""
    return {
        "path": str(raw.path),
        "base": raw.base,
        "is_text": raw.is_text,
        "decimal_comma": raw.decimal_comma,
        "as_json": sorted(raw.as_json),
    }


def _cells_of(validator: FileValidator, piece: Piece) -> pa.Table:
    """The columns of a piece, by the names that they have in the file."""
    root, raw = validator.root, validator.raw
    source = root if piece.position is None else root.parts[validator.columns[piece.position].name]
    parts = {each.column for each in columns_of_source(source)}
    # the parts of a struct have dotted names, and the file has only its name
    heads = {".".join(part.split(".")[:n]) for part in parts for n in range(1, part.count(".") + 2)}
    wanted = [i for i, name in enumerate(raw.names) if name in parts or name in heads]
    table = pa.Table.from_arrays([raw.columns[i] for i in wanted], names=[raw.names[i] for i in wanted])
    return table.slice(piece.start, piece.stop - piece.start).combine_chunks()
