"""The cells of a sampling file before anyone has judged them, whatever the format of the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.errors import SamplingFileError

__all__ = ["RawFile", "check_names", "chunked"]


# of what is wrong with names of columns; a file can have thousands, of any length
_MAX_SHOWN = 10
_MAX_NAME = 60


@dataclass(frozen=True)
class RawFile:
    """The cells of a sampling file, before anyone has judged them.

    Attributes:
        path: The file.
        names: The names of the columns.
        columns: The columns; null where a cell is missing.
        n_rows: The number of cases.
        row_label: Where a case is, for a person.
    """

    path: Path
    names: list[str]
    columns: list[pa.ChunkedArray[Any]]
    n_rows: int
    row_label: Callable[[int], str]


def check_names(path: Path, names: Sequence[str]) -> None:
    """Check that each column has a name of its own.

    Raises:
        SamplingFileError: If a name is empty or comes twice.
    """
    empty = [str(position) for position, name in enumerate(names, 1) if not name]
    if empty:
        raise SamplingFileError(f"{path}: column {_some(empty)} has no name")
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise SamplingFileError(f"{path}: more than one column is named {_some([_short(name) for name in twice])}")


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _MAX_SHOWN} more" if len(items) > _MAX_SHOWN else ""
    return ", ".join(items[:_MAX_SHOWN]) + more


def _short(name: str) -> str:
    return repr(name) if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]!r}…"


def chunked(chunks: list[Any], type_: Any) -> pa.ChunkedArray[Any]:
    """Join arrays without copying them; the stubs of `chunked_array` know only some types."""
    return pa.chunked_array(chunks, type_)
