"""`scythe results`: the final tables of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scythe_cli.cli.help import HelpfulGroup
from scythe_cli.cli.options import Session, command, group

if TYPE_CHECKING:
    from scythe_cli.records import TableSummary
    from scythe_cli.runs import Run

__all__ = ["add_to"]

_ResultsRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="latest, <experiment>, <experiment>/<version>, <experiment>/<version>/<timestamp>, or a beginning of it.",
        show_default="latest",
    ),
]
_Latest = Annotated[bool, typer.Option("--latest", help="The latest run that fits. This is the default.")]
_Version = Annotated[
    str | None,
    typer.Option(
        "--version", metavar="V", help="The latest run of this version of the experiment.", show_default=False
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    results = typer.Typer(
        cls=HelpfulGroup, no_args_is_help=True, help="List, show and fetch the final tables of a run."
    )
    group(results)
    app.add_typer(results, name="results", rich_help_panel="Results")

    @command(results, "ls")
    def ls(  # pyright: ignore[reportUnusedFunction]
        session: Session, run: _ResultsRun = None, latest: _Latest = False, version: _Version = None
    ) -> None:
        """List the tables of a run, with their sizes."""
        found = _find(session, run, latest, version)
        tables = found.tables()
        if session.options.json:
            session.output.document(tables)
            return
        from scythe_cli.cli.render import facts, heading, place, tables_table

        session.output.print(heading(found.experiment_id))
        if tables:
            folder = place(tables[0].uri.rpartition("/")[0])
            session.output.print(tables_table(tables), "", facts([("folder", folder)]))
        else:
            session.output.note("it has no final tables yet; `scythe status` shows how far it is")

    @command(results, "show")
    def show(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        run: _ResultsRun = None,
        latest: _Latest = False,
        version: _Version = None,
        table: Annotated[str, typer.Option("--table", "-t", metavar="NAME", help="Which table.")] = "scalars",
        rows: Annotated[
            int, typer.Option("--rows", "-n", metavar="N", min=0, max=10_000, help="How many rows to print.")
        ] = 10,
    ) -> None:
        """Print a table's first rows, and a summary of its columns."""
        summary = _find(session, run, latest, version).show(table, rows)
        if session.options.json:
            session.output.document(summary)
        else:
            _show_summary(session, summary)

    @command(results, "fetch")
    def fetch(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        dest: Annotated[
            Path, typer.Option("--dest", "-d", metavar="DIR", help="The folder to write to; made when it is missing.")
        ],
        run: _ResultsRun = None,
        latest: _Latest = False,
        version: _Version = None,
        file_format: Annotated[Literal["pq", "csv"], typer.Option("--format", help="Parquet as it is, or CSV.")] = "pq",
        table: Annotated[
            list[str] | None,
            typer.Option(
                "--table", "-t", metavar="NAME", help="Only this table; may be given again.", show_default=False
            ),
        ] = None,
        partial: Annotated[
            bool, typer.Option("--partial", help="Take what is there, of a run that goes on or died.")
        ] = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    ) -> None:
        """Copy the tables of a run into a folder."""
        found = _find(session, run, latest, version)
        files = found.fetch(dest, tables=table or None, format=file_format, partial=partial, overwrite=overwrite)
        if session.options.json:
            session.output.document(files)
            return
        from scythe_cli.quantities import format_size

        for file in files:
            size = "" if session.options.quiet else f"  ({format_size(file.size_bytes)})"
            session.output.print(f"{file.path}{size}")


def _find(session: Session, run: str | None, latest: bool, version: str | None) -> Run:
    """The run that RUN, `--latest` and `--version` mean together."""
    from scythe_cli.errors import UsageError

    project = session.project()
    parts = [part for part in (run or "").strip("/").split("/") if part]
    if version is None:
        if latest and len(parts) > 2:
            raise UsageError(f"--latest does not go with one run, {run}", hint="Leave one of them out.")
        return project.run("/".join(parts) or "latest")
    if latest:
        raise UsageError("--latest and --version do not go together", hint="Leave one of them out.")
    if len(parts) > 1:
        raise UsageError(f"--version does not go with {run}, which has a version", hint="Leave one of them out.")
    if not parts or parts == ["latest"]:
        names = project.experiment_names()
        if len(names) != 1:
            raise UsageError(
                "--version needs the name of an experiment", hint="Write `scythe results … NAME --version V`."
            )
        parts = names
    return project.run(f"{parts[0]}/{version if version.startswith('v') else 'v' + version}")


def _show_summary(session: Session, summary: TableSummary) -> None:
    from scythe_cli.cli.render import columns_table, head_table, heading, plural

    output = session.output
    shown = f", the first {len(summary.head)}" if len(summary.head) < summary.n_rows else ""
    output.print(heading(f"{summary.name} of {summary.experiment_id}"))
    output.print(f"{plural(summary.n_rows, 'row')}{shown}", "")
    if summary.head:
        table, left_out = head_table(summary, output.width)
        output.print(table)
        if left_out:
            output.print(f"and {plural(len(left_out), 'more column')}: a wider terminal shows more")
        output.print("")
    output.print(columns_table(summary))
