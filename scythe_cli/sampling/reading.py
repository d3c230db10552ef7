"""A sampling file as columns of raw cells: text from CSV, typed values from Parquet."""

from __future__ import annotations

from pathlib import Path

from scythe_cli.errors import SamplingFileError, first_line
from scythe_cli.sampling.raw import RawFile

__all__ = ["SUFFIXES", "read_raw"]

SUFFIXES = (".csv", ".parquet", ".pq")


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
        raise SamplingFileError(f"{path}: cannot be read: {first_line(error)}") from error
    if raw.n_rows == 0:
        raise SamplingFileError(f"{path}: it has no cases", hint="A case is a row below the header.")
    return raw
