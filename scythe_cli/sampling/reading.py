"""A sampling file, read and checked: text from CSV, typed values from Parquet, then every cell against the model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from scythe_cli.arrow.build import integer_cells
from scythe_cli.errors import SamplingFileError, first_line
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.sampling.check_file import check_cells
from scythe_cli.sampling.files.raw import RawFile
from scythe_cli.sampling.matching import Cell, Source, match_columns
from scythe_cli.sampling.pieces import Helpers
from scythe_cli.sampling.round_trip import ROUND_TRIP_HINT, round_trip_fault, rows_to_try

__all__ = ["SUFFIXES", "SamplingTable", "read_raw", "read_sampling_file"]


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
        from scythe_cli.sampling.files.csv_file import read_csv as read
    else:
        from scythe_cli.sampling.files.parquet_file import read_parquet as read
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


@dataclass(frozen=True)
class SamplingTable:
    """The cases of a sampling file.

    Attributes:
        path: The file.
        inputs: One row per case, in the order of the file, with the schema of `input_columns(model)`; validated, with
            defaults filled in. If the model has no fields of its own, a lone column `sort_index`.
        defaulted: The fields that the file lacks and that take their default.
        ignored: The reserved columns that the file has, which are left out.
        row_label: Where a case is in the file: `line 18` (CSV; the header is line 1) or `row 17` (Parquet; from 0).
    """

    path: Path
    inputs: pa.Table
    defaulted: list[str]
    ignored: list[str]
    row_label: Callable[[int], str]


def read_sampling_file(
    path: Path, model: type[ExperimentInputSpec], *, helpers: Helpers | None = None
) -> SamplingTable:
    """Read a sampling file and check all of it.

    Args:
        path: A `.csv`, `.parquet` or `.pq` file.
        model: The input model of the experiment.
        helpers: Processes that may help where rows have to be judged one by one.

    Raises:
        SamplingFileError: If the file cannot be read or its columns do not fit the model.
        BadCellsError: If cells are bad: a SamplingFileError that has them as data as well.
    """
    path = Path(path)
    raw = read_raw(path)
    match = match_columns(raw, model)
    rows = rows_to_try(raw.n_rows, [_first_missing(source) for source in match.sources.values()])
    # what a validator prints must not get into the output of a command
    with contextlib.redirect_stdout(sys.stderr):
        inputs = check_cells(raw, model, match, helpers)
    with contextlib.redirect_stdout(sys.stderr):
        fault = round_trip_fault(model, inputs.take(rows), lambda row: raw.row_label(rows[row].as_py()))
    if fault is not None:
        raise SamplingFileError(f"{path}: {fault}", hint=ROUND_TRIP_HINT)
    return SamplingTable(path, inputs, match.defaulted, match.ignored, raw.row_label)


def _first_missing(source: Source) -> int:
    """The first row without a cell; -1 if there is none."""
    if isinstance(source, Cell) and source.cells.null_count:
        # not pc.index: a scalar costs the import of pandas
        rows = pc.indices_nonzero(source.cells.is_null()).slice(0, 1)
        return int(integer_cells(rows.cast(pa.int64()))[0])
    return -1
