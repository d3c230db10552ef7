"""A sampling file as columns of raw cells: text from CSV, typed values from Parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.errors import SamplingFileError

__all__ = ["SUFFIXES", "RawFile", "check_names", "chunked", "read_raw"]

SUFFIXES = (".csv", ".parquet", ".pq")


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


def read_raw(path: Path) -> RawFile:
    """Read a sampling file.

    Raises:
        SamplingFileError: If there is no such file, or it is no table with at least one case.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        found = f"the suffix {path.suffix!r}" if suffix else "no suffix"
        raise SamplingFileError(
            f"{path}: a sampling file is CSV or Parquet; this one has {found}",
            hint=f"Allowed suffixes are {', '.join(SUFFIXES)}.",
        )
    if path.is_dir():
        raise SamplingFileError(f"{path}: this is a folder, not a file")
    # both readers cost an import that only this call needs
    if suffix == ".csv":
        from scythe_cli.sampling.csv_file import read_csv as read
    else:
        from scythe_cli.sampling.parquet_file import read_parquet as read
    try:
        raw = read(path)
    except FileNotFoundError:
        raise SamplingFileError(f"{path}: there is no such file") from None
    except PermissionError:
        raise SamplingFileError(f"{path}: no permission to read it") from None
    except OSError as error:
        raise SamplingFileError(f"{path}: cannot be read: {_first_line(error)}") from error
    if raw.n_rows == 0:
        raise SamplingFileError(f"{path}: it has no cases", hint="A case is a row below the header.")
    return raw


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def check_names(path: Path, names: Sequence[str]) -> None:
    """Check that each column has a name of its own.

    Raises:
        SamplingFileError: If a name is empty or comes twice.
    """
    empty = [str(position) for position, name in enumerate(names, 1) if not name]
    if empty:
        raise SamplingFileError(f"{path}: column {', '.join(empty)} has no name")
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise SamplingFileError(f"{path}: more than one column is named {', '.join(map(repr, twice))}")


def chunked(chunks: list[Any], type_: Any) -> pa.ChunkedArray[Any]:
    """Join arrays without copying them; the stubs of `chunked_array` know only some types."""
    return pa.chunked_array(chunks, type_)
