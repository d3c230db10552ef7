"""The columns of outcomes that no model knows: those of computed features and of user dataframes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from scythe_cli.arrow.build import array_of
from scythe_cli.arrow.unify import agree, common_type, stack_tables
from scythe_cli.executor.rows.frames import Frame
from scythe_cli.model.outcome_schema import FEATURE, FRAME

if TYPE_CHECKING:
    from scythe_cli.executor.rows.call import LeafResult


__all__ = ["Extras", "extras_of", "feature_column", "fit", "frame_column", "part_of"]


_FEATURE_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}

_MAX_APART = 8

Extras = dict[str, tuple[Any, tuple[str, ...]]]
"""The columns that the model does not know, of features and of frames: type, and index levels of a frame. The type of
a frame is the struct of its columns."""


def part_of(result: LeafResult | None, what: Literal["files", "features", "frames"]) -> dict[str, Any]:
    """One of the dictionaries of a result; empty where there is none."""
    return {} if result is None else getattr(result, what) or {}


def extras_of(result: LeafResult) -> Extras:
    """The further columns of a result."""
    extras: Extras = {}
    for name, value in (result.features or {}).items():
        if value is not None:
            extras[FEATURE + name] = _FEATURE_TYPES[_class_of(value)], ()
    for name, frame in (result.frames or {}).items():
        extras[FRAME + name] = frame.columns, frame.traits.levels
    return extras


def _class_of(value: object) -> type:
    """The plain class of a value: the scalars of NumPy are of subclasses."""
    return next(cls for cls in _FEATURE_TYPES if isinstance(value, cls))


def fit(groups: list[Extras], extras: Extras) -> int:
    """The first group that can hold these columns too, widened to do so; or a new one, unless there are many."""
    for position, types in enumerate(groups):
        if len(groups) >= _MAX_APART or all(
            # the levels of a table are the same for all of its rows
            name not in types or (types[name][1] == levels and agree(_schema(types[name][0]), _schema(type_)))
            for name, (type_, levels) in extras.items()
        ):
            groups[position] = types | {
                name: (common_type(types[name][0], type_), tuple(dict.fromkeys((*types[name][1], *levels))))
                if name in types
                else (type_, levels)
                for name, (type_, levels) in extras.items()
            }
            return position
    groups.append(dict(extras))
    return len(groups) - 1


def _schema(type_: pa.DataType) -> pa.Schema:
    return pa.schema([("x", type_)])


def feature_column(values: Sequence[Any]) -> pa.Array[Any]:
    """The column of a feature, of the type that its values have in common."""
    tables: list[pa.Table] = []
    for cls, run in groupby(values, lambda value: None if value is None else _class_of(value)):
        type_ = pa.null() if cls is None else _FEATURE_TYPES[cls]
        tables.append(pa.Table.from_arrays([array_of(list(run), type_)], names=["x"]))
    return _one_chunk(stack_tables(tables).column(0))


def _one_chunk(column: Any) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)  # without a copy: it may be large
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def frame_column(
    name: str, type_: pa.StructType, frames: Sequence[Frame | None]
) -> tuple[pa.Field[Any], pa.ListArray[Any]]:
    """The column of one frame: a list of structs for each spec, null where it made none."""
    offsets: list[int | None] = []
    end = 0
    for frame in frames:
        offsets.append(None if frame is None else end)
        end += 0 if frame is None else frame.table.num_rows
    tables = [frame.table for frame in frames if frame is not None]
    schema = pa.schema(list(type_))
    if not tables or not all(table.schema.equals(schema) for table in tables):
        # not `empty_table()`, which imports pandas
        tables.insert(0, pa.Table.from_batches([], schema))
    stacked = stack_tables(tables)
    columns = [_one_chunk(column) for column in stacked.columns]
    values = pa.StructArray.from_arrays(columns, fields=list(stacked.schema))
    ends: Any = array_of([*offsets, end], pa.int32())
    array = pa.ListArray.from_arrays(ends, values)
    return pa.field(name, array.type), array
