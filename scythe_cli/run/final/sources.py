"""The parts of a ledger, read one after the other: of each, the columns that final tables are made of.

They are read in the order of their first specs, whatever order they were written in. Parts that are small are read
together, and one with large dataframes by its row groups; the next are read while the caller is busy with those before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.unify import (
    always_fits,
    cast_table,
    common_type,
    convert_column,
    mixtures,
    stack_tables,
    unify_types,
)
from scythe_cli.core.states import State
from scythe_cli.errors import StorageError, first_line
from scythe_cli.model.outcome_schema import FEATURE, FILE, FRAME, OUTCOME_SCHEMA, SCALAR
from scythe_cli.run.ledger import POLARS_ERRORS, PartFile, check_parts, read_part

__all__ = ["KEYS", "ORDINAL", "Columns", "Rows", "Source", "read_ahead", "sources_of"]


KEYS = ("sort_index", "state", "attempt", "final")
"""The columns of the ledger that tell which outcome of a spec counts."""

ORDINAL = "__ordinal__"
"""The column that numbers the outcomes of a ledger, in the order of its parts; int64."""

_ID = "workflow_run_id"
_ERRORS = {
    ORDINAL: pl.Int64,
    "state": pl.String,
    "error_type": pl.String,
    "message": pl.String,
    "traceback": pl.String,
    "duration_s": pl.Float64,
}
_STATE = pl.Enum([state.value for state in State])
_GROUP_ROWS = 250_000
_GROUP_PARTS = 2_000
_MAX_AHEAD_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Columns:
    """What is read of each part, under one type for all.

    Attributes:
        plain: The columns of states, outputs and features.
        frames: The columns of user dataframes.
        notices: What is to be said of columns that have no such type but text.
    """

    plain: pa.Schema
    frames: pa.Schema
    notices: tuple[str, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[PartFile]) -> Columns:
        """The columns that any of the parts has, each under a type that holds the values of all.

        Raises:
            StorageError: If a part is damaged.
        """
        keys = [OUTCOME_SCHEMA.field(name) for name in (*KEYS, _ID)]
        schemas = [part.schema for part in parts]
        outputs = unify_types(schemas, lambda name: name.startswith((SCALAR, FILE, FEATURE)))
        frames = unify_types(schemas, lambda name: name.startswith(FRAME))
        types = {f.name: f.type for f in (*outputs, *frames)}
        notices = _mixtures(schemas, types)
        for name, type_ in _with_their_values(parts, types).items():
            if not type_.equals(types[name]):
                pair: list[Any] = [types[name], type_]
                inner = [t.value_type if name.startswith(FRAME) else t for t in pair]
                notices += mixtures(inner, _label(name))
                types[name] = type_
        return cls(
            pa.schema([*keys, *(f.with_type(types[f.name]) for f in outputs)]),
            pa.schema([f.with_type(types[f.name]) for f in frames]),
            tuple(notices),
        )


def _label(name: str) -> str:
    """How a column of the ledger is called where users read of it."""
    return name.partition(":")[2]


def _mixtures(schemas: Sequence[pa.Schema], types: Mapping[str, pa.DataType]) -> list[str]:
    """What is to be said of the types that columns have in different parts."""
    notices: list[str] = []
    for name in types:
        own: list[Any] = []
        for schema in schemas:
            position = schema.get_field_index(name)
            if position >= 0 and schema.field(position).type not in own:
                own.append(schema.field(position).type)
        if len(own) > 1:
            inner = [type_.value_type if name.startswith(FRAME) else type_ for type_ in own]
            notices += mixtures(inner, _label(name))
    return notices


def _with_their_values(parts: Sequence[PartFile], types: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The types, with text where a value does not fit; only where types alone do not tell, values are read."""
    types = dict(types)
    for part in parts:
        names = [f.name for f in part.schema if f.name in types and not always_fits(f.type, types[f.name])]
        for row_group in range(len(part.row_groups)) if names and part.row_groups else [None] if names else []:
            table = read_part(part, names, row_group=row_group)
            for name in names:
                types[name] = common_type(types[name], convert_column(table.column(name), types[name]).type)
    return types


@dataclass(frozen=True, slots=True)
class Rows:
    """Outcomes as they were read; `ORDINAL` tells their order in the ledger.

    `errors` are those of `plain` that are no success, joined by their ordinal; `frames` has the same rows as `plain`.
    """

    plain: pl.DataFrame
    errors: pl.DataFrame
    frames: pa.Table | None

    @classmethod
    def empty(cls, columns: Columns) -> Rows:
        """No rows, with the columns that all have."""
        plain = cast("pl.DataFrame", pl.from_arrow(columns.plain.empty_table()))
        plain = plain.with_columns(pl.col("state").cast(_STATE), pl.lit(0, pl.Int64).alias(ORDINAL)).clear()
        return cls(plain, pl.DataFrame(schema=_ERRORS), columns.frames.empty_table() if len(columns.frames) else None)

    @classmethod
    def stacked(cls, pieces: Sequence[Rows]) -> Rows:
        """The rows of some pieces, at least one, as one."""
        if len(pieces) == 1:
            return pieces[0]
        frames = [piece.frames for piece in pieces if piece.frames is not None]
        return cls(
            pl.concat([piece.plain for piece in pieces], rechunk=True),
            pl.concat([piece.errors for piece in pieces]),
            stack_tables(frames) if frames else None,
        )

    @property
    def n_bytes(self) -> int:
        """Their size in memory."""
        return int(self.plain.estimated_size() + self.errors.estimated_size()) + (
            self.frames.nbytes if self.frames else 0
        )

    def take(self, positions: pl.Series | None, errors: pl.DataFrame) -> Rows:
        """The rows at some positions, all where that is None, with these errors."""
        if positions is None:
            return Rows(self.plain, errors, self.frames)
        frames = self.frames
        if frames is not None:
            frames = frames.take(numbers(positions.to_numpy().astype(np.int64), pa.int64()))
        return Rows(self.plain[positions], errors, frames)

    def slice(self, start: int, n: int) -> Rows:
        """`n` rows from `start` on, with the errors of all."""
        return Rows(
            self.plain.slice(start, n), self.errors, None if self.frames is None else self.frames.slice(start, n)
        )


@dataclass(slots=True)
class Source:
    """What is read at once: neighbouring parts of the same columns, or a row group of one with large dataframes.

    Attributes:
        parts: The parts.
        ordinals: The number that the first outcome of each has in the ledger.
        n_rows: The number of outcomes.
        first: The lowest `sort_index`.
        row_group: The number of the row group of the only part; None for whole parts.
    """

    parts: list[PartFile]
    ordinals: list[int]
    n_rows: int
    first: int
    row_group: int | None = None

    @property
    def numbers(self) -> pl.Series:
        """`ORDINAL` of each outcome."""
        if self.row_group is not None:
            return pl.int_range(self.ordinals[0], self.ordinals[0] + self.n_rows, dtype=pl.Int64, eager=True)
        of_parts = zip(self.ordinals, self.parts, strict=True)
        return pl.Series(np.concatenate([np.arange(first, first + part.n_rows) for first, part in of_parts]))

    @property
    def schema(self) -> pa.Schema:
        """The columns of each of the parts."""
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


def sources_of(parts: Sequence[PartFile]) -> list[Source]:
    """How to read the parts of a ledger, those with the first specs first."""
    sources: list[Source] = []
    ordinals = np.cumsum([0, *(part.n_rows for part in parts)]).tolist()
    for part, ordinal in sorted(zip(parts, ordinals, strict=False), key=lambda each: each[0].first):
        if part.has_frames and len(part.row_groups) > 1:
            at = ordinal
            for number, group in enumerate(part.row_groups):
                sources.append(Source([part], [at], group.n_rows, group.first, number))
                at += group.n_rows
        elif sources and sources[-1].takes(part):
            last = sources[-1]
            last.parts.append(part)
            last.ordinals.append(ordinal)
            last.n_rows += part.n_rows
            last.first = min(last.first, part.first)
        else:
            sources.append(Source([part], [ordinal], part.n_rows, part.first))
    return sources


def read_ahead(sources: Sequence[Source], columns: Columns) -> Iterator[Rows]:
    """Read one source after the other; the next one while the caller is busy, unless it holds large dataframes."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="scythe-gather") as pool:
        ahead: Future[Rows] | None = None
        for position, source in enumerate(sources):
            rows = _read(source, columns) if ahead is None else ahead.result()
            ahead = None
            if position + 1 < len(sources) and sources[position + 1].frame_bytes <= _MAX_AHEAD_BYTES:
                ahead = pool.submit(_read, sources[position + 1], columns)
            yield rows
            del rows


def _read(source: Source, columns: Columns) -> Rows:
    if not source.row_group:  # with the first of a part, all of it is checked
        check_parts(source.parts)
    names = [name for name in columns.plain.names if source.schema.get_field_index(name) >= 0]
    types = [source.schema.field(name).type for name in names]
    plain = _scan(source, names)
    if [columns.plain.field(name).type for name in names] != types or names != columns.plain.names:
        table = plain.to_arrow(compat_level=pl.CompatLevel.oldest())
        table = cast_table(cast_table(table, pa.schema(list(zip(names, types, strict=True)))), columns.plain)
        plain = cast("pl.DataFrame", pl.from_arrow(table))
    plain = plain.with_columns(
        pl.col("state").cast(_STATE, strict=False),
        source.numbers.alias(ORDINAL),
    )
    errors = _read_errors(source, plain)
    frames = None
    if len(columns.frames):
        part = source.parts[0]
        if part.has_frames:
            present = [name for name in columns.frames.names if source.schema.get_field_index(name) >= 0]
            frames = read_part(part, present, checked=True, row_group=source.row_group)
        else:
            frames = pa.table({"": pa.nulls(plain.height)})
        frames = cast_table(frames, columns.frames)
        if source.frame_bytes > _MAX_AHEAD_BYTES:
            pa.default_memory_pool().release_unused()  # what the pages were decoded from
    return Rows(plain, errors, frames)


def _read_errors(source: Source, plain: pl.DataFrame) -> pl.DataFrame:
    succeeded = plain["state"].eq_missing(State.SUCCEEDED.value)
    if succeeded.all():
        return pl.DataFrame(schema=_ERRORS)
    return _scan(source, list(_ERRORS)[1:]).with_columns(plain[ORDINAL]).filter(~succeeded).select(*_ERRORS)


def _scan(source: Source, names: Sequence[str]) -> pl.DataFrame:
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
