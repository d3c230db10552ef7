"""`scythe results diff`: two runs, or versions, compared."""

from __future__ import annotations

from typing import Annotated

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import SomeTablesOption, column_option
from scythe_cli.cli.framework import Session, command
from scythe_cli.cli.results.selection import find_two_runs

__all__ = ["app", "diff"]


app = typer.Typer()

_CELLS_SHOWN = 20

_OlderRun = Annotated[
    str,
    typer.Argument(
        metavar="A", help="The older run, or a version such as v1.2.0.", autocompletion=complete.runs_and_versions
    ),
]
_NewerRun = Annotated[
    str,
    typer.Argument(metavar="B", help="The newer run, or a version.", autocompletion=complete.runs_and_versions),
]
_IgnoreOption = Annotated[list[str] | None, column_option("--ignore", text="Do not compare this column; repeatable.")]
_LimitOption = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=0, help="The number of cells to print [default: 20; with --json all]."),
]


@command(app, "diff")
def diff(
    session: Session,
    a: _OlderRun,
    b: _NewerRun,
    rtol: Annotated[float, typer.Option("--rtol", metavar="X", help="Relative tolerance of numbers.")] = 0.0,
    atol: Annotated[float, typer.Option("--atol", metavar="X", help="Absolute tolerance of numbers.")] = 0.0,
    table: SomeTablesOption = None,
    ignore: _IgnoreOption = None,
    limit: _LimitOption = None,
) -> int:
    """Compare two runs case by case.

    Exits with 1 when they differ.
    """
    first, second = find_two_runs(session, a, b)
    shown = limit if limit is not None or session.options.json else _CELLS_SHOWN
    result = first.diff(second, rtol=rtol, atol=atol, tables=table or None, ignore=ignore or (), limit=shown)
    names = [run.layout.experiment for run in (first, second)]
    if names[0] != names[1]:
        session.output.note(f"these are runs of two experiments, {names[0]} and {names[1]}")
    if session.options.json:
        session.output.document(result)
    else:
        from scythe_cli.cli.render.diff import print_diff

        print_diff(session.output, result)
    return 0 if result.equal else 1
