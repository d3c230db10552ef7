"""`scythe results query` and `export`: one table made of those of a run, by SQL or as a tidy whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import (
    LatestOption,
    OverwriteOption,
    RawCellsOption,
    ResultsRunArgument,
    VersionOption,
    table_option,
)
from scythe_cli.cli.framework import Session, command
from scythe_cli.cli.results.selection import find_run, find_runs

if TYPE_CHECKING:
    from scythe_cli.analysis.records import QueryResult


__all__ = ["app", "export", "query"]


app = typer.Typer()

_ANSWER_ROWS = 20

_SqlArgument = Annotated[
    str, typer.Argument(metavar="SQL", help="One SELECT over the tables of the run; `specs` has the inputs.")
]
_AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="RUN",
        help="Include the tables of this run; repeatable. Adds the columns version and run.",
        autocompletion=complete.runs,
        show_default=False,
    ),
]
_AllVersionsOption = Annotated[
    bool, typer.Option("--all-versions", help="Include the latest run of every version of the experiment.")
]
_RowsOption = Annotated[
    int | None,
    typer.Option(
        "--rows", "-n", metavar="N", min=0, help="The number of rows to print [default: 20; with --json all]."
    ),
]
_AnswerOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write to a file: .pq, .parquet, .csv or .xlsx.", show_default=False
    ),
]
_ExportOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write: .pq, .parquet, .csv or .xlsx.")
]
_RowsOfOption = Annotated[
    str | None, table_option("Export the rows of this table, each with the inputs and outputs of its case.")
]


@command(app, "query")
def query(
    session: Session,
    sql: _SqlArgument,
    run: ResultsRunArgument = None,
    latest: LatestOption = False,
    version: VersionOption = None,
    also: _AlsoOption = None,
    all_versions: _AllVersionsOption = False,
    rows: _RowsOption = None,
    output: _AnswerOption = None,
    overwrite: OverwriteOption = False,
    raw_cells: RawCellsOption = False,
) -> None:
    """Query the tables of a run in SQL.

    DuckDB runs the query, which can read nothing but these tables.
    """
    from scythe_cli.analysis.results.query import query_file, query_head

    first = find_run(session, run, latest, version)
    runs = find_runs(session, first, also or [], all_versions)
    if output is not None:
        from scythe_cli.cli.render.table import print_files

        print_files(session.output, [query_file(runs, sql, output, overwrite=overwrite, raw_cells=raw_cells)])
        return
    result = query_head(runs, sql, rows if rows is not None or session.options.json else _ANSWER_ROWS)
    if session.options.json:
        session.output.document(result)
    else:
        _show_answer(session, result)


@command(app, "export")
def export(
    session: Session,
    output: _ExportOption,
    run: ResultsRunArgument = None,
    latest: LatestOption = False,
    version: VersionOption = None,
    table: _RowsOfOption = None,
    ids: Annotated[bool, typer.Option("--ids", help="Add the ids of the run and of its cases.")] = False,
    overwrite: OverwriteOption = False,
    raw_cells: RawCellsOption = False,
) -> None:
    """Export inputs and outputs as one tidy table."""
    from scythe_cli.cli.render.table import print_files

    stored = find_run(session, run, latest, version)
    written = stored.export(output, table, ids=ids, overwrite=overwrite, raw_cells=raw_cells)
    print_files(session.output, [written])


def _show_answer(session: Session, result: QueryResult) -> None:
    from scythe_cli.cli.render.table import answer_table
    from scythe_cli.cli.render.text import plural

    output = session.output
    if [column.name for column in result.columns] == ["explain_key", "explain_value"]:
        output.print(*(str(row["explain_value"]) for row in result.rows))
        return
    if result.columns:
        table, omitted = answer_table(result, output.width)
        output.print(table)
        if omitted:
            output.print(f"and {plural(len(omitted), 'more column')}: {', '.join(omitted)}")
    if len(result.rows) < result.n_rows or not result.rows:
        shown = f", the first {len(result.rows)}" if result.rows else ""
        output.note(f"{plural(result.n_rows, 'row')}{shown}")
