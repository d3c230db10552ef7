"""`scythe results ls` and `show`: which tables a run has, and what is in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import LatestOption, ResultsRunArgument, VersionOption
from scythe_cli.cli.framework import Session, command
from scythe_cli.cli.results.selection import find_run

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run


__all__ = ["app", "ls", "show"]


app = typer.Typer()

_IDS = ("experiment_id", "workflow_run_id", "root_workflow_run_id")


@command(app, "ls")
def ls(
    session: Session, run: ResultsRunArgument = None, latest: LatestOption = False, version: VersionOption = None
) -> None:
    """List the tables of a run."""
    stored = find_run(session, run, latest, version)
    tables = stored.tables()
    _remember(stored, {record.name: () for record in tables})
    if session.options.json:
        session.output.document(tables)
        return
    from scythe_cli.cli.render.table import tables_table
    from scythe_cli.cli.render.text import facts, heading, place

    session.output.print(heading(stored.experiment_id))
    if tables:
        folder = place(tables[0].uri.rpartition("/")[0])
        session.output.print(tables_table(tables), "", facts([("folder", folder)]))
    else:
        session.output.note("it has no final tables yet; `scythe status` shows its progress")


@command(app, "show")
def show(
    session: Session,
    run: ResultsRunArgument = None,
    latest: LatestOption = False,
    version: VersionOption = None,
    table: Annotated[
        str, typer.Option("--table", "-t", metavar="NAME", help="The table.", autocompletion=complete.tables)
    ] = "scalars",
    rows: Annotated[
        int, typer.Option("--rows", "-n", metavar="N", min=0, max=10_000, help="The number of rows to print.")
    ] = 10,
    by_case: Annotated[
        bool,
        typer.Option(
            "--by-case",
            help="Sum up the replicates of each case: mean, standard deviation, interval, quantiles.",
        ),
    ] = False,
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="P", help="With --by-case: of the intervals of the mean.")
    ] = 0.95,
) -> None:
    """Show the first rows of a table and a summary of its columns."""
    stored = find_run(session, run, latest, version)
    if by_case:
        _show_cases(session, stored, rows, confidence)
        return
    summary = stored.show(table, rows)
    _remember(stored, {table: [column.name for column in summary.columns if column.name not in _IDS]})
    if session.options.json:
        session.output.document(summary)
        return
    from scythe_cli.cli.render.table import summary_lines

    session.output.print(*summary_lines(summary, session.output.width))


def _show_cases(session: Session, run: Run, rows: int, confidence: float) -> None:
    from scythe_cli.analysis.results.by_case import cases_summary

    summary = cases_summary(run, rows, confidence=confidence)
    if session.options.json:
        session.output.document(summary)
        return
    from scythe_cli.cli.render.cases import cases_lines

    session.output.print(*cases_lines(summary))


def _remember(run: Run, columns: Mapping[str, Sequence[str]]) -> None:
    """Let the shell complete tables and columns."""
    from scythe_cli.services.completions import remember_columns

    for table, names in columns.items():
        remember_columns(run.storage.location, run.layout.experiment, table, names)
