"""What became of a spec, as columns: the names and types of those that the parts of a ledger have."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import pyarrow as pa

__all__ = [
    "CODE",
    "FEATURE",
    "FILE",
    "FRAME",
    "LABELS_KEY",
    "LEVELS_KEY",
    "OUTCOME_SCHEMA",
    "REUSED_FROM",
    "SCALAR",
    "WARNINGS",
    "labels_of",
    "levels_of",
    "merged_fields",
    "with_code",
    "with_levels",
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

LABELS_KEY = b"scythe:labels"
"""Key in the same metadata: the part of pandas' metadata that tells the labels of columns, where they are no text."""

WARNINGS = FRAME + ":warnings"
"""The column of what could not be kept as it was: a list of structs of `field`, `what` and `why`, texts, for each
spec. No user dataframe can have its name; there is none where no spec has any."""

REUSED_FROM = ("reused:run", "reused:sort_index", "reused:attempt")
"""Further columns of the ledger, in outcomes that were taken over: from which run, spec and attempt."""

CODE = "code"
"""Further column of the ledger: the hash of the code that an outcome is of, where that is not the code of the run."""

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


def levels_of(field: pa.Field[Any]) -> list[str]:
    """The names of the own index levels of a frame, from its column."""
    return json.loads((field.metadata or {}).get(LEVELS_KEY, b"[]"))


def labels_of(field: pa.Field[Any]) -> str | None:
    """What pandas says of the labels of a frame's columns, from its column; None where they are plain text."""
    stored = (field.metadata or {}).get(LABELS_KEY)
    return None if stored is None else stored.decode()


def with_levels(field: pa.Field[Any], levels: Iterable[str], labels: Collection[str | None] = (None,)) -> pa.Field[Any]:
    """The column of a frame that has these levels, and labels of these kinds: where there are several, plain text."""
    metadata: Any = {LEVELS_KEY: json.dumps(list(levels)).encode()}
    only = next(iter(labels), None)
    if len(labels) == 1 and only is not None:
        metadata[LABELS_KEY] = only.encode()
    return field.with_metadata(metadata)


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
            if known is not f and f.name.startswith(FRAME) and f.metadata != known.metadata:
                levels = dict.fromkeys([*levels_of(known), *levels_of(f)])
                merged[f.name] = with_levels(f, levels, {labels_of(known), labels_of(f)})
    return merged
