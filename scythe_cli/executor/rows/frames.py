"""A user's table, pandas or Polars or Arrow, as one cell: a list of structs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from scythe_cli.errors import ScytheError, first_line
from scythe_cli.executor.rows.cells import (
    array_of_numpy,
    array_of_pandas,
    array_of_polars,
    categories_of_arrow,
    categories_of_pandas,
    categories_of_polars,
    plain_column,
)
from scythe_cli.model.models import RESERVED_TABLES
from scythe_cli.model.outcome_schema import Categories, FrameTraits

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["Frame", "FrameError", "Warned", "convert_frames"]


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_MAX_NAME = 128
_SUBINDEX = "sort_subindex"


class FrameError(ScytheError):
    """A table of a spec's output that cannot be stored."""


class Warned(NamedTuple):
    """What of an output could not be kept as it was.

    Attributes:
        field: The field, or the table and its column.
        what: What was done instead.
        why: Why.
    """

    field: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A converted table.

    Attributes:
        table: The rows; the table's own index levels are its first columns.
        traits: Their names, and what else the table is.
    """

    table: pa.Table
    traits: FrameTraits = field(default_factory=FrameTraits)

    @property
    def columns(self) -> pa.StructType:
        """Its columns."""
        return pa.struct(list(self.table.schema))


class _Names:
    """The names of a table's columns, none twice."""

    def __init__(self, table: str, warn: Callable[[str, str, str], None]) -> None:
        self._table = table
        self._warn = warn
        self._known: set[str] = set()

    def take(self, name: object) -> str:
        text = str(name)
        free, n = text, 1
        while free in self._known:
            n += 1
            free = f"{text}_{n}"
        if free != text:
            self._warn(f"{self._table}.{text}", f"called {free}", "the table has another column of that name")
        self._known.add(free)
        return free


def convert_frames(
    frames: Mapping[Any, Any],
    taken: frozenset[str],
    own: Callable[[], Mapping[str, Any]] = dict,
    warnings: list[Warned] | None = None,
) -> dict[str, Frame]:
    """Convert the tables of an output.

    Args:
        frames: The tables by name.
        taken: The names of the spec's own levels, which the final table gets without the user's doing.
        own: Gives the values of these.
        warnings: Gets what could not be kept as it was.

    Returns:
        The tables by name; one that has neither columns nor rows is not among them, nor one that cannot be kept.
    """
    said: dict[Warned, None] = {}
    converted: dict[str, Frame] = {}

    def warn(field: str, what: str, why: str) -> None:
        said[Warned(field, what, why)] = None

    for given_name, frame in frames.items():
        name = _name_of(given_name, converted, warn)
        try:
            result = _convert(name, frame, taken, own, warn)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a table is like, the other outputs are kept
            warn(name, "not kept", first_line(error))
            continue
        if result.table.num_columns:
            converted[name] = result
    if warnings is not None:
        warnings += said
    return converted


def _name_of(name: object, known: Mapping[str, Frame], warn: Callable[[str, str, str], None]) -> str:
    """The name of a table's file."""
    text = name if isinstance(name, str) else str(name)
    free = text
    if not _NAME.fullmatch(text) or len(text) > _MAX_NAME:
        free = re.sub(r"[^A-Za-z0-9_.-]+", "_", text, flags=re.ASCII)[:_MAX_NAME].lstrip(".-") or "table"
        warn(text[:_MAX_NAME], f"called {free}", "it names a file, of letters, digits, '_', '-' and '.'")
    if free in RESERVED_TABLES:
        warn(free, f"called output_{free}", "that table is made from all cases")
        free = f"output_{free}"
    n, base = 1, free
    while free in known:
        n += 1
        free = f"{base}_{n}"
    if n > 1:
        warn(text, f"called {free}", "there is another table of that name")
    return free


def _convert(
    name: str,
    frame: Any,
    taken: frozenset[str],
    own: Callable[[], Mapping[str, Any]],
    warn: Callable[[str, str, str], None],
) -> Frame:
    names = _Names(name, warn)
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if isinstance(frame, np.ndarray):
        return _from_array(name, frame, warn)
    if pandas is not None and isinstance(frame, pandas.Series):
        frame = frame.to_frame("value" if frame.name is None else frame.name)
    if pandas is not None and isinstance(frame, pandas.DataFrame):
        return _from_pandas(name, frame, taken, own, names, warn)
    if polars is not None and isinstance(frame, polars.LazyFrame):
        frame = frame.collect()
    if polars is not None and isinstance(frame, polars.Series):
        frame = frame.to_frame(frame.name or "value")
    if polars is not None and isinstance(frame, polars.DataFrame):
        columns = {
            names.take(series.name): array_of_polars(series, _of_column(f"{name}.{series.name}", warn))
            for series in frame.get_columns()
        }
        kinds = zip(columns, map(categories_of_polars, frame.get_columns()), strict=True)
        return Frame(_table(columns, frame.height), _traits(kinds))
    if isinstance(frame, pa.Table):
        columns = {
            names.take(f.name): plain_column(column, _of_column(f"{name}.{f.name}", warn))
            for f, column in zip(frame.schema, frame.columns, strict=True)
        }
        kinds = zip(columns, map(categories_of_arrow, frame.columns), strict=True)
        return Frame(_table(columns, frame.num_rows), _traits(kinds))
    raise FrameError(f"it is a {type(frame).__name__}, not a pandas, Polars or Arrow table")


def _traits(kinds: Iterable[tuple[str, Categories | None]]) -> FrameTraits:
    return FrameTraits(categories={name: categories for name, categories in kinds if categories is not None})


def _of_column(field: str, warn: Callable[[str, str, str], None]) -> Callable[[str, str], None]:
    return lambda what, why: warn(field, what, why)


def _table(columns: Mapping[str, Any], n_rows: int) -> pa.Table:
    if not columns and n_rows:  # rows are known by their numbers
        columns = {"index": pa.array(np.arange(n_rows))}
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def _from_array(name: str, array: Any, warn: Callable[[str, str, str], None]) -> Frame:
    """A table of an array, which pandas reads with the labels 0, 1, … as those of its `DataFrame(array)`."""
    if array.ndim not in (1, 2):
        raise FrameError(f"it is an array of {array.ndim} dimensions, and a table has two")
    fields = array.dtype.names
    labels = [{"name": None, "field_name": None, "pandas_type": "int64", "numpy_type": "int64", "metadata": None}]
    if fields:
        parts, described = {str(field): array[field] for field in fields}, None
    else:
        parts = {str(n): values for n, values in enumerate([array] if array.ndim == 1 else array.T)}
        described = json.dumps(labels)
    columns = {label: array_of_numpy(values, _of_column(f"{name}.{label}", warn)) for label, values in parts.items()}
    table = _table(columns, len(array))
    return Frame(table, FrameTraits(labels=described) if columns else FrameTraits(tuple(table.column_names)))


def _from_pandas(
    name: str,
    frame: pd.DataFrame,
    taken: frozenset[str],
    own: Callable[[], Mapping[str, Any]],
    names: _Names,
    warn: Callable[[str, str, str], None],
) -> Frame:
    flat, labels = _labels(frame.columns)
    data_names = [names.take(label) for label in flat]
    if data_names != flat:
        labels = None
    index_levels, counts_rows = _own_levels(frame, taken, own)
    columns: dict[str, Any] = {}
    categories: dict[str, Categories] = {}

    def add(column: str, label: str, values: Any) -> None:
        columns[column] = array_of_pandas(values, _of_column(f"{name}.{label}", warn))
        kinds = categories_of_pandas(values)
        if kinds is not None and pa.types.is_string(columns[column].type):
            categories[column] = kinds

    for level, values in index_levels:
        add(names.take(level), level, values)
    levels = tuple(columns)
    for position, column in enumerate(data_names):
        add(column, column, frame.iloc[:, position])
    table = _table(columns, len(frame))
    traits = FrameTraits(levels if columns else tuple(table.column_names), labels, counts_rows, categories)
    return Frame(table, traits)


def _labels(index: Any) -> tuple[list[str], str | None]:
    """The labels of columns as text, and what pandas needs to make them again, where they are no plain text."""
    import pandas as pd

    flat = [str(label) for label in index]
    if not isinstance(index, pd.MultiIndex) and index.name is None and set(map(type, index)) <= {str}:
        return flat, None
    try:
        schema: Any = pa.Table.from_pandas(pd.DataFrame(columns=index)).schema
        described = schema.pandas_metadata["column_indexes"]
    except (pa.ArrowException, ValueError, TypeError, AttributeError, KeyError):
        return flat, None
    if not all(_is_restored(level) for level in described):
        return flat, None
    return [name for name in schema.names if not name.startswith("__index_level")], json.dumps(described)


def _is_restored(level: Mapping[str, Any]) -> bool:
    """Whether pandas makes labels of this kind again, and not something else of them."""
    numpy_type = str(level["numpy_type"])
    if numpy_type in ("object", "str", "string"):
        return level["pandas_type"] in ("unicode", "string", "empty")
    return numpy_type.startswith(("int", "uint", "float")) or re.fullmatch(r"datetime64\[\w+\]", numpy_type) is not None


def _own_levels(
    frame: pd.DataFrame, taken: frozenset[str], own: Callable[[], Mapping[str, Any]]
) -> tuple[list[tuple[str, Any]], bool]:
    """The levels of the frame's index that are its own, not the spec's, with their values.

    Also whether its rows are to be counted: not where the index is the spec's own, which says that they are not.
    """
    import pandas as pd

    index: Any = frame.index
    if not isinstance(index, pd.MultiIndex):
        if (index.name is None and _counts_rows(index)) or _is_specs(index.name, index, taken, own):
            return [], True
        return [(_level_name(index.name, None, frame), index)], True
    # a level of the spec holds one value; looking at the level, not at its rows, makes that cheap
    levels = [
        (_level_name(level, position, frame), index.get_level_values(position))
        for position, level in enumerate(index.names)
        if not _is_specs(level, index.levels[position], taken, own)
    ]
    is_specs = "sort_index" in set(index.names) - {name for name, _ in levels}
    return levels, not is_specs or _SUBINDEX in index.names


def _counts_rows(index: Any) -> bool:
    import pandas as pd

    return bool(isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1) or len(index) == 0


def _is_specs(name: object, values: Any, taken: frozenset[str], own: Callable[[], Mapping[str, Any]]) -> bool:
    """Whether a level is one that `make_multiindex` put there; the final table has it anyway."""
    if name not in taken:
        return False
    if name == _SUBINDEX:
        return True
    distinct: Sequence[Any] = values.unique().tolist()
    if len(distinct) > 1:
        return False
    known = own()
    return not distinct or name not in known or _is_same(distinct[0], known[str(name)])


def _is_same(a: Any, b: Any) -> bool:
    if a is None or b is None or a != a or b != b:
        return (a is None or a != a) and (b is None or b != b)
    return bool(a == b) or str(a) == str(b) or (hasattr(b, "isoformat") and a == b.isoformat())


def _level_name(name: object, position: int | None, frame: pd.DataFrame) -> str:
    if name is None:  # as pandas.DataFrame.reset_index names them
        return "index" if position is None and "index" not in frame.columns else f"level_{position or 0}"
    return str(name)
