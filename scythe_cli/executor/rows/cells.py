"""Columns of a user's table as Arrow arrays, whatever objects they hold.

What has no type of its own in a table gets the nearest form that has: paths and enums their text or value, complex
numbers their two parts, periods and intervals text. Values of several types in one column get a common one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, cast

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import array_of
from scythe_cli.arrow.plain import has_nanoseconds, plain_type
from scythe_cli.arrow.unify import convert_column, stack_tables
from scythe_cli.model.columns import Column
from scythe_cli.model.kinds import ColumnError
from scythe_cli.model.outcome_schema import Categories

__all__ = [
    "Say",
    "array_of_numpy",
    "array_of_objects",
    "array_of_pandas",
    "array_of_polars",
    "categories_of_arrow",
    "categories_of_pandas",
    "categories_of_polars",
    "nearest_fit",
    "plain_column",
]


Say = Callable[[str, str], None]
"""Called with what was done with values, and why."""

_PLAIN = (str, bool, int, float, bytes, Decimal)
_ARROW: dict[type, pa.DataType] = {str: pa.string(), bool: pa.bool_(), int: pa.int64()}
_INT64 = 2**63
_MAX_DIGITS = 38


def plain_column(column: pa.ChunkedArray[Any], say: Say) -> pa.ChunkedArray[Any]:
    """A column in a type that all readers know."""
    type_ = plain_type(column.type)
    if column.type == type_:
        return column
    plain = convert_column(column, type_)
    if pa.types.is_string(plain.type) and not _is_text(column.type):
        say("stored as text", f"not all readers of Parquet know {column.type}, or its values")
    elif pa.types.is_timestamp(column.type) and getattr(plain.type, "tz", None) != column.type.tz:
        say("stored in UTC", f"not all readers know the time zone {column.type.tz}")
    return plain


def _is_text(type_: Any) -> bool:
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return _is_text(type_.value_type)
    return (
        pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
        or pa.types.is_string(type_)
        or getattr(type_, "extension_name", "") in ("arrow.uuid", "arrow.json")
    )


def array_of_pandas(values: Any, say: Say) -> pa.ChunkedArray[Any]:
    """The column of a pandas Series or Index."""
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = array_of_pandas(dtype.categories, say)
        codes = np.asarray(values.cat.codes if isinstance(values, pd.Series) else values.codes).astype(np.int64)
        return categories.take(pa.array(codes, pa.int64(), mask=codes < 0))
    if isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype)):
        what = "periods" if isinstance(dtype, pd.PeriodDtype) else "intervals"
        say("stored as text", f"a table has no column of {what}")
        missing = np.asarray(pd.isna(values))
        texts = [None if null else str(value) for value, null in zip(values, missing, strict=True)]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if isinstance(dtype, pd.SparseDtype):
        values = pd.Series(np.asarray(values))
        dtype = values.dtype
    if dtype.kind == "c":
        return array_of_numpy(np.asarray(values), say)
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        return array_of_objects(list(values), say)
    try:
        array: Any = pa.array(values, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError):
        return array_of_objects(list(values), say)
    return plain_column(array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]), say)


def categories_of_pandas(values: Any) -> Categories | None:
    """What a categorical Series or Index of pandas can hold; None for any other."""
    import pandas as pd

    dtype = values.dtype
    if not isinstance(dtype, pd.CategoricalDtype):
        return None
    texts: Any = array_of_pandas(dtype.categories, lambda _what, _why: None)
    return Categories.of(texts.to_pylist(), bool(dtype.ordered)) if pa.types.is_string(texts.type) else None


def categories_of_polars(series: Any) -> Categories | None:
    """What a Series of Polars can hold that is an Enum, or holds that is categorical; None for any other."""
    import polars as pl

    if series.dtype == pl.Enum:
        return Categories.of(series.dtype.categories.to_list(), False)
    # the categories of a Categorical may be those of all others too
    return (
        Categories.of(series.drop_nulls().unique(maintain_order=True).cast(pl.String).to_list(), False)
        if (series.dtype == pl.Categorical)
        else None
    )


def categories_of_arrow(column: Any) -> Categories | None:
    """What a column of dictionaries of texts can hold; None for any other."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return None
    texts = dict.fromkeys(text for chunk in column.chunks for text in chunk.dictionary.to_pylist() if text is not None)
    return Categories.of(texts, column.type.ordered and column.num_chunks < 2)


def array_of_numpy(values: Any, say: Say) -> pa.ChunkedArray[Any]:
    """The column of a NumPy array of one dimension."""
    kind = values.dtype.kind
    if kind == "c":
        say("stored as a struct of real and imag", "a table has no column of complex numbers")
        return pa.chunked_array([pa.StructArray.from_arrays([values.real, values.imag], names=["real", "imag"])])
    if kind == "O":
        return array_of_objects(list(values), say)
    if kind in "mM" and np.datetime_data(values.dtype)[0] not in ("s", "ms", "us", "ns"):
        values = values.astype(f"{kind}8[s]")  # as pandas does with days
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    try:
        array: Any = pa.array(np.ascontiguousarray(values), mask=mask, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError):
        return array_of_objects(values.tolist() if mask is not None else list(values), say)
    return plain_column(array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]), say)


def array_of_polars(series: Any, say: Say) -> pa.ChunkedArray[Any]:
    """The column of a Polars Series."""
    import polars as pl

    if series.dtype in (pl.Int128, pl.UInt128) or series.dtype == pl.Object:
        return array_of_objects(series.to_list(), say)
    try:
        array = series.to_arrow()
    except (pa.ArrowException, pl.exceptions.PolarsError):
        return array_of_objects(series.to_list(), say)
    return plain_column(pa.chunked_array([array]), say)


def array_of_objects(cells: Sequence[Any], say: Say) -> pa.ChunkedArray[Any]:
    """The column of Python values, in a type that all of them have in common."""
    kinds = set(map(type, cells)) - {type(None)}
    if len(kinds) == 1 and kinds.pop() in _PLAIN:
        try:
            return plain_column(pa.chunked_array([_array_of_one_class(cells)]), say)
        except (pa.ArrowException, OverflowError, UnicodeError):
            pass  # integers that are too large, and texts that are not of Unicode
    positions: dict[Any, list[int]] = {}
    for position, cell in enumerate(cells):
        positions.setdefault(_kind_of(cell), []).append(position)
    missing = positions.pop(None, [])
    tables: list[pa.Table] = []
    order: list[int] = []
    for own in positions.values():
        column = plain_column(_of_one_class([cells[position] for position in own], say), say)
        tables.append(pa.Table.from_arrays([column], names=["x"]))
        order += own
    if missing or not tables:
        tables.append(pa.Table.from_arrays([pa.nulls(len(missing))], names=["x"]))
        order += missing
    stacked = stack_tables(tables).column("x")
    if len(tables) > 1 and pa.types.is_string(stacked.type) and len(positions) > 1:
        say("stored as text", "it has values of several types")
    if len(positions) <= 1 and not missing:
        return stacked
    places = np.empty(len(cells), np.int64)
    places[order] = np.arange(len(cells))
    return stacked.take(pa.array(places, pa.int64()))


def _array_of_one_class(cells: Sequence[Any]) -> pa.Array[Any]:
    """The values of one plain class, where NaN is what is missing; without pandas, as far as that goes."""
    cls = type(next(filter(_is_there, cells)))
    if cls is float:
        return array_of([None if cell is None or cell != cell else cell for cell in cells], pa.float64())
    return array_of(cells, _ARROW[cls]) if cls in _ARROW else pa.array(cells, from_pandas=True)


def _is_there(cell: Any) -> bool:
    return cell is not None


def _kind_of(cell: Any) -> Any:
    """What values are of one kind: their class, and whether times have a zone; None for what is missing."""
    if cell is None or (isinstance(cell, float) and cell != cell) or type(cell).__name__ in ("NaTType", "NAType"):
        return None
    return type(cell), getattr(cell, "tzinfo", None) is None


def _of_one_class(cells: list[Any], say: Say) -> pa.ChunkedArray[Any]:
    """A column of values of one class."""
    cls = type(cells[0])
    if cls.__module__.startswith("pandas") and cls.__name__ in ("Timestamp", "Timedelta"):
        import pandas as pd

        # not from the objects themselves, of which Arrow takes microseconds
        made = pd.DatetimeIndex(cells) if cls is pd.Timestamp else pd.TimedeltaIndex(cells)
        return pa.chunked_array([pa.array(made)])
    for prepare in (_as_it_is, _nearest, _decimal, _text):
        try:
            prepared: list[Any] = [prepare(cell) for cell in cells]
            array: pa.Array[Any] = pa.array(prepared, from_pandas=True)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError, RecursionError):
            continue
        if prepare is _text or (prepare is _nearest and not issubclass(cls, (dict, list, tuple, int, np.ndarray))):
            say(f"stored as {'text' if pa.types.is_string(array.type) else array.type}", _no_column_of(cls))
        elif prepare is _nearest and any(map(_has_other_keys, cells)):
            say("stored with its keys as text", "names in a table are text")
        return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    say("stored as null", _no_column_of(cls))
    return pa.chunked_array([pa.nulls(len(cells))])


def _no_column_of(cls: type) -> str:
    if cls is int:
        return "a table has no column of integers that are so large"
    return "it has characters that are not of Unicode" if cls is str else f"a table has no column of {cls.__name__}"


def _as_it_is(cell: Any) -> Any:
    if "pandas" in sys.modules and isinstance(cell, (dict, list, tuple)) and has_nanoseconds(cell):
        raise TypeError  # Arrow leaves them out
    if isinstance(cell, Enum):
        raise TypeError  # those that are texts and numbers as well become these, as others do
    return cell


def _decimal(cell: Any) -> Decimal:
    """An integer that shares a column with others of which none of Arrow's integers holds all."""
    if not isinstance(cell, int) or len(str(abs(cell))) > _MAX_DIGITS:
        raise TypeError
    return Decimal(cell)


def _has_other_keys(cell: Any) -> bool:
    """Whether a dict, or one in it, has keys that are no text."""
    if isinstance(cell, dict):
        items = cast("dict[Any, Any]", cell)
        return not all(isinstance(key, str) for key in items) or any(map(_has_other_keys, items.values()))
    return isinstance(cell, (list, tuple)) and any(map(_has_other_keys, cast("list[Any]", cell)))


def nearest_fit(column: Column, value: Any) -> Any:
    """The nearest of a value that does not fit a column of outputs; None where there is none."""
    try:
        nearest = json.loads(json.dumps(_nearest(value), default=_listed)) if column.is_json else _that_fits(value)
        column.array([nearest])
    except (ColumnError, ValueError, TypeError, OverflowError, AttributeError, RecursionError):
        return None
    return nearest


def _listed(cell: Any) -> Any:
    """What JSON has no form for: columns as lists, all else as text."""
    return _nearest(cell.tolist()) if hasattr(cell, "tolist") else str(cell)


def _that_fits(cell: Any) -> Any:
    """A time of pandas as Python has it, and text as Unicode; in lists and dicts too."""
    if isinstance(cell, str):
        return cell.encode(errors="backslashreplace").decode()
    if isinstance(cell, (list, tuple, set, frozenset)):
        return type(cell)(_that_fits(item) for item in cell)
    if isinstance(cell, dict):
        return {key: _that_fits(value) for key, value in cell.items()}
    if not has_nanoseconds(cell):
        return cell
    time: Any = cell
    return time.to_pytimedelta() if isinstance(cell, timedelta) else time.to_pydatetime(warn=False)


def _nearest(cell: Any) -> Any:
    """A value that Arrow knows, inside of lists and dicts too."""
    if has_nanoseconds(cell) and isinstance(cell, (datetime, timedelta)):
        return str(cell)
    if isinstance(cell, (np.datetime64, np.timedelta64)) and isinstance(cell.item(), int):
        return str(cell)
    if isinstance(cell, Enum):
        return _nearest(cell.value)
    if isinstance(cell, (PurePath, str)):
        return str(cell)
    if isinstance(cell, complex):
        return {"real": cell.real, "imag": cell.imag}
    if isinstance(cell, np.ndarray):
        return _nearest(cell.tolist())
    if isinstance(cell, np.generic):
        return _nearest(cell.item())
    if isinstance(cell, int) and not isinstance(cell, bool) and not -_INT64 <= cell < 2 * _INT64:
        return Decimal(cell) if len(str(abs(cell))) <= _MAX_DIGITS else str(cell)
    if isinstance(cell, (list, tuple)):
        return [_nearest(item) for item in cell]
    if isinstance(cell, (set, frozenset)):
        return [_nearest(item) for item in sorted(cell, key=repr)]
    if isinstance(cell, dict):
        return {str(_nearest(key)): _nearest(value) for key, value in cell.items()}
    return cell


def _text(cell: Any) -> str:
    """Text of what has no type: JSON of what is nested."""
    if isinstance(cell, (dict, list, tuple, set, frozenset, np.ndarray)):
        return json.dumps(_nearest(cell), default=str, ensure_ascii=False)
    return str(cell).encode(errors="backslashreplace").decode()
