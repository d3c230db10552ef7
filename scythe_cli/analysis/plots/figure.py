"""A picture of a run's results, which draws itself where it is asked to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scythe_cli.analysis.files import check_target, write_whole
from scythe_cli.analysis.plots.convergence import read_convergence
from scythe_cli.analysis.plots.influence import read_influence, read_tornado
from scythe_cli.analysis.plots.interactive import gestures, notebook_spec, page_spec, page_themes
from scythe_cli.analysis.plots.reading import (
    Source,
    read_histogram,
    read_pairs,
    read_xy,
)
from scythe_cli.analysis.plots.rendering import to_html, to_png, to_svg
from scythe_cli.analysis.plots.shapes import (
    Bar,
    Bars,
    Shape,
    Swing,
    Tornado,
)
from scythe_cli.analysis.plots.terminal import text_of
from scythe_cli.analysis.plots.vega import vega_spec
from scythe_cli.analysis.records import FetchedFile
from scythe_cli.analysis.results.tables import field_texts, local_copy
from scythe_cli.analysis.results.tidy import tidy_frame
from scythe_cli.core.distribution import needs_extra
from scythe_cli.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    import altair as alt

    from scythe_cli.run.stored_run import StoredRun


__all__ = ["PLOT_FILES", "Figure", "PlotKind", "check_plot_file", "make_figure", "make_source"]


PlotKind = Literal["scatter", "hist", "pairs", "tornado", "influence", "sobol", "convergence"]

PLOT_FILES = (".png", ".svg", ".html")
_MAX_POINTS = 5_000
_PAIR_COLUMNS = 6


@dataclass(frozen=True)
class Figure:
    """A picture. A notebook shows it; `save` writes it to a file; `text` draws it with characters.

    Attributes:
        experiment_id: The run.
        kind: What kind of picture it is.
        title: Its title.
        notes: What has to be said of the rows: how many they are, and how they were drawn or counted.
        shape: The numbers.
    """

    experiment_id: str
    kind: PlotKind
    title: str
    notes: list[str]
    shape: Shape = field(repr=False)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The picture as a Vega-Lite specification, with its data."""
        return vega_spec(self.shape, self.title, self._below)

    @property
    def _below(self) -> list[str]:
        return [self.experiment_id, "; ".join(self.notes)]

    @property
    def chart(self) -> alt.Chart:
        """The picture as an Altair chart, to be changed or combined.

        Raises:
            MissingExtraError: If Altair is not installed.
        """
        with needs_extra("notebook", "a chart"):
            import altair as alt
        return alt.Chart.from_dict(self.spec)

    def text(self, width: int = 80, height: int = 20) -> str:
        """The picture as lines of text.

        Args:
            width: Columns of the terminal.
            height: Lines of the area that is drawn in.
        """
        return text_of(self.shape, width, height)

    def save(self, path: Path | str, *, overwrite: bool = False) -> FetchedFile:
        """Write the picture to a file: .png, .svg, or .html, which needs no network.

        Raises:
            UsageError: If the ending is another, or the file is there already.
            StorageError: If it cannot be written.
        """
        target = Path(path)
        check_plot_file(target, overwrite=overwrite)
        suffix = target.suffix.lower()
        if suffix == ".png":
            data = to_png(self.spec)
        else:
            data = (to_svg(self.spec) if suffix == ".svg" else self._page()).encode()
        write_whole(target, data)
        return FetchedFile(name=self.kind, path=str(target), size_bytes=len(data))

    def _page(self) -> str:
        spec = page_spec(self.shape, self.title, [self.experiment_id, *self.notes])
        return to_html(spec, self.title, gestures(self.shape), page_themes())

    def _repr_png_(self) -> bytes:
        return to_png(self.spec)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude
        spec = notebook_spec(self.shape, self.title, self._below)
        return {"application/vnd.vegalite.v5+json": spec, "text/plain": f"{self.title}\n{self.text()}"}


def check_plot_file(target: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be made, before the work is done.

    Raises:
        UsageError: If its ending is no picture's, its folder does not exist, or it is there already.
    """
    if target.suffix.lower() not in PLOT_FILES:
        raise UsageError(f"{target}: the ending of a file says its format", hint="Use .png, .svg or .html.")
    check_target(target, overwrite=overwrite)


def make_source(run: StoredRun, table: str | None = None, seed: int = 0) -> Source:
    """The rows of a run, or of one of its tables, for plots."""
    import polars as pl

    tidy = tidy_frame(run, table)
    n_rows = int(tidy.frame.select(pl.len()).collect(engine="streaming").item())
    texts = field_texts(run)
    return Source(tidy, texts, table, n_rows, seed)


def make_figure(
    run: StoredRun,
    *,
    x: str | None = None,
    y: str | None = None,
    color: str | None = None,
    kind: PlotKind | None = None,
    columns: Sequence[str] = (),
    table: str | None = None,
    bins: int | None = None,
    seed: int = 0,
    log: Collection[str] = (),
    max_points: int = _MAX_POINTS,
) -> Figure:
    """Make a picture of a run; see `Run.plot`."""
    source = make_source(run, table, seed)
    if not source.n_rows:
        hint = f"`scythe errors {run.experiment_id}` shows what went wrong."
        raise UsageError(f"{run.experiment_id} has no rows to plot", hint=hint)
    if not (kind or x or y or columns):
        kind, x, y = _telling(run, source)
        color = color if kind in ("scatter", "pairs") else None
    chosen = kind or _kind(x, y, columns)
    _check_used(chosen, x=x, y=y, color=color, columns=columns, bins=bins, log=log)
    try:
        title, shape, notes = _drawn(run, source, chosen, x, y, color, columns, bins, log, max_points)
    except NotFoundError as error:
        raise _pointed(run, source, error, [x, y, color, *columns]) from None
    return Figure(run.experiment_id, chosen, title, notes, shape)


def _pointed(run: StoredRun, source: Source, error: NotFoundError, names: Sequence[str | None]) -> NotFoundError:
    """The same error, with the table that has such a column where the specs have none."""
    import pyarrow.parquet as pq

    unknown = [name for name in names if name and name not in source.tidy.columns]
    for table, key in run.table_keys().items():
        if source.table is None and table not in ("errors", "result_file_refs", "scalars", "warnings"):
            matches = [name for name in unknown if name in pq.read_schema(local_copy(run.storage, key)).names]
            if matches:
                return NotFoundError(error.message, hint=f"The table {table} has it: --table {table} plots its rows.")
    return error


def _kind(x: str | None, y: str | None, columns: Sequence[str]) -> PlotKind:
    if x and y:
        return "scatter"
    if x or y:
        return "hist"
    return "pairs" if columns else "scatter"


def _telling(run: StoredRun, source: Source) -> tuple[PlotKind, str | None, str | None]:
    """What tells most of a run when nothing is said: what its first output depends on.

    Returns:
        The kind of picture, the column across, and the output.
    """
    import polars as pl

    outputs = source.numeric([*source.tidy.values, *source.tidy.outputs])
    inputs = source.numeric(source.tidy.inputs)
    if not outputs:
        if not inputs:
            raise UsageError(f"{run.experiment_id} has no numbers to draw")
        return "hist", inputs[0], None
    design = run.manifest.design.design if run.manifest and run.manifest.design else None
    if source.table is None and design in ("saltelli", "oat"):
        return ("sobol" if design == "saltelli" else "tornado"), None, outputs[0]
    counted = source.frame.select(pl.col(name).n_unique() for name in [*inputs, outputs[0]]).collect(engine="streaming")
    varying = [name for name in inputs if counted[name].item() > 1]
    if not varying or counted[outputs[0]].item() == 1:
        return "hist", None, outputs[0]
    return ("scatter", varying[0], outputs[0]) if len(varying) == 1 else ("influence", None, outputs[0])


_USES: dict[PlotKind, tuple[str, ...]] = {
    "scatter": ("x", "y", "color", "log"),
    "hist": ("x", "y", "bins", "log"),
    "pairs": ("color", "columns"),
    "tornado": ("y",),
    "influence": ("y",),
    "sobol": ("y",),
    "convergence": ("y",),
}


def _check_used(kind: PlotKind, **options: Any) -> None:
    unused = [name for name, value in options.items() if value and name not in _USES[kind]]
    if unused:
        name = {"columns": "column"}.get(unused[0], unused[0])
        raise UsageError(f"a {kind} plot does not take --{name}", hint=f"It takes: --{', --'.join(_USES[kind])}.")


def _drawn(
    run: StoredRun,
    source: Source,
    kind: PlotKind,
    x: str | None,
    y: str | None,
    color: str | None,
    columns: Sequence[str],
    bins: int | None,
    log: Collection[str],
    max_points: int,
) -> tuple[str, Shape, list[str]]:
    if kind == "scatter":
        if x is None or y is None:
            raise UsageError(
                f"a plot needs {'--x and --y' if x is None and y is None else '--x' if x is None else '--y'}",
                hint=f"Inputs: {_some(source.tidy.inputs)}. Outputs: {_some(source.tidy.outputs)}.",
            )
        shape, notes = read_xy(source, x, y, color, max_points, log=log)
        return f"{y} over {x}" + (f", by {color}" if color else ""), shape, notes
    if kind == "hist":
        column = x or y
        if column is None or (x and y):
            raise UsageError("a histogram is of one column", hint="Give --x or --y.")
        shape, notes = read_histogram(source, column, bins, log=bool(log))
        return f"Distribution of {column}", shape, notes
    if kind == "pairs":
        names = list(columns) or _interesting(source)
        if len(names) < 2:
            raise UsageError("a grid needs two columns of numbers", hint="Name them with --column.")
        shape, notes = read_pairs(source, names, color)
        return f"{len(names)} columns against each other", shape, notes
    if kind == "convergence":
        return read_convergence(run, y)
    output = y or _only_output(source, kind)
    source.axis(output)  # a name that does not exist is told before all else
    if kind == "influence":
        shape, notes = read_influence(source, output)
        return f"What {output} depends on", shape, notes
    if kind == "tornado":
        tornado, notes = _effects(run, source, output)
        return f"Swing of {output} with each input", tornado, notes
    return _sobol(run, output)


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _interesting(source: Source) -> list[str]:
    """Numeric outputs and inputs for a grid: half of each, as far as there are."""
    tidy = source.tidy
    outputs, inputs = source.numeric([*tidy.values, *tidy.outputs]), source.numeric(tidy.inputs)
    half = max(_PAIR_COLUMNS // 2, _PAIR_COLUMNS - len(inputs))
    shown = outputs[:half]
    return [*inputs[: _PAIR_COLUMNS - len(shown)], *shown]


def _only_output(source: Source, kind: PlotKind) -> str:
    outputs = source.numeric([*source.tidy.values, *source.tidy.outputs])
    if len(outputs) == 1:
        return outputs[0]
    raise UsageError(f"a {kind} plot needs --y, an output", hint=f"There are: {_some(outputs)}.")


def _effects(run: StoredRun, source: Source, output: str) -> tuple[Tornado, list[str]]:
    """Swings around the base of a one-at-a-time design; around the mean of all specs for any other."""
    design = run.manifest.design if run.manifest else None
    if design is None or design.design != "oat":
        return read_tornado(source, output)
    from scythe_cli.analysis.sensitivity import field_effects

    answer = field_effects(run, [output])
    effects = [effect for effect in answer.effects if effect.low is not None and effect.high is not None]
    base = next((effect.base for effect in effects if effect.base is not None), None)
    if base is None:
        return read_tornado(source, output)
    swings = [Swing(e.input, float(e.low or 0.0), float(e.high or 0.0), f"{e.low_at}", f"{e.high_at}") for e in effects]
    swings.sort(key=lambda swing: -abs(swing.high - swing.low))
    notes = [source.count(source.n_rows), "one input at a time from the base", *answer.notices]
    return Tornado(source.axis(output), base, swings, "output lowest", "output highest", "the base"), notes


def _sobol(run: StoredRun, output: str) -> tuple[str, Bars, list[str]]:
    from scythe_cli.analysis.sensitivity import sobol_indices

    try:
        answer = sobol_indices(run, [output])
    except UsageError as error:
        hint = f"{error.hint} For any run, --kind influence shows correlations." if error.hint else None
        raise UsageError(error.message, hint=hint) from None
    kept = [index for index in answer.indices if index.total is not None and index.first is not None]
    if not kept:
        raise UsageError(f"{output} does not vary")
    kept.sort(key=lambda index: -(index.total or 0.0))
    bars: list[Bar] = []
    for index in kept:
        bars.append(Bar(index.input, index.first or 0.0, index.first_low, index.first_high, "first order"))
        bars.append(Bar(index.input, index.total or 0.0, index.total_low, index.total_high, "total"))
    notes = [
        f"{answer.n_used:,} base points",
        f"lines: {answer.confidence:.0%} confidence",
        *answer.notices,
    ]
    return f"What {output} depends on", Bars(f"Sobol index of {output}", bars, signed=False), notes
