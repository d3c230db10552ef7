"""`scythe init`: a small project that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scythe_cli.cli.framework import Session, command

__all__ = ["app", "init"]


app = typer.Typer()


@command(app, "init", panel="Set up")
def init(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder, created if missing.")] = Path(),
) -> None:
    """Create a small project that runs.

    Writes an experiment, a sampling file and experiments.toml. Existing files are never overwritten.
    """
    from scythe_cli.services.scaffold import write_project

    result = write_project(folder)
    if session.options.json:
        session.output.document(result)
        return
    _render(session, result.folder, result.files, result.next_commands)
    for notice in result.notices:
        session.output.note(notice)


def _render(session: Session, folder: str, files: dict[str, str], next_commands: list[str]) -> None:
    from scythe_cli.cli.render.text import facts, heading

    session.output.print(heading(f"A project in {folder}"), facts((f"  {name}", what) for name, what in files.items()))
    session.output.print("", "Next:")
    for line in next_commands:
        session.output.print(f"  {line}")
