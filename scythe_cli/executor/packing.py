"""Packing: which rows fit beside those that run, where rows take different parts of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.errors import EngineError
from scythe_cli.model.needs import Needs

__all__ = ["Kind", "Room"]


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
                yield kind, rows.take(numbers(np.flatnonzero(which.reshape(-1) == position), pa.int64()))

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
