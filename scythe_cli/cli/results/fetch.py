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
    Path, typer.Option("--dest", "-d", metavar="DIR", help="The folder to write to; made when it is missing.")
]
_FormatOption = Annotated[
    Literal["pq", "csv", "xlsx"], typer.Option("--format", help="Parquet as it is, CSV, or one Excel workbook.")
]
_FilesOption = Annotated[bool, typer.Option("--files", help="Copy output files too, to DIR/files/FIELD/.")]
_FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field", metavar="NAME", help="Output files of this field only; may be given again.", show_default=False
    ),
]
_PartialOption = Annotated[bool, typer.Option("--partial", help="Take what is there, of a run that goes on or died.")]
_ReplaceOption = Annotated[bool, typer.Option("--overwrite", help="Replace other files that are there.")]


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
    """Copy the tables of a run into a folder; done again, it goes on where it was interrupted."""
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
