"""What became of a spec, as columns: the names and types of those that the parts of a ledger have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from scythe_cli.arrow.unify import common_type

__all__ = [
    "CODE",
    "FEATURE",
    "FILE",
    "FRAME",
    "LEVELS_KEY",
    "MEMORY",
    "OUTCOME_SCHEMA",
    "REUSED_FROM",
    "SCALAR",
    "WARNINGS",
    "Categories",
    "FrameTraits",
    "measures_memory",
    "merged_fields",
    "united_traits",
    "with_code",
]


SCALAR = "out:"
"""Prefix of the columns that hold scalar outputs."""

FILE = "file:"
"""Prefix of the columns that hold the URIs of output files; string."""

FEATURE = "feature:"
"""Prefix of the columns that hold computed features; int64, double, bool or string."""

FRAME = "frame:"
"""Prefix of the columns that hold user dataframes: list of struct, one struct per row of the frame, fields in the
order of the frame's columns. The frame's own index levels come first and are named in the Arrow field's metadata
(`scythe:levels`, a JSON list)."""

LEVELS_KEY = b"scythe:levels"
"""Key in the metadata of a frame column's Arrow field: the names of the frame's own index levels, a JSON list."""

_LABELS_KEY = b"scythe:labels"
_SUBINDEX_KEY = b"scythe:subindex"
_CATEGORIES_KEY = b"scythe:categories"
_MAX_CATEGORIES = 1_000
_MAX_CATEGORY_CHARACTERS = 50_000

WARNINGS = FRAME + ":warnings"
"""The column of what could not be kept as it was: a list of structs of `field`, `what` and `why`, texts, for each
spec. No user dataframe can have its name; there is none where no spec has any."""

REUSED_FROM = ("reused:run", "reused:sort_index", "reused:attempt")
"""Further columns of the ledger, in outcomes that were taken over: from which run, spec and attempt."""

CODE = "code"
"""Further column of the ledger: the hash of the code that an outcome is of, where that is not the code of the run."""

MEMORY = "memory_bytes"
"""Further column of the ledger: the most memory that a spec has had, in bytes; int64, null if not measured."""

OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("sort_index", pa.int64(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),  # counts from 1, over all retries
        pa.field("final", pa.bool_(), nullable=False),  # false: the engine runs the spec again by itself
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("duration_s", pa.float64()),
        pa.field("worker", pa.string()),
        pa.field("workflow_run_id", pa.string()),
        pa.field("error_type", pa.string()),
        pa.field("message", pa.string()),
        pa.field("traceback", pa.string()),
        pa.field("log", pa.string()),  # what the spec printed and logged, its middle left out when it is long
    ]
)
"""The columns that every part of the ledger has."""


@dataclass(frozen=True, slots=True)
class Categories:
    """What a column of texts can hold, where the user's table says it.

    Attributes:
        values: The texts in their order; None for those that are there, as where there are very many.
        ordered: Whether one is more than another.
    """

    values: tuple[str, ...] | None
    ordered: bool = False

    @classmethod
    def of(cls, values: Iterable[str], ordered: bool) -> Categories:
        """The categories; of very many only that they are categories."""
        texts = tuple(values)
        few = len(texts) <= _MAX_CATEGORIES and sum(map(len, texts)) <= _MAX_CATEGORY_CHARACTERS
        return cls(texts if few else None, ordered and few)

    def united(self, other: Categories) -> Categories:
        """Those of both; ordered only where both have the same order."""
        if self == other:
            return self
        if self.values is None or other.values is None:
            return Categories(None)
        return Categories.of(dict.fromkeys((*self.values, *other.values)), False)


@dataclass(frozen=True, slots=True)
class FrameTraits:
    """What a user's dataframe is beyond its columns; in the metadata of its column's Arrow field.

    Attributes:
        levels: The names of its own index levels.
        labels: The part of pandas' metadata that tells the labels of columns; None where they are plain text.
        counts_rows: Whether its rows are counted in `sort_subindex`; not where its index is the spec's own without.
        categories: The columns that are categorical, with what they can hold.
    """

    levels: tuple[str, ...] = ()
    labels: str | None = None
    counts_rows: bool = True
    categories: Mapping[str, Categories] = field(default_factory=dict[str, Categories])

    @classmethod
    def of(cls, column: pa.Field[Any]) -> FrameTraits:
        """Read them from a frame's column."""
        metadata = column.metadata or {}
        labels = metadata.get(_LABELS_KEY)
        stored = json.loads(metadata.get(_CATEGORIES_KEY, b"{}"))
        return cls(
            tuple(json.loads(metadata.get(LEVELS_KEY, b"[]"))),
            None if labels is None else labels.decode(),
            metadata.get(_SUBINDEX_KEY) != b"none",
            {name: Categories(None if v is None else tuple(v), o) for name, (v, o) in stored.items()},
        )

    def put_on(self, column: pa.Field[Any]) -> pa.Field[Any]:
        """The frame's column with these."""
        metadata: Any = {LEVELS_KEY: json.dumps(list(self.levels)).encode()}
        if self.labels is not None:
            metadata[_LABELS_KEY] = self.labels.encode()
        if not self.counts_rows:
            metadata[_SUBINDEX_KEY] = b"none"
        if self.categories:
            stored = {name: [each.values, each.ordered] for name, each in self.categories.items()}
            metadata[_CATEGORIES_KEY] = json.dumps(stored).encode()
        return column.with_metadata(metadata)

    def united(self, columns: pa.StructType, other: FrameTraits, others: pa.StructType) -> FrameTraits:
        """Those of this frame and another, below each other; the columns of both tell which of them has a column."""
        categories: dict[str, Categories] = {}
        for name in dict.fromkeys((*self.categories, *other.categories)):
            a, b = self.categories.get(name), other.categories.get(name)
            if a is not None and b is not None:
                categories[name] = a.united(b)
            elif a is not None and _lacks(others, name):
                categories[name] = a
            elif b is not None and _lacks(columns, name):
                categories[name] = b
        return FrameTraits(
            tuple(dict.fromkeys((*self.levels, *other.levels))),
            self.labels if self.labels == other.labels else None,
            self.counts_rows or other.counts_rows,
            categories,
        )


def united_traits(frames: Iterable[tuple[pa.StructType, FrameTraits]]) -> FrameTraits:
    """The traits of frames, with their columns, that are put below each other."""
    columns: Any = pa.struct([])
    traits: FrameTraits | None = None
    for own_columns, own in frames:
        if traits is None:
            columns, traits = own_columns, own
        elif own != traits or not own_columns.equals(columns):
            traits = traits.united(columns, own, own_columns)
            columns = common_type(columns, own_columns)
    return traits or FrameTraits()


def _lacks(columns: pa.StructType, name: str) -> bool:
    """Whether a frame tells nothing of a column: it has none, or one without values."""
    position = columns.get_field_index(name)
    return position < 0 or pa.types.is_null(columns.field(position).type)


def measures_memory(schema: pa.Schema) -> bool:
    """Whether a part of a ledger tells what memory specs took; a column of this name can be another program's."""
    position = schema.get_field_index(MEMORY)
    return position >= 0 and schema.field(position).type.equals(pa.int64())


def with_code(outcomes: pa.Table, code: str | None) -> pa.Table:
    """Outcomes that tell what code they are of; None where it is that of the run, which need not be told."""
    if code is None or CODE in outcomes.column_names:
        return outcomes
    return outcomes.append_column(pa.field(CODE, pa.string()), pa.repeat(code, outcomes.num_rows))


def merged_fields(schemas: Iterable[pa.Schema]) -> dict[str, pa.Field[Any]]:
    """The columns of outcomes that are stacked, by name, with the levels that a frame has in any of them."""
    merged: dict[str, pa.Field[Any]] = {}
    for schema in schemas:
        for f in schema:
            known = merged.setdefault(f.name, f)
            is_frame = f.name.startswith(FRAME) and f.name != WARNINGS
            if is_frame and (f.metadata != known.metadata or not f.type.equals(known.type)):
                pairs: Any = ((each.type.value_type, FrameTraits.of(each)) for each in (known, f))
                merged[f.name] = united_traits(pairs).put_on(f.with_type(common_type(known.type, f.type)))
    return merged
