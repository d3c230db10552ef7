"""A frame as one file, whose ending says the format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from scythe_cli.analysis.files import check_target, placing
from scythe_cli.analysis.records import FetchedFile
from scythe_cli.analysis.results.spreadsheets import write_csv, write_workbook
from scythe_cli.errors import StorageError, UsageError, first_line
from scythe_cli.run.ledger import POLARS_ERRORS

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun


__all__ = ["export_run", "write_frame"]


_FORMATS = {".pq": "pq", ".parquet": "pq", ".csv": "csv", ".xlsx": "xlsx"}


def export_run(
    run: StoredRun, target: Path, table: str | None, *, ids: bool, overwrite: bool, raw_cells: bool
) -> FetchedFile:
    """Write the tidy frame of a run; see `Run.export`."""
    from scythe_cli.analysis.results.tidy import tidy_frame

    _format_of(target)
    check_target(target, overwrite=overwrite)
    tidy = tidy_frame(run, table, ids=ids)
    return write_frame(tidy.frame, target, name=table or "scalars", overwrite=overwrite, raw_cells=raw_cells)


def _format_of(target: Path) -> str:
    try:
        return _FORMATS[target.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"{target}: the ending of a file says its format", hint="Use .pq, .parquet, .csv or .xlsx."
        ) from None


def write_frame(
    frame: pl.LazyFrame, target: Path, *, name: str, overwrite: bool = False, raw_cells: bool = False
) -> FetchedFile:
    """Write a frame to a file, whole or not at all.

    Args:
        frame: The frame.
        target: The file; .pq, .parquet, .csv or .xlsx.
        name: What a workbook's sheet is called.
        overwrite: Whether a file of that name is replaced.
        raw_cells: Leave text as it is that a spreadsheet would run as a formula.

    Raises:
        UsageError: If the ending is another, the file is there already, or a sheet cannot hold the frame.
        StorageError: If it cannot be written.
    """
    form = _format_of(target)
    check_target(target, overwrite=overwrite)
    notices: list[str] = []
    try:
        with placing(target) as unfinished:
            if form == "pq":
                frame.sink_parquet(unfinished, compression="zstd")
            elif form == "csv":
                write_csv(frame, unfinished, raw_cells=raw_cells)
            else:
                notices = write_workbook({name: frame}, unfinished, raw_cells=raw_cells)
    except POLARS_ERRORS as error:
        raise StorageError(f"{target} cannot be made: {first_line(error)}") from error
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    return FetchedFile(name=name, path=str(target), size_bytes=target.stat().st_size, notices=notices)
