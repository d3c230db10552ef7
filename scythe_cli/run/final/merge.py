"""The outcomes of a ledger by ranges of `sort_index`: each part is read once, in whatever order they were written.

Rows are put to their ranges as parts are read, and a range is done as soon as no part that is still to be read has
rows of it. That is at once where parts were written in order, as by one machine; where they were not, rows wait, and
what waits beyond a limit goes to temporary files, while the next parts are read. So memory depends neither on the
number of specs nor on their order.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.unify import cast_table, unify_types
from scythe_cli.core.states import State
from scythe_cli.errors import StorageError, first_line
from scythe_cli.model.outcome_schema import (
    FEATURE,
    FILE,
    FRAME,
    OUTCOME_SCHEMA,
    SCALAR,
)
from scythe_cli.run.ledger import (
    POLARS_ERRORS,
    PartFile,
    check_parts,
    damaged_part,
    effective_outcomes,
    read_part,
)

__all__ = ["Range", "ranges_of"]


_KEYS = ("sort_index", "state", "attempt", "final")
_ID = "workflow_run_id"
_ORDINAL = "__ordinal__"
_ERRORS = {
    _ORDINAL: pl.Int64,
    "state": pl.String,
    "error_type": pl.String,
    "message": pl.String,
    "traceback": pl.String,
    "duration_s": pl.Float64,
}
_STATE = pl.Enum([state.value for state in State])
_GROUP_ROWS = 250_000
_GROUP_PARTS = 2_000
_MAX_WAITING_BYTES = 128_000_000
_MAX_AHEAD_BYTES = 16_000_000


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


@dataclass(frozen=True, slots=True)
class _Columns:
    """What is read of each part, under one type for all."""

    plain: pa.Schema
    frames: pa.Schema

    @classmethod
    def of(cls, parts: Sequence[PartFile]) -> _Columns:
        keys = [OUTCOME_SCHEMA.field(name) for name in (*_KEYS, _ID)]
        outputs = unify_types((part.schema for part in parts), lambda name: name.startswith((SCALAR, FILE, FEATURE)))
        frames = unify_types((part.schema for part in parts), lambda name: name.startswith(FRAME))
        return cls(pa.schema([*keys, *outputs]), pa.schema(frames))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Outcomes as they were read, in the order of the parts.

    `errors` are those of `plain` that are no success, joined by their ordinal; `frames` has the same rows as `plain`.
    """

    plain: pl.DataFrame
    errors: pl.DataFrame
    frames: pa.Table | None

    @property
    def n_bytes(self) -> int:
        return int(self.plain.estimated_size() + self.errors.estimated_size()) + (
            self.frames.nbytes if self.frames else 0
        )

    def take(self, positions: pl.Series | None, errors: pl.DataFrame) -> _Rows:
        if positions is None:
            return _Rows(self.plain, errors, self.frames)
        frames = self.frames
        if frames is not None:
            frames = frames.take(numbers(positions.to_numpy().astype(np.int64), pa.int64()))
        return _Rows(self.plain[positions], errors, frames)

    def slice(self, start: int, n: int) -> _Rows:
        return _Rows(
            self.plain.slice(start, n), self.errors, None if self.frames is None else self.frames.slice(start, n)
        )


def ranges_of(parts: Sequence[PartFile], n_specs: int, size: int, scratch: Path) -> Generator[Range]:
    """Read a ledger.

    Args:
        parts: Its parts, by name.
        n_specs: The number of specs; outcomes of others are passed over.
        size: The number of specs in a range.
        scratch: A folder for temporary files.

    Returns:
        All ranges in order; one without any spec where there are no specs. To be closed before the folder goes.

    Raises:
        StorageError: If a part is damaged.
    """
    columns = _Columns.of(parts)
    starts = range(0, max(n_specs, 1), size)
    done = 0
    sources = _sources(parts)
    # the first spec that any source after this one has outcomes of
    pending = [n_specs] * len(sources)
    for position in range(len(sources) - 1, 0, -1):
        pending[position - 1] = min(pending[position], sources[position].first)
    with _Store(columns, scratch) as store:
        for source, rows, first_pending in zip(sources, _read_ahead(sources, columns), pending, strict=True):
            for number, piece in _split(rows, size, n_specs):
                if number < done:
                    raise damaged_part(source.parts[0], ValueError("it has other specs than it says"))
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


@dataclass(slots=True)
class _Source:
    """What is read at once: neighbouring parts of the same columns, or a row group of one with large dataframes.

    Attributes:
        parts: The parts.
        n_rows: The number of outcomes.
        first: The lowest `sort_index`.
        row_group: The number of the row group of the only part; None for whole parts.
    """

    parts: list[PartFile]
    n_rows: int
    first: int
    row_group: int | None = None

    @property
    def schema(self) -> pa.Schema:
        return self.parts[0].schema

    @property
    def frame_bytes(self) -> int:
        """The size of dataframes in memory, about."""
        part = self.parts[0]
        return part.frame_bytes * self.n_rows // max(part.n_rows, 1)

    def takes(self, part: PartFile) -> bool:
        """Whether a part can be read with one call together with these."""
        return (
            not part.has_frames
            and not self.parts[0].has_frames
            and self.n_rows + part.n_rows <= _GROUP_ROWS
            and len(self.parts) < _GROUP_PARTS
            and (self.schema is part.schema or self.schema.equals(part.schema))
        )


def _sources(parts: Sequence[PartFile]) -> list[_Source]:
    sources: list[_Source] = []
    for part in parts:
        if part.has_frames and len(part.row_groups) > 1:
            sources += [
                _Source([part], group.n_rows, group.first, number) for number, group in enumerate(part.row_groups)
            ]
        elif sources and sources[-1].takes(part):
            last = sources[-1]
            last.parts.append(part)
            last.n_rows += part.n_rows
            last.first = min(last.first, part.first)
        else:
            sources.append(_Source([part], part.n_rows, part.first))
    return sources


def _read_ahead(sources: Sequence[_Source], columns: _Columns) -> Iterator[_Rows]:
    """Read one source after the other; the next one while the caller is busy, unless it holds large dataframes."""
    ordinals = np.cumsum([0, *(source.n_rows for source in sources)]).tolist()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="scythe-gather") as pool:
        ahead: Future[_Rows] | None = None
        for position, source in enumerate(sources):
            rows = _read(source, columns, ordinals[position]) if ahead is None else ahead.result()
            ahead = None
            if position + 1 < len(sources) and sources[position + 1].frame_bytes <= _MAX_AHEAD_BYTES:
                ahead = pool.submit(_read, sources[position + 1], columns, ordinals[position + 1])
            yield rows
            del rows


def _read(source: _Source, columns: _Columns, ordinal: int) -> _Rows:
    if not source.row_group:  # with the first of a part, all of it is checked
        check_parts(source.parts)
    names = [name for name in columns.plain.names if source.schema.get_field_index(name) >= 0]
    given = [source.schema.field(name).type for name in names]
    plain = _scan(source, names)
    if [columns.plain.field(name).type for name in names] != given or names != columns.plain.names:
        table = plain.to_arrow(compat_level=pl.CompatLevel.oldest())
        table = cast_table(cast_table(table, pa.schema(list(zip(names, given, strict=True)))), columns.plain)
        plain = cast("pl.DataFrame", pl.from_arrow(table))
    plain = plain.with_columns(
        pl.col("state").cast(_STATE, strict=False),
        pl.int_range(ordinal, ordinal + plain.height, dtype=pl.Int64, eager=True).alias(_ORDINAL),
    )
    errors = _read_errors(source, plain)
    frames = None
    if len(columns.frames):
        part = source.parts[0]
        if part.has_frames:
            found = [name for name in columns.frames.names if source.schema.get_field_index(name) >= 0]
            frames = read_part(part, found, checked=True, row_group=source.row_group)
        else:
            frames = pa.table({"": pa.nulls(plain.height)})
        frames = cast_table(frames, columns.frames)
    return _Rows(plain, errors, frames)


def _read_errors(source: _Source, plain: pl.DataFrame) -> pl.DataFrame:
    succeeded = plain["state"].eq_missing(State.SUCCEEDED.value)
    if succeeded.all():
        return pl.DataFrame(schema=_ERRORS)
    return _scan(source, list(_ERRORS)[1:]).with_columns(plain[_ORDINAL]).filter(~succeeded).select(*_ERRORS)


def _scan(source: _Source, names: Sequence[str]) -> pl.DataFrame:
    """Read plain columns; the bytes of the parts have been checked."""
    if source.row_group is not None:
        table: Any = pl.from_arrow(read_part(source.parts[0], names, checked=True, row_group=source.row_group))
        return cast("pl.DataFrame", table).rechunk()
    try:
        scan = pl.scan_parquet([part.path for part in source.parts], glob=False, hive_partitioning=False)
        return scan.select(names).collect().rechunk()
    except (*POLARS_ERRORS, OSError) as error:
        for part in source.parts:
            read_part(part, names)  # names the one that cannot be read
        raise StorageError(f"the ledger cannot be read: {first_line(error)}") from error


def _split(rows: _Rows, size: int, n_specs: int) -> Iterator[tuple[int, _Rows]]:
    """The rows of each range, in their order."""
    index = rows.plain["sort_index"].to_numpy()
    inside = (index >= 0) & (index < n_specs)
    positions: pl.Series | None = None
    numbers = index // size
    if not inside.all():
        positions = pl.Series(np.flatnonzero(inside))
        numbers = numbers[inside]
    if len(numbers) == 0:
        return
    if (np.diff(numbers) < 0).any():
        order = np.argsort(numbers, kind="stable")
        positions = pl.Series(order) if positions is None else positions[order]
        numbers = numbers[order]
    sorted_rows = rows.take(positions, rows.errors)
    bounds = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        piece = sorted_rows.slice(start, stop - start)
        errors = rows.errors
        if errors.height:
            errors = errors.join(piece.plain.select(_ORDINAL), on=_ORDINAL, how="semi")
        yield int(numbers[start]), _Rows(piece.plain, errors, piece.frames)


@dataclass(slots=True)
class _Store:
    """Rows that wait for their range to be complete."""

    columns: _Columns
    scratch: Path
    _waiting: dict[int, list[_Rows]] = field(default_factory=dict[int, list[_Rows]])
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

    def add(self, number: int, rows: _Rows) -> None:
        self._waiting.setdefault(number, []).append(rows)
        self._bytes += rows.n_bytes

    def limit(self) -> None:
        """Have what waits written to files when it is too much; only the time before is waited for."""
        if self._bytes <= _MAX_WAITING_BYTES:
            return
        self._finish_writing()
        named: list[tuple[int, list[_Rows]]] = []
        for number, pieces in self._waiting.items():
            named.append((next(self._names), pieces))
            self._spilled.setdefault(number, []).append(named[-1][0])
        self._waiting, self._bytes = {}, 0
        self._writing = self._pool.submit(self._write, named)

    def _write(self, named: Sequence[tuple[int, list[_Rows]]]) -> None:
        for name, pieces in named:
            rows = _stack(pieces)
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
            return _settle(_nothing(self.columns), start, stop)
        return _settle(_stack(pieces), start, stop)

    def _bring(self, name: int) -> _Rows:
        plain, errors = (pl.read_ipc(self.scratch / f"{name}.{what}") for what in ("plain", "errors"))
        frames = None
        path = self.scratch / f"{name}.frames"
        if path.exists():
            with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
                frames = reader.read_all()
        for what in ("plain", "errors", "frames"):
            (self.scratch / f"{name}.{what}").unlink(missing_ok=True)
        return _Rows(plain, errors, frames)


def _nothing(columns: _Columns) -> _Rows:
    plain = cast("pl.DataFrame", pl.from_arrow(columns.plain.empty_table()))
    plain = plain.with_columns(pl.col("state").cast(_STATE), pl.lit(0, pl.Int64).alias(_ORDINAL)).clear()
    return _Rows(plain, pl.DataFrame(schema=_ERRORS), columns.frames.empty_table() if len(columns.frames) else None)


def _stack(pieces: Sequence[_Rows]) -> _Rows:
    if len(pieces) == 1:
        return pieces[0]
    frames = [piece.frames for piece in pieces if piece.frames is not None]
    return _Rows(
        pl.concat([piece.plain for piece in pieces], rechunk=True),
        pl.concat([piece.errors for piece in pieces]),
        pa.concat_tables(frames) if frames else None,
    )


def _settle(rows: _Rows, start: int, stop: int) -> Range:
    plain = rows.plain
    order = _order_of_single(plain, start, stop)
    if order is None:
        effective = effective_outcomes(plain.select(*_KEYS).with_row_index("row"))
        order = effective["row"].to_numpy()
    succeeded = plain["state"].eq_missing(State.SUCCEEDED.value).to_numpy()[order]
    positions = order[succeeded]
    is_sorted = len(positions) == plain.height and bool((positions[1:] > positions[:-1]).all())
    good = rows.take(None if is_sorted else pl.Series(positions), rows.errors)
    if len(positions) == len(order):
        bad = rows.errors.clear().with_columns(plain["sort_index"].clear(), plain["attempt"].clear())
    else:
        bad = plain.select("sort_index", "attempt", _ORDINAL)[pl.Series(order[~succeeded])]
        bad = bad.join(rows.errors, on=_ORDINAL, how="left", maintain_order="left")
    return Range(start, stop, good.plain.drop("state", "attempt", "final", _ORDINAL), good.frames, bad.drop(_ORDINAL))


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
