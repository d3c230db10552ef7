"""`scythe results plot`: results drawn, with characters or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scythe_cli.cli.arguments import (
    LatestOption,
    OverwriteOption,
    ResultsRunArgument,
    VersionOption,
    column_option,
    table_option,
)
from scythe_cli.cli.framework import Session, command
from scythe_cli.cli.results.selection import find_run

if TYPE_CHECKING:
    from scythe_cli.analysis.plots.figure import Figure


__all__ = ["app", "plot"]


app = typer.Typer()

_PIPED_WIDTH = 80

_XOption = Annotated[str | None, column_option("--x", "-x", text="The column on the horizontal axis.")]
_YOption = Annotated[
    str | None, column_option("--y", "-y", text="The column on the vertical axis, or the output to explain.")
]
_ColorOption = Annotated[str | None, column_option("--color", "-c", text="The column that colors the points.")]
_KindOption = Annotated[
    Literal["scatter", "hist", "pairs", "tornado", "influence", "sobol", "convergence"] | None,
    typer.Option("--kind", "-k", help="The kind of plot [default: what fits the columns].", show_default=False),
]
_PairsOption = Annotated[
    list[str] | None,
    column_option("--column", metavar="NAME", text="A column for a grid of pairs; repeatable."),
]
_DrawnTableOption = Annotated[str | None, table_option("Plot the rows of this table instead of cases.")]
_BinsOption = Annotated[
    int | None, typer.Option("--bins", metavar="N", min=1, max=1000, help="The number of bins of a histogram.")
]
_LogOption = Annotated[
    str | None, typer.Option("--log", metavar="AXES", help="Logarithmic axes: x, y or x,y.", show_default=False)
]
_SeedOption = Annotated[
    int, typer.Option("--seed", metavar="S", min=0, help="Seed for choosing rows, where there are too many.")
]
_PictureOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write a .png, .svg or offline .html file.", show_default=False
    ),
]


@command(app, "plot")
def plot(
    session: Session,
    run: ResultsRunArgument = None,
    latest: LatestOption = False,
    version: VersionOption = None,
    x: _XOption = None,
    y: _YOption = None,
    color: _ColorOption = None,
    kind: _KindOption = None,
    column: _PairsOption = None,
    table: _DrawnTableOption = None,
    bins: _BinsOption = None,
    log: _LogOption = None,
    seed: _SeedOption = 0,
    output: _PictureOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Plot results in the terminal, or to a file.

    Without options, shows what the first output depends on.
    """
    from scythe_cli.analysis.plots.figure import check_plot_file

    if output is not None:
        check_plot_file(output, overwrite=overwrite)
    figure = find_run(session, run, latest, version).plot(
        x, y, color, kind=kind, columns=column or (), table=table, bins=bins, seed=seed, log=_axes(log)
    )
    _show_figure(session, figure, output, overwrite)


def _axes(text: str | None) -> list[str]:
    from scythe_cli.errors import UsageError

    names = [name.strip().lower() for name in (text or "").split(",") if name.strip()]
    wrong = [name for name in names if name not in ("x", "y")]
    if wrong or (text is not None and not names):
        raise UsageError(f"--log {text}: axes are x and y", hint="Write --log x, --log y or --log x,y.")
    return names


def _show_figure(session: Session, figure: Figure, target: Path | None, overwrite: bool) -> None:
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
        from scythe_cli.cli.render.table import print_files

        print_files(session.output, [written])
        return
    from scythe_cli.cli.render.text import heading

    width = output.width or _PIPED_WIDTH
    lines = [figure.experiment_id]
    for note in figure.notes:
        if len(lines[-1]) + 2 + len(note) <= width:
            lines[-1] += f"; {note}"
        else:
            lines.append(note)
    output.print(heading(figure.title), *lines, "", figure.text(width))
