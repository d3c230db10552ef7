"""The seeds of rows: one for each, from the run's seed, what the row says, and which repetition of that it is.

Neither the place of a row counts, nor what runs it or how often. Rows that say the same are repetitions of one another,
counted in their order; the count is made once for all rows of a run, and stored with them where there is a repetition.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.content import row_contents
from scythe_cli.arrow.mapped import mapped_numbers

__all__ = ["CONTENT", "HIDDEN", "MAX_SEED", "REPETITION", "SEED", "RowSeeds", "repetitions", "row_seed"]


REPETITION = "__repetition__"
"""Column of rows, int32: how many rows before say the same; not there where no row says what another one does."""

CONTENT = "__content__"
"""Column of rows, text: what `row_contents` gives for the row, as hexadecimal digits; there where the cells at hand may
not be those that are stored."""

SEED = "__seed__"
"""Column of rows, text: their seeds in decimal digits, since JSON in a database need not keep 63 bits."""

HIDDEN = frozenset({REPETITION, CONTENT, SEED})
"""Columns of rows that are no input."""

MAX_SEED = 2**63 - 1

_AT_ONCE = 2_000_000


def row_seed(run_seed: int, content: int, repetition: int) -> int:
    """The seed of a row: 63 bits of the BLAKE2b of three little-endian integers of 64 bits.

    Args:
        run_seed: The seed of the run, 0 to `MAX_SEED`.
        content: What `row_contents` gives for the row.
        repetition: How many rows before it say the same.
    """
    packed = struct.pack("<QQQ", run_seed, content, repetition)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8, person=b"scythe-seed").digest(), "little") >> 1


def repetitions(rows: pa.Table, *, leave_out: Iterable[str], artifacts: str) -> pa.Array[Any] | None:
    """How many rows before each say the same, int32; None where no two do.

    Args:
        rows: All rows of a run, in their order.
        leave_out: See `row_contents`.
        artifacts: See `row_contents`.
    """
    n = rows.num_rows
    if n <= _AT_ONCE:
        counts = _repetitions_of(row_contents(rows, leave_out=leave_out, artifacts=artifacts))
        return None if counts is None else numbers(counts, pa.int32())
    contents = mapped_numbers(n, np.uint64)
    for start in range(0, n, _AT_ONCE):
        some = rows.slice(start, _AT_ONCE)
        contents[start : start + _AT_ONCE] = row_contents(some, leave_out=leave_out, artifacts=artifacts)
    return _repetitions_of_many(contents)


def _repetitions_of(contents: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """How many before each are the same; None where no two are."""
    import polars as pl

    if pl.Series(contents).n_unique() == len(contents):
        return None
    order = np.argsort(contents, kind="stable")
    alike = contents[order]
    places = np.arange(len(order), dtype=np.int32)
    is_first = np.concatenate([[True], alike[1:] != alike[:-1]])
    counts = np.empty(len(order), np.int32)
    counts[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return counts


def _repetitions_of_many(contents: np.ndarray[Any, Any]) -> pa.Array[Any] | None:
    """The same, of contents that are looked at by their first bits, a part of them at a time."""
    bits = (len(contents) // _AT_ONCE).bit_length()
    counts: np.ndarray[Any, Any] | None = None
    for part in range(1 << bits):
        pieces: list[Any] = []
        for start in range(0, len(contents), _AT_ONCE):
            firsts = contents[start : start + _AT_ONCE] >> np.uint64(64 - bits)
            pieces.append(np.flatnonzero(firsts == np.uint64(part)) + start)
        rows = np.concatenate(pieces)
        some = _repetitions_of(np.asarray(contents[rows]))
        if some is not None:
            counts = mapped_numbers(len(contents), np.int32) if counts is None else counts
            counts[rows] = some
    return None if counts is None else numbers(counts, pa.int32())


class RowSeeds:
    """The seeds of some rows of a run, made when the first is asked for.

    Args:
        rows: The rows as `specs.pq` has them, or with a column `CONTENT`.
        run_seed: The seed of the run.
        leave_out: Names of columns that say nothing of a row beside `HIDDEN`, `sort_index` among them.
        artifacts: See `row_contents`.
    """

    def __init__(
        self, rows: pa.Table | pa.RecordBatch, run_seed: int, *, leave_out: Iterable[str], artifacts: str
    ) -> None:
        self._rows = rows
        self._run_seed = run_seed
        self._leave_out = leave_out
        self._artifacts = artifacts
        self._known: dict[int, tuple[int, int]] | None = None

    def of(self, sort_index: int) -> int:
        """The seed of a row.

        Raises:
            LookupError: If it is none of these rows.
        """
        if self._known is None:
            self._known = self._find()
        return row_seed(self._run_seed, *self._known[sort_index])

    def _find(self) -> dict[int, tuple[int, int]]:
        """Content and repetition, by `sort_index`."""
        rows = self._rows
        n = rows.num_rows
        names = rows.schema.names
        contents: list[int]
        if CONTENT in names:
            contents = [int(str(text), 16) for text in rows.column(CONTENT).to_pylist()]
        else:
            leave_out = {*self._leave_out, *HIDDEN}
            contents = row_contents(rows, leave_out=leave_out, artifacts=self._artifacts).tolist()
        counts: list[Any] = rows.column(REPETITION).to_pylist() if REPETITION in names else [0] * n
        indices: list[Any] = rows.column("sort_index").to_pylist()
        return dict(zip(indices, zip(contents, counts, strict=True), strict=True))

    def __deepcopy__(self, memo: object) -> RowSeeds:
        return self  # it does not change, and holds many rows
