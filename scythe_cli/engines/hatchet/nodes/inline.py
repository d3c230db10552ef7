"""Rows of `specs.pq` as the JSON of specs: what a task of one spec shows in the dashboard.

A node makes them from the columns alone, so that it needs no code of the experiment.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from pydantic_core import PydanticSerializationError, to_jsonable_python

from scythe_cli.model.columns import decoder_of

__all__ = ["LIMIT_BYTES", "inline_specs"]


LIMIT_BYTES = 256_000
"""A larger spec is read from the run's file instead."""


def inline_specs(rows: pa.Table) -> list[str | None]:
    """The JSON of each row; None for a row that JSON in a database does not give back as it was.

    Those are NaN and infinities, the negative zero, NUL characters, bytes that are not text, and large rows.
    """
    names = rows.column_names
    cells: list[list[Any]] = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        decode = decoder_of(field)
        values = column.to_pylist()
        cells.append(values if decode is None else [None if v is None else decode(v) for v in values])
    return [_text(dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True)]


def _text(spec: dict[str, Any]) -> str | None:
    try:
        text = json.dumps(to_jsonable_python(spec, inf_nan_mode="constants"), allow_nan=False)
    except (ValueError, PydanticSerializationError):
        return None
    if len(text) > LIMIT_BYTES or "\\u0000" in text or "-0.0" in text:
        return None
    return text
