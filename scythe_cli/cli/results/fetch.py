"""`scythe results fetch`: the tables and output files of a run, copied into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from scythe_cli.cli.arguments import (
    LatestOption,
    RawCellsOption,
    ResultsRunArgument,
    SomeTablesOption,
    VersionOption,
)
from scythe_cli.cli.framework import Session, command
from scythe_cli.cli.results.selection import find_run

__all__ = ["app", "fetch"]


app = typer.Typer()

_DestOption = Annotated[
    Path,
    typer.Option("--output", "-o", "--dest", "-d", metavar="DIR", help="The folder to write to, created if missing."),
]
_FormatOption = Annotated[
    Literal["pq", "csv", "xlsx"], typer.Option("--format", help="Parquet, CSV, or one Excel workbook.")
]
_FilesOption = Annotated[bool, typer.Option("--files", help="Also copy output files, to DIR/files/FIELD/.")]
_FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field", metavar="NAME", help="Copy output files of this field only; repeatable.", show_default=False
    ),
]
_PartialOption = Annotated[bool, typer.Option("--partial", help="Take what there is of a run that is not done.")]
_ReplaceOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]


@command(app, "fetch")
def fetch(
    session: Session,
    dest: _DestOption,
    run: ResultsRunArgument = None,
    latest: LatestOption = False,
    version: VersionOption = None,
    file_format: _FormatOption = "pq",
    table: SomeTablesOption = None,
    files: _FilesOption = False,
    field: _FieldOption = None,
    partial: _PartialOption = False,
    overwrite: _ReplaceOption = False,
    raw_cells: RawCellsOption = False,
) -> None:
    """Copy the tables of a run into a folder.

    When repeated, resumes where it was interrupted.
    """
    from scythe_cli.cli.render.table import print_files
    from scythe_cli.cli.running import shown_fetch

    stored = find_run(session, run, latest, version)
    with shown_fetch(session.output) as update:
        fetched = stored.fetch(
            dest,
            tables=table or None,
            format=file_format,
            files=field or files,
            partial=partial,
            overwrite=overwrite,
            raw_cells=raw_cells,
            progress=update,
        )
    print_files(session.output, fetched)
