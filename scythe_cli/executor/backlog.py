"""Rows that wait to be run: pulled from their source as they are needed, and put back when no child got to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

__all__ = ["ATTEMPT", "TRIES_LEFT", "Backlog", "Pace"]


ATTEMPT = "__attempt__"
"""Column: the number of the attempt that is to be made."""

TRIES_LEFT = "__tries_left__"
"""Column: how many more attempts there may be after it."""

_TARGET_S = 0.5
_MAX_ROWS = 20_000
_GROWTH = 4


@dataclass(slots=True)
class _Piece:
    rows: pa.RecordBatch
    alone: bool  # each row is run in a chunk of its own


class Backlog:
    """Rows in the order in which they are to be run.

    Args:
        source: Batches of rows; an attempt number is added where there is none.
        retries: How often a row is run again.
    """

    def __init__(self, source: Iterable[pa.RecordBatch], retries: int) -> None:
        self._source: Iterator[pa.RecordBatch] | None = iter(source)
        self._retries = retries
        self._pieces: deque[_Piece] = deque()
        self._n = 0

    def remaining(self) -> int | None:
        """The number of rows; None when the source may have more."""
        return None if self._source is not None else self._n

    def holds(self, n: int) -> bool:
        """Whether there are `n` rows at least; asks the source as far as necessary."""
        while self._n < n and self._source is not None:
            batch = next(self._source, None)
            if batch is None:
                self._source = None
            elif batch.num_rows:
                self._pieces.append(_Piece(self._numbered(batch), alone=False))
                self._n += batch.num_rows
        return self._n >= n

    def take(self, n: int) -> pa.RecordBatch:
        """Take at most `n` rows from the front; there must be one."""
        taken: list[pa.RecordBatch] = []
        missing = n
        while missing and self._pieces:
            piece = self._pieces[0]
            if piece.alone and taken:
                break
            rows = piece.rows.slice(0, 1 if piece.alone else missing)
            if rows.num_rows == piece.rows.num_rows:
                self._pieces.popleft()
            else:
                piece.rows = piece.rows.slice(rows.num_rows)
            taken.append(rows)
            missing -= rows.num_rows
            if piece.alone:
                break
        batch = taken[0] if len(taken) == 1 else pa.Table.from_batches(taken).combine_chunks().to_batches()[0]
        self._n -= batch.num_rows
        return batch

    def put_back(self, rows: pa.RecordBatch, *, alone: bool = False) -> None:
        """Put rows to the front that no child has begun."""
        if rows.num_rows:
            self._pieces.appendleft(_Piece(rows, alone))
            self._n += rows.num_rows

    def put_again(self, rows: pa.RecordBatch, *, alone: bool = False) -> None:
        """Put rows to the end that are to be attempted once more."""
        import pyarrow.compute as pc  # on use: children import this module too

        attempt = pc.add(rows.column(ATTEMPT), pa.scalar(1, pa.int32()))
        left = pc.subtract(rows.column(TRIES_LEFT), pa.scalar(1, pa.int32()))
        rows = _with_column(_with_column(rows, ATTEMPT, attempt), TRIES_LEFT, left)
        self._pieces.append(_Piece(rows, alone))
        self._n += rows.num_rows

    def _numbered(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        n = batch.num_rows
        if batch.schema.get_field_index(ATTEMPT) < 0:
            batch = _with_column(batch, ATTEMPT, pa.repeat(pa.scalar(1, pa.int32()), n))
        return _with_column(batch, TRIES_LEFT, pa.repeat(pa.scalar(self._retries, pa.int32()), n))


def _with_column(batch: pa.RecordBatch, name: str, values: pa.Array[Any]) -> pa.RecordBatch:
    columns = {f.name: column for f, column in zip(batch.schema, batch.columns, strict=True)}
    position = batch.schema.get_field_index(name)
    field = pa.field(name, pa.int32())
    schema = batch.schema.append(field) if position < 0 else batch.schema.set(position, field)
    columns[name] = values.cast(pa.int32())
    return pa.RecordBatch.from_arrays([columns[f.name] for f in schema], schema=schema)


@dataclass(slots=True)
class Pace:
    """How many rows a chunk should have: few enough to be done soon, enough that the handling of chunks costs little.

    Attributes:
        row_s: The time that a row takes, lately; None before the first.
        largest: The largest chunk so far.
    """

    row_s: float | None = None
    largest: int = 1

    def record(self, n_rows: int, busy_s: float) -> None:
        """Learn from rows that have been run."""
        row_s = busy_s / n_rows
        # slower counts at once: a chunk that takes too long does more harm than one too many
        self.row_s = row_s if self.row_s is None or row_s > self.row_s else max(row_s, self.row_s / 2)

    def rows(self, remaining: int | None, workers: int) -> int:
        """The size of the next chunk."""
        if self.row_s is None:
            return 1
        n = min(self.largest * _GROWTH, int(_TARGET_S / max(self.row_s, 1e-7)), _MAX_ROWS)
        if remaining is not None:
            # at the end, no child keeps rows that another could run
            n = min(n, -(-remaining // (2 * workers)))
        n = max(n, 1)
        self.largest = max(self.largest, n)
        return n

    @property
    def is_fast(self) -> bool:
        """Whether a child should have its next chunk before it asks: not where rows take longer than a message."""
        return self.row_s is not None and self.row_s < 0.02
