"""A user's table, pandas or Polars or Arrow, as one cell: a list of structs."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scythe_cli.arrow.plain import plain_type
from scythe_cli.arrow.unify import convert_column
from scythe_cli.errors import ScytheError
from scythe_cli.model.models import RESERVED_TABLES

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["Frame", "FrameError", "convert_frames"]


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)


class FrameError(ScytheError):
    """A table of a spec's output that cannot be stored."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A converted table.

    Attributes:
        table: The rows; the table's own index levels are its first columns.
        levels: The names of these.
    """

    table: pa.Table
    levels: tuple[str, ...]


def convert_frames(frames: Mapping[Any, Any], taken: frozenset[str]) -> dict[str, Frame]:
    """Convert the tables of an output.

    Args:
        frames: The tables by name.
        taken: The names of the spec's own levels, which the final table gets without the user's doing.

    Returns:
        The tables by name; one that has neither columns nor rows is not among them.

    Raises:
        FrameError: If a name or a table cannot be stored; the message names both.
    """
    converted: dict[str, Frame] = {}
    for name, frame in frames.items():
        _check_name(name)
        try:
            result = _convert(frame, taken)
        except (pa.ArrowException, FrameError, ValueError, TypeError, OverflowError) as error:
            raise FrameError(f"dataframe {name!r}: {error}") from error
        if result.table.num_columns:
            converted[name] = result
        elif result.table.num_rows:
            raise FrameError(f"dataframe {name!r} has rows but no columns")
    return converted


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 128:
        raise FrameError(
            f"a dataframe cannot be named {name!r}", hint="Use letters, digits, '_', '-' and '.'; it names a file."
        )
    if name in RESERVED_TABLES:
        raise FrameError(f"a dataframe cannot be named {name!r}: that table is made from all specs")


def _convert(frame: Any, taken: frozenset[str]) -> Frame:
    levels: tuple[str, ...] = ()
    if isinstance(frame, pa.RecordBatch):
        table = pa.Table.from_batches([frame])
    elif isinstance(frame, pa.Table):
        table = frame
    else:
        pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
        if pandas is not None and isinstance(frame, pandas.DataFrame):
            table, levels = _from_pandas(frame, taken)
        elif polars is not None and isinstance(frame, polars.LazyFrame):
            table = frame.collect().to_arrow()
        elif polars is not None and isinstance(frame, polars.DataFrame):
            table = frame.to_arrow()
        else:
            raise FrameError(f"it is a {type(frame).__name__}, not a pandas, Polars or Arrow table")
    _check_columns(table.column_names, taken)
    columns = [convert_column(column, plain_type(column.type)) for column in table.columns]
    return Frame(pa.Table.from_arrays(columns, names=table.column_names) if columns else pa.table({}), levels)


def _check_columns(names: Sequence[object], taken: frozenset[str]) -> None:
    seen: set[object] = set()
    for name in names:
        if not isinstance(name, str):
            raise FrameError(f"column names must be text, and {name!r} is a {type(name).__name__}; rename the columns")
        if name in seen:
            raise FrameError(f"it has two columns named {name!r}")
        if name in taken:
            raise FrameError(
                f"the column {name!r} has the name of an index level that every final table has; rename or drop it"
            )
        seen.add(name)


def _from_pandas(frame: pd.DataFrame, taken: frozenset[str]) -> tuple[pa.Table, tuple[str, ...]]:
    # before the conversion, which would make text of other names without a word
    _check_columns(list(frame.columns), taken)
    levels = _own_levels(frame, taken)
    _check_columns([*levels, *frame.columns], taken)
    data = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
    columns = [pa.chunked_array([_array_of(values)]) for values in levels.values()]
    names = [*levels, *data.column_names]
    if not names:
        return pa.table({}) if not len(frame) else _raise_no_columns(), ()
    return pa.Table.from_arrays([*columns, *data.columns], names=names), tuple(levels)


def _raise_no_columns() -> pa.Table:
    raise FrameError("it has rows but no columns")


def _array_of(values: Any) -> pa.Array[Any]:
    array = pa.array(values, from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _own_levels(frame: pd.DataFrame, taken: frozenset[str]) -> dict[str, Any]:
    """The levels of the frame's index that are its own, not the spec's, with their values."""
    import pandas as pd

    index: Any = frame.index
    if not isinstance(index, pd.MultiIndex):
        if index.name is None and _counts_rows(index):
            return {}
        return {} if _is_specs(index.name, index, taken) else {_level_name(index.name, None, frame): index}
    levels: dict[str, Any] = {}
    for position, level in enumerate(index.names):
        # a level of the spec holds one value; looking at the level, not at its rows, makes that cheap
        if _is_specs(level, index.levels[position], taken):
            continue
        name = _level_name(level, position, frame)
        if name in levels:
            raise FrameError(f"it has two index levels named {name!r}")
        levels[name] = index.get_level_values(position)
    return levels


def _counts_rows(index: Any) -> bool:
    import pandas as pd

    return bool(isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1) or len(index) == 0


def _is_specs(name: object, values: Any, taken: frozenset[str]) -> bool:
    """Whether a level is one that `make_multiindex` put there; the final table has it anyway."""
    if name not in taken:
        return False
    if name != "sort_subindex" and values.nunique(dropna=False) > 1:
        raise FrameError(f"the index level {name!r} has the name of a level of the spec, but more than one value")
    return True


def _level_name(name: object, position: int | None, frame: pd.DataFrame) -> str:
    if name is None:  # as pandas.DataFrame.reset_index names them
        name = "index" if position is None and "index" not in frame.columns else f"level_{position or 0}"
    if not isinstance(name, str):
        raise FrameError(f"names of index levels must be text, and {name!r} is a {type(name).__name__}")
    return name
