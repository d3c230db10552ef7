"""The rows that wait: in the order in which they are to be run, or in one that fills the machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.errors import EngineError
from scythe_cli.executor.protocol import ATTEMPT, TRIES_REMAINING
from scythe_cli.model.needs import Needs

__all__ = ["Backlog", "Kind", "Room", "SortedBacklog"]


_LOOKED_AT = 100_000

Kind = tuple[int, ...]
"""What a row takes, in the order of `Needs.names`: rows that take the same are of one kind."""


class Room:
    """What there is of a machine, and what of it is in use.

    Args:
        needs: What rows take.
        capacity: What there is, in the order of `Needs.names`.
    """

    def __init__(self, needs: Needs, capacity: Sequence[int]) -> None:
        self._needs = needs
        self._capacity = tuple(capacity)
        self._free = list(capacity)

    @property
    def is_full(self) -> bool:
        """Whether no core is free."""
        return self._free[0] <= 0

    def kinds(self, rows: pa.RecordBatch) -> Iterator[tuple[Kind, pa.RecordBatch]]:
        """Rows by what they take, in their order.

        Raises:
            EngineError: If one takes more than there is.
        """
        taken = self._needs.of_rows(rows)
        if not len(taken):
            return
        different, which = np.unique(taken, axis=0, return_inverse=True)
        for position, values in enumerate(different.tolist()):
            kind: Kind = tuple(values)
            if any(need > there for need, there in zip(kind, self._capacity, strict=True)):
                raise EngineError(
                    f"a case takes more than this machine has: {self._shown(kind)}, of {self._shown(self._capacity)}",
                    hint="--workers says how many cores are used; `tokens` in experiments.toml, how many there are.",
                )
            if len(different) == 1:
                yield kind, rows
            else:
                yield kind, rows.take(numbers(np.flatnonzero(which.ravel() == position), pa.int64()))

    def _shown(self, values: Sequence[int]) -> str:
        return ", ".join(f"{name} {value}" for name, value in zip(self._needs.names(), values, strict=True))

    def largest_that_fits(self, kinds: Iterable[Kind]) -> Kind | None:
        """The kind that takes most of what there is, among those that there is room for; None where there is none."""
        fitting = [kind for kind in kinds if all(need <= free for need, free in zip(kind, self._free, strict=True))]
        return max(fitting, key=self._share, default=None)

    def _share(self, kind: Kind) -> tuple[float, Kind]:
        return sum(need / there for need, there in zip(kind, self._capacity, strict=True) if there), kind

    def take(self, rows: pa.RecordBatch) -> None:
        """Take note that rows of one kind are run, one after the other."""
        self._change(rows, -1)

    def leave(self, rows: pa.RecordBatch) -> None:
        """Take note that they are not run any more."""
        self._change(rows, 1)

    def _change(self, rows: pa.RecordBatch, sign: int) -> None:
        for position, need in enumerate(self._needs.of_rows(rows.slice(0, 1))[0].tolist()):
            self._free[position] += sign * need


@dataclass(slots=True)
class _Piece:
    rows: pa.RecordBatch
    alone: bool  # each row is run in a chunk of its own
    survived: bool = False  # all were run before a later row ended their process, which took their outcomes along


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
                self.append(self._numbered(batch))
        return self._n >= n

    def can_give(self) -> bool:
        """Whether a row waits that may be run now."""
        return self.holds(1)

    def append(self, rows: pa.RecordBatch) -> None:
        """Put rows to the end that have attempt numbers."""
        self._pieces.append(_Piece(rows, alone=False))
        self._n += rows.num_rows

    def take(self, n: int) -> pa.RecordBatch:
        """Take at most `n` rows from the front; there must be one.

        Rows that are known to do no harm come without others, so that nothing takes their outcomes along once more.
        """
        taken: list[pa.RecordBatch] = []
        missing, survived = n, False
        while missing and self._pieces:
            piece = self._pieces[0]
            if taken and (piece.alone or piece.survived != survived):
                break
            survived = piece.survived
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

    def put_back(self, rows: pa.RecordBatch, *, alone: bool = False, survived: bool = False) -> None:
        """Put rows to the front that are not finished; see `Span`."""
        if rows.num_rows:
            self._pieces.appendleft(_Piece(rows, alone, survived))
            self._n += rows.num_rows

    def put_again(self, rows: pa.RecordBatch, *, alone: bool = False) -> None:
        """Put rows to the front that are to be attempted once more: what goes on failing shows at once."""
        import pyarrow.compute as pc  # on use: most runs retry nothing

        attempt = pc.add(rows.column(ATTEMPT), 1)
        remaining = pc.subtract(rows.column(TRIES_REMAINING), 1)
        rows = _with_column(_with_column(rows, ATTEMPT, attempt), TRIES_REMAINING, remaining)
        self.put_back(rows, alone=alone)

    def _numbered(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        n = batch.num_rows
        if batch.schema.get_field_index(ATTEMPT) < 0:
            batch = _with_column(batch, ATTEMPT, pa.repeat(1, n))
        return _with_column(batch, TRIES_REMAINING, pa.repeat(self._retries, n))


class SortedBacklog(Backlog):
    """Rows that take different parts of the machine: the largest first, as far as there is room.

    Small ones that start first would leave room for no large one until the end, when only large ones are left.

    Args:
        source: See `Backlog`.
        retries: See `Backlog`.
        room: What there is of the machine.
    """

    def __init__(self, source: Iterable[pa.RecordBatch], retries: int, room: Room) -> None:
        super().__init__(source, retries)
        self._room = room
        self._kinds: dict[Kind, Backlog] = {}

    def append(self, rows: pa.RecordBatch) -> None:
        """See `Backlog`."""
        for kind, some in self._room.kinds(rows):
            self._of_kind(kind).append(some)
        self._n += rows.num_rows

    def put_back(self, rows: pa.RecordBatch, *, alone: bool = False, survived: bool = False) -> None:
        """See `Backlog`."""
        for kind, some in self._room.kinds(rows):
            self._of_kind(kind).put_back(some, alone=alone, survived=survived)
        self._n += rows.num_rows

    def _of_kind(self, kind: Kind) -> Backlog:
        return self._kinds.setdefault(kind, Backlog([], self._retries))

    def can_give(self) -> bool:
        """See `Backlog`; looks further into the source where there is room for nothing that waits."""
        while self._next_kind() is None:
            if self._room.is_full or self._n >= _LOOKED_AT or not self.holds(self._n + 1):
                return False
        return True

    def _next_kind(self) -> Kind | None:
        waiting = [kind for kind, rows in self._kinds.items() if rows.holds(1)]
        return self._room.largest_that_fits(waiting)

    def take(self, n: int) -> pa.RecordBatch:
        """See `Backlog`; rows of one kind."""
        kind = self._next_kind()
        assert kind is not None
        rows = self._kinds[kind].take(n)
        self._n -= rows.num_rows
        return rows


def _with_column(batch: pa.RecordBatch, name: str, values: pa.Array[Any]) -> pa.RecordBatch:
    columns = {f.name: column for f, column in zip(batch.schema, batch.columns, strict=True)}
    position = batch.schema.get_field_index(name)
    field = pa.field(name, pa.int32())
    schema = batch.schema.append(field) if position < 0 else batch.schema.set(position, field)
    columns[name] = values.cast(pa.int32())
    return pa.RecordBatch.from_arrays([columns[f.name] for f in schema], schema=schema)
