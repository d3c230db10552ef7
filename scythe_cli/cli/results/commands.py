"""`scythe results`: the final tables of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import RUN_HELP
from scythe_cli.cli.help import HelpfulGroup
from scythe_cli.cli.options import Session, command, group

if TYPE_CHECKING:
    from scythe_cli.analysis.plots.figure import Figure
    from scythe_cli.analysis.records import FetchedFile, QueryResult, TableSummary
    from scythe_cli.analysis.run import Run


__all__ = ["add_to"]


_ResultsRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help=RUN_HELP,
        show_default="latest",
        autocompletion=complete.runs,
    ),
]
_Latest = Annotated[bool, typer.Option("--latest", help="The latest run that fits. This is the default.")]
_Version = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="V",
        help="The latest run of this version of the experiment.",
        show_default=False,
        autocompletion=complete.versions,
    ),
]
_SomeTables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        "-t",
        metavar="NAME",
        help="Only this table; may be given again.",
        show_default=False,
        autocompletion=complete.tables,
    ),
]

_RawCells = Annotated[
    bool,
    typer.Option("--raw-cells", help="In CSV and Excel files, leave text as it is that a spreadsheet would run."),
]

_Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write to a file: .pq, .parquet, .csv or .xlsx.", show_default=False
    ),
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]
_IDS = ("experiment_id", "workflow_run_id", "root_workflow_run_id")
_ANSWER_ROWS = 20
_CELLS_SHOWN = 20
_PIPED_PLOT_WIDTH = 80


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    results = typer.Typer(
        cls=HelpfulGroup, no_args_is_help=True, help="Look at results, ask, draw, compare and fetch them."
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
        _remember(found, {record.name: () for record in tables})
        if session.options.json:
            session.output.document(tables)
            return
        from scythe_cli.cli.render.records import (
            facts,
            heading,
            place,
            tables_table,
        )

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
        table: Annotated[
            str, typer.Option("--table", "-t", metavar="NAME", help="Which table.", autocompletion=complete.tables)
        ] = "scalars",
        rows: Annotated[
            int, typer.Option("--rows", "-n", metavar="N", min=0, max=10_000, help="How many rows to print.")
        ] = 10,
    ) -> None:
        """Print a table's first rows, and a summary of its columns."""
        found = _find(session, run, latest, version)
        summary = found.show(table, rows)
        _remember(found, {table: [column.name for column in summary.columns if column.name not in _IDS]})
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
        file_format: Annotated[
            Literal["pq", "csv", "xlsx"],
            typer.Option("--format", help="Parquet as it is, CSV, or one Excel workbook."),
        ] = "pq",
        table: _SomeTables = None,
        files: Annotated[bool, typer.Option("--files", help="Copy output files too, to DIR/files/FIELD/.")] = False,
        field: Annotated[
            list[str] | None,
            typer.Option(
                "--field",
                metavar="NAME",
                help="Output files of this field only; may be given again.",
                show_default=False,
            ),
        ] = None,
        partial: Annotated[
            bool, typer.Option("--partial", help="Take what is there, of a run that goes on or died.")
        ] = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other files that are there.")] = False,
        raw_cells: _RawCells = False,
    ) -> None:
        """Copy the tables of a run into a folder; done again, it goes on where it was interrupted."""
        from scythe_cli.cli.progress import shown_fetch

        found = _find(session, run, latest, version)
        with shown_fetch(session.output) as update:
            fetched = found.fetch(
                dest,
                tables=table or None,
                format=file_format,
                files=field or files,
                partial=partial,
                overwrite=overwrite,
                raw_cells=raw_cells,
                progress=update,
            )
        _print_files(session, fetched)

    @command(results, "query")
    def query(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over the run's tables, and specs.")],
        run: _ResultsRun = None,
        latest: _Latest = False,
        version: _Version = None,
        also: Annotated[
            list[str] | None,
            typer.Option(
                "--also",
                metavar="RUN",
                help="Ask the tables of this run as well; may be given again. Tables then have the columns version "
                "and run.",
                autocompletion=complete.runs,
                show_default=False,
            ),
        ] = None,
        all_versions: Annotated[
            bool, typer.Option("--all-versions", help="Ask the latest run of every version of the experiment.")
        ] = False,
        rows: Annotated[
            int | None,
            typer.Option(
                "--rows", "-n", metavar="N", min=0, help="How many rows to print; 20 without it, all as JSON."
            ),
        ] = None,
        output: _Output = None,
        overwrite: _Overwrite = False,
        raw_cells: _RawCells = False,
    ) -> None:
        """Ask the tables of a run in SQL, by DuckDB; the query sees nothing else of this machine."""
        from scythe_cli.analysis.results.query import query_file, query_head

        found = _find(session, run, latest, version)
        runs = _further_runs(session, found, also or [], all_versions)
        if output is not None:
            _print_files(session, [query_file(runs, sql, output, overwrite=overwrite, raw_cells=raw_cells)])
            return
        result = query_head(runs, sql, rows if rows is not None or session.options.json else _ANSWER_ROWS)
        if session.options.json:
            session.output.document(result)
        else:
            _show_answer(session, result)

    @command(results, "export")
    def export(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        output: Annotated[
            Path,
            typer.Option("--output", "-o", metavar="FILE", help="The file; .pq, .parquet, .csv or .xlsx."),
        ],
        run: _ResultsRun = None,
        latest: _Latest = False,
        version: _Version = None,
        table: Annotated[
            str | None,
            typer.Option(
                "--table",
                "-t",
                metavar="NAME",
                help="The rows of this table, each with the inputs and outputs of its spec.",
                show_default=False,
                autocompletion=complete.tables,
            ),
        ] = None,
        ids: Annotated[bool, typer.Option("--ids", help="With the ids of the run and the specs.")] = False,
        overwrite: _Overwrite = False,
        raw_cells: _RawCells = False,
    ) -> None:
        """Write inputs and outputs as one tidy table."""
        found = _find(session, run, latest, version)
        written = found.export(output, table, ids=ids, overwrite=overwrite, raw_cells=raw_cells)
        _print_files(session, [written])

    @command(results, "diff")
    def diff(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        a: Annotated[
            str,
            typer.Argument(
                metavar="A",
                help="The older run, or a version such as v1.2.0.",
                autocompletion=complete.runs_and_versions,
            ),
        ],
        b: Annotated[
            str,
            typer.Argument(metavar="B", help="The newer run, or a version.", autocompletion=complete.runs_and_versions),
        ],
        rtol: Annotated[float, typer.Option("--rtol", metavar="X", help="Relative tolerance of numbers.")] = 0.0,
        atol: Annotated[float, typer.Option("--atol", metavar="X", help="Absolute tolerance of numbers.")] = 0.0,
        table: _SomeTables = None,
        ignore: Annotated[
            list[str] | None,
            typer.Option(
                "--ignore",
                metavar="COLUMN",
                help="Do not compare this column; may be given again.",
                show_default=False,
                autocompletion=complete.columns,
            ),
        ] = None,
        limit: Annotated[
            int | None,
            typer.Option("--limit", metavar="N", min=0, help="How many cells to print; else 20, as JSON all."),
        ] = None,
    ) -> int:
        """Compare two runs, spec by spec; exits with 1 when they differ."""
        first, second = _two_runs(session, a, b)
        shown = limit if limit is not None or session.options.json else _CELLS_SHOWN
        result = first.diff(second, rtol=rtol, atol=atol, tables=table or None, ignore=ignore or (), limit=shown)
        if session.options.json:
            session.output.document(result)
        else:
            from scythe_cli.cli.render.diff import print_diff

            print_diff(session.output, result)
        return 0 if result.equal else 1

    @command(results, "plot")
    def plot(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        run: _ResultsRun = None,
        latest: _Latest = False,
        version: _Version = None,
        x: Annotated[
            str | None,
            typer.Option(
                "--x",
                "-x",
                metavar="COLUMN",
                help="The column across.",
                show_default=False,
                autocompletion=complete.columns,
            ),
        ] = None,
        y: Annotated[
            str | None,
            typer.Option(
                "--y",
                "-y",
                metavar="COLUMN",
                help="The column upwards, or the output that is asked about.",
                autocompletion=complete.columns,
            ),
        ] = None,
        color: Annotated[
            str | None,
            typer.Option(
                "--color",
                "-c",
                metavar="COLUMN",
                help="The column that colors points.",
                show_default=False,
                autocompletion=complete.columns,
            ),
        ] = None,
        kind: Annotated[
            Literal["scatter", "hist", "pairs", "tornado", "influence", "sobol"] | None,
            typer.Option("--kind", "-k", help="What kind of picture; else what fits the columns.", show_default=False),
        ] = None,
        column: Annotated[
            list[str] | None,
            typer.Option(
                "--column",
                metavar="NAME",
                help="A column of a grid of pairs; may be given again.",
                show_default=False,
                autocompletion=complete.columns,
            ),
        ] = None,
        table: Annotated[
            str | None,
            typer.Option(
                "--table",
                "-t",
                metavar="NAME",
                help="Draw the rows of this table, not specs.",
                show_default=False,
                autocompletion=complete.tables,
            ),
        ] = None,
        bins: Annotated[
            int | None, typer.Option("--bins", metavar="N", min=1, max=1000, help="How many bins a histogram has.")
        ] = None,
        seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="What rows are drawn with.")] = 0,
        output: Annotated[
            Path | None,
            typer.Option(
                "--output", "-o", metavar="FILE", help="Write a .png, .svg or offline .html.", show_default=False
            ),
        ] = None,
        overwrite: _Overwrite = False,
    ) -> None:
        """Draw results: here with characters, or with -o as a picture."""
        from scythe_cli.analysis.plots.figure import check_plot_file

        if output is not None:
            check_plot_file(output, overwrite=overwrite)
        figure = _find(session, run, latest, version).plot(
            x, y, color, kind=kind, columns=column or (), table=table, bins=bins, seed=seed
        )
        _print_figure(session, figure, output, overwrite)


def _remember(run: Run, columns: Mapping[str, Sequence[str]]) -> None:
    """Let the shell complete tables and columns."""
    from scythe_cli.services.completions import remember_columns

    for table, names in columns.items():
        remember_columns(run.storage.location, run.layout.experiment, table, names)


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


def _print_figure(session: Session, figure: Figure, target: Path | None, overwrite: bool) -> None:
    from scythe_cli.analysis.records import PlotResult

    written = None if target is None else figure.save(target, overwrite=overwrite)
    output = session.output
    if output.as_json:
        output.document(
            PlotResult(
                experiment_id=figure.experiment_id,
                kind=figure.kind,
                title=figure.title,
                notes=figure.notes,
                path=written.path if written else None,
                vega_lite=figure.spec,
            )
        )
        return
    if written is not None:
        _print_files(session, [written])
        return
    from scythe_cli.cli.render.records import heading

    width = output.width or _PIPED_PLOT_WIDTH
    lines = [figure.experiment_id]
    for note in figure.notes:
        if len(lines[-1]) + 2 + len(note) <= width:
            lines[-1] += f"; {note}"
        else:
            lines.append(note)
    output.print(heading(figure.title), *lines, "", figure.text(width))


def _two_runs(session: Session, a: str, b: str) -> tuple[Run, Run]:
    """Two runs; a version alone is one of the other's experiment, or of the only one."""
    from scythe_cli.core.semver import SemVer
    from scythe_cli.errors import UsageError

    project = session.project()
    versions = [text for text in (a, b) if SemVer.parse(text) is not None]
    if not versions:
        return project.run(a), project.run(b)
    others = [text for text in (a, b) if text not in versions]
    names = [project.run(others[0]).layout.experiment] if others else sorted({v.experiment for v in project.versions()})
    if len(names) != 1:
        raise UsageError(
            f"{versions[0]} may be of several experiments" if names else f"there is no run of {versions[0]}",
            hint=f"Write it with its experiment, as {names[0]}/{versions[0]}." if names else None,
        )
    first, second = (f"{names[0]}/{text}" if text in versions else text for text in (a, b))
    return project.run(first), project.run(second)


def _further_runs(session: Session, found: Run, also: list[str], all_versions: bool) -> list[Run]:
    """The runs whose tables are asked: one, and those of `--also` and `--all-versions`; each once."""
    project = session.project()
    references = list(also)
    if all_versions:
        name = found.layout.experiment
        references += [f"{name}/{v.version}" for v in project.versions(name) if v.n_runs]
    runs = {found.experiment_id: found}
    for reference in references:
        other = project.run(reference)
        # of the version that was asked for there is a run already
        if not (all_versions and reference not in also and other.layout.version == found.layout.version):
            runs.setdefault(other.experiment_id, other)
    return list(runs.values())


def _show_answer(session: Session, result: QueryResult) -> None:
    from scythe_cli.cli.render.records import answer_table, plural

    output = session.output
    if [column.name for column in result.columns] == ["explain_key", "explain_value"]:
        output.print(*(str(row["explain_value"]) for row in result.rows))
        return
    if result.columns:
        table, left_out = answer_table(result, output.width)
        output.print(table)
        if left_out:
            output.print(f"and {plural(len(left_out), 'more column')}: {', '.join(left_out)}")
    if len(result.rows) < result.n_rows or not result.rows:
        shown = f", the first {len(result.rows)}" if result.rows else ""
        output.note(f"{plural(result.n_rows, 'row')}{shown}")


def _show_summary(session: Session, summary: TableSummary) -> None:
    from scythe_cli.cli.render.records import (
        columns_table,
        head_table,
        heading,
        plural,
    )

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
    if any(column.estimated for column in summary.columns):
        output.print("", "~ about: estimated from a part of the rows, since the table is large")


def _print_files(session: Session, files: list[FetchedFile]) -> None:
    """A line for each table, and one for each folder of output files."""
    if session.options.json:
        session.output.document(files)
        return
    from scythe_cli.cli.render.records import plural
    from scythe_cli.core.quantities import format_size

    tables = [file for file in files if "/" not in file.name]
    folders: dict[str, list[FetchedFile]] = {}
    for file in files:
        if "/" in file.name:
            folders.setdefault(str(Path(file.path).parent), []).append(file)
    lines = [(file.path, "", [file]) for file in tables]
    lines += [(f"{folder}/", f"{plural(len(inside), 'file')}, ", inside) for folder, inside in folders.items()]
    for place, count, inside in lines:
        there = sum(file.skipped for file in inside)
        skipped = "" if not there else ", there already" if there == len(inside) else f", {there:,} there already"
        size = format_size(sum(file.size_bytes for file in inside))
        session.output.print(place if session.options.quiet else f"{place}  ({count}{size}{skipped})")
    for file in files:
        for notice in file.notices:
            session.output.note(notice)
