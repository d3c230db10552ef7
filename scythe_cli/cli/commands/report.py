"""`scythe report`: a run on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scythe_cli.cli.arguments import RunArgument
from scythe_cli.cli.framework import Session, command

__all__ = ["app", "report"]


app = typer.Typer()


@command(app, "report", panel="Results")
def report(
    session: Session,
    run: RunArgument = "latest",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write; an earlier report is replaced.")
    ] = Path("report.html"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file that is not a report.")
    ] = False,
) -> None:
    """Write a report on a run: one HTML file that works offline."""
    result = session.project().run(run).report(output, overwrite=overwrite)
    if session.options.json:
        session.output.document(result)
        return
    from scythe_cli.core.quantities import format_size

    size = "" if session.options.quiet else f"  ({format_size(result.size_bytes)})"
    session.output.print(f"{result.path}{size}")
    for notice in result.notices:
        session.output.note(notice)
