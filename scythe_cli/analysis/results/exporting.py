"""A frame as one file, whose ending says the format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from scythe_cli.analysis.records import FetchedFile
from scythe_cli.analysis.results.fetching import placing
from scythe_cli.analysis.results.spreadsheets import write_csv, write_workbook
from scythe_cli.errors import StorageError, UsageError, first_line
from scythe_cli.run.ledger import POLARS_ERRORS

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run


__all__ = ["check_target", "export_run", "write_frame"]


_FORMATS = {".pq": "pq", ".parquet": "pq", ".csv": "csv", ".xlsx": "xlsx"}


def export_run(
    run: Run, target: Path, table: str | None, *, ids: bool, overwrite: bool, raw_cells: bool
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


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be made, before the work is done.

    Raises:
        UsageError: If its folder does not exist, or something of that name is there already.
    """
    if not target.parent.is_dir():
        raise UsageError(f"{target}: there is no folder {target.parent}")
    if target.is_dir():
        raise UsageError(f"{target} is a folder")
    if os.path.lexists(target) and not overwrite:
        raise UsageError(f"{target} is there already", hint="Choose another name, or give --overwrite.")


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
