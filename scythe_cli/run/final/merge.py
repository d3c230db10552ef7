"""The outcomes of a ledger by ranges of `sort_index`: each part is read once, in whatever order they were written.

Parts are read in the order of their first specs. Rows are put to their ranges, and a range is done as soon as no part
that is still to be read has rows of it. That is at once where each command has written its parts in order, as one
machine does, also when it was resumed; where parts span many ranges, rows wait, and what waits beyond a limit goes to
temporary files, while the next parts are read. So memory depends neither on the
number of specs nor on their order.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.core.states import State
from scythe_cli.run.final.sources import KEYS, ORDINAL, Columns, Rows, Source, read_ahead, sources_of
from scythe_cli.run.ledger import PartFile, damaged_part
from scythe_cli.run.outcomes.domain import impossible_row
from scythe_cli.run.outcomes.effective import effective_outcomes

__all__ = ["Range", "ranges_of"]


_MAX_WAITING_BYTES = 128_000_000


@dataclass(frozen=True, slots=True)
class Range:
    """The outcomes that count of the specs `start` … `stop − 1`.

    Attributes:
        start: The first spec.
        stop: The spec after the last.
        good: Of those that succeeded, by `sort_index`: that, `workflow_run_id`, and the columns of outputs and
            features, under their names in the ledger.
        frames: The columns of user dataframes of the same rows; None where no part of the ledger has any.
        bad: Of those that did not succeed, by `sort_index`: that, `state`, `attempt`, `error_type`, `message`,
            `traceback` and `duration_s`.
    """

    start: int
    stop: int
    good: pl.DataFrame
    frames: pa.Table | None
    bad: pl.DataFrame


def ranges_of(parts: Sequence[PartFile], columns: Columns, n_specs: int, size: int, scratch: Path) -> Generator[Range]:
    """Read a ledger.

    Args:
        parts: Its parts, by name.
        columns: Their columns.
        n_specs: The number of specs.
        size: The number of specs in a range.
        scratch: A folder for temporary files.

    Returns:
        All ranges in order; one without any spec where there are no specs. To be closed before the folder goes.

    Raises:
        StorageError: If a part is damaged.
    """
    starts = range(0, max(n_specs, 1), size)
    done = 0
    sources = sources_of(parts)
    # the first spec that any source after this one has outcomes of
    pending = [n_specs] * len(sources)
    for position in range(len(sources) - 1, 0, -1):
        pending[position - 1] = min(pending[position], sources[position].first)
    with _Store(columns, scratch) as store:
        for source, rows, first_pending in zip(sources, read_ahead(sources, columns), pending, strict=True):
            _check_domain(source, rows, n_specs)
            for number, piece in _split(rows, size):
                if number < done:
                    raise damaged_part(source.parts[0], ValueError("its cases are not those in its name"))
                store.add(number, piece)
                del piece
            del rows
            while done < len(starts) and min(starts[done] + size, n_specs) <= first_pending:
                yield store.settle(done, starts[done], min(starts[done] + size, n_specs))
                done += 1
            store.limit()
        if not sources:
            for number, start in enumerate(starts):
                yield store.settle(number, start, min(start + size, n_specs))


def _check_domain(source: Source, rows: Rows, n_specs: int) -> None:
    """Refuse a part with outcomes that no spec of the run can have, as whoever counts them does."""
    row = impossible_row(rows.plain, n_specs)
    if row is None:
        return
    for part in source.parts:
        if row < part.n_rows:
            raise damaged_part(part, ValueError("it holds outcomes that cannot belong to a case of this run"))
        row -= part.n_rows


def _split(rows: Rows, size: int) -> Iterator[tuple[int, Rows]]:
    """The rows of each range, in their order."""
    positions: pl.Series | None = None
    numbers = rows.plain["sort_index"].to_numpy() // size
    if len(numbers) == 0:
        return
    if (np.diff(numbers) < 0).any():
        order = np.argsort(numbers, kind="stable")
        positions, numbers = pl.Series(order), numbers[order]
    sorted_rows = rows.take(positions, rows.errors)
    bounds = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        piece = sorted_rows.slice(start, stop - start)
        errors = rows.errors
        if errors.height:
            errors = errors.join(piece.plain.select(ORDINAL), on=ORDINAL, how="semi")
        yield int(numbers[start]), Rows(piece.plain, errors, piece.frames)


@dataclass(slots=True)
class _Store:
    """Rows that wait for their range to be complete."""

    columns: Columns
    scratch: Path
    _waiting: dict[int, list[Rows]] = field(default_factory=dict[int, list[Rows]])
    _spilled: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    _bytes: int = 0
    _names: Iterator[int] = field(default_factory=count)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="scythe-spill")
    )
    _writing: Future[None] | None = None

    def __enter__(self) -> _Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def add(self, number: int, rows: Rows) -> None:
        self._waiting.setdefault(number, []).append(rows)
        self._bytes += rows.n_bytes

    def limit(self) -> None:
        """Have what waits written to files when it is too much; only the time before is waited for."""
        if self._bytes <= _MAX_WAITING_BYTES:
            return
        self._finish_writing()
        named: list[tuple[int, list[Rows]]] = []
        for number, pieces in self._waiting.items():
            named.append((next(self._names), pieces))
            self._spilled.setdefault(number, []).append(named[-1][0])
        self._waiting, self._bytes = {}, 0
        self._writing = self._pool.submit(self._write, named)

    def _write(self, named: Sequence[tuple[int, list[Rows]]]) -> None:
        for name, pieces in named:
            rows = Rows.stacked(pieces)
            rows.plain.write_ipc(self.scratch / f"{name}.plain")
            rows.errors.write_ipc(self.scratch / f"{name}.errors")
            if rows.frames is not None:
                path, schema = str(self.scratch / f"{name}.frames"), rows.frames.schema
                with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
                    writer.write_table(rows.frames)

    def _finish_writing(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def settle(self, number: int, start: int, stop: int) -> Range:
        """Choose what counts among the outcomes of a range."""
        if number in self._spilled:
            self._finish_writing()
        pieces = [self._bring(name) for name in self._spilled.pop(number, [])]
        waiting = self._waiting.pop(number, [])
        self._bytes -= sum(rows.n_bytes for rows in waiting)
        pieces += waiting
        if not pieces:
            return _settle(Rows.empty(self.columns), start, stop)
        return _settle(Rows.stacked(pieces), start, stop)

    def _bring(self, name: int) -> Rows:
        plain, errors = (pl.read_ipc(self.scratch / f"{name}.{what}") for what in ("plain", "errors"))
        frames = None
        path = self.scratch / f"{name}.frames"
        if path.exists():
            with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
                frames = reader.read_all()
        for what in ("plain", "errors", "frames"):
            (self.scratch / f"{name}.{what}").unlink(missing_ok=True)
        return Rows(plain, errors, frames)


def _settle(rows: Rows, start: int, stop: int) -> Range:
    if not rows.plain[ORDINAL].is_sorted():  # of two outcomes that count as much, the first in the ledger does
        rows = rows.take(rows.plain[ORDINAL].arg_sort(), rows.errors)
    plain = rows.plain
    order = _order_of_single(plain, start, stop)
    if order is None:
        effective = effective_outcomes(plain.select(*KEYS).with_row_index("row"))
        order = effective["row"].to_numpy()
    succeeded = plain["state"].eq_missing(State.SUCCEEDED.value).to_numpy()[order]
    positions = order[succeeded]
    is_sorted = len(positions) == plain.height and bool((positions[1:] > positions[:-1]).all())
    good = rows.take(None if is_sorted else pl.Series(positions), rows.errors)
    if len(positions) == len(order):
        bad = rows.errors.clear().with_columns(plain["sort_index"].clear(), plain["attempt"].clear())
    else:
        bad = plain.select("sort_index", "attempt", ORDINAL)[pl.Series(order[~succeeded])]
        bad = bad.join(rows.errors, on=ORDINAL, how="left", maintain_order="left")
    return Range(start, stop, good.plain.drop("state", "attempt", "final", ORDINAL), good.frames, bad.drop(ORDINAL))


def _order_of_single(plain: pl.DataFrame, start: int, stop: int) -> np.ndarray[Any, Any] | None:
    """The positions of rows by `sort_index`; None where a spec has more than one row, or one that is not final.

    There is a place for each spec of the range, so that nothing need be compared: unlike a sort, this takes no longer
    for each row where there are more.
    """
    if not plain["final"].all():
        return None
    places = np.full(stop - start, -1, np.int64)
    places[plain["sort_index"].to_numpy() - start] = np.arange(plain.height)
    order = places[places >= 0]
    return order if len(order) == plain.height else None
