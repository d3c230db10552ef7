"""From the columns of a run to the numbers of a plot, in memory that does not grow with the run."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from scythe_cli.analysis.plots.bins import bin_edges, bin_of, edges_of, in_logarithms, log_axis, rice_bins
from scythe_cli.analysis.plots.shapes import (
    Axis,
    Box,
    Boxes,
    Heat,
    Histogram,
    Pairs,
    Points,
)
from scythe_cli.analysis.results.tables import FieldText
from scythe_cli.analysis.results.tidy import TidyFrame
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError, UsageError

__all__ = [
    "GRID",
    "Source",
    "draw",
    "read_histogram",
    "read_pairs",
    "read_xy",
    "short_labels",
]


_MAX_CATEGORIES = 24
GRID = (60, 40)
"""How many cells a grid of counts has, across and upwards."""

_MAX_PAIR_POINTS = 1_000


@dataclass(frozen=True, slots=True)
class Source:
    """The rows that a plot is made of.

    Attributes:
        tidy: The columns.
        texts: Units and descriptions of fields.
        table: The table whose rows they are; None for specs.
        n_rows: How many there are.
        seed: What rows are drawn with, where there are too many to show.
    """

    tidy: TidyFrame
    texts: Mapping[str, FieldText]
    table: str | None
    n_rows: int
    seed: int

    @property
    def what(self) -> str:
        """What a row is."""
        return "row" if self.table else "case"

    @property
    def frame(self) -> pl.LazyFrame:
        """The rows."""
        return self.tidy.frame

    def dtype(self, column: str) -> pl.DataType:
        """The type of a column.

        Raises:
            NotFoundError: If there is no such column.
        """
        schema = self.frame.collect_schema()
        if column not in schema:
            raise NotFoundError(f"there is no column {column!r}", hint=hint_for(column, self.tidy.columns))
        return schema[column]

    def axis(self, column: str) -> Axis:
        """A column as an axis.

        Raises:
            NotFoundError: If there is no such column.
            UsageError: If it holds what cannot be drawn.
        """
        dtype = self.dtype(column)
        text = self.texts.get(column)
        if dtype.is_nested() or dtype == pl.Binary:
            raise UsageError(f"{column} holds {dtype}, which is neither a number nor a category")
        kind: Literal["number", "time", "category"] = "category"
        if dtype.is_numeric() or dtype == pl.Duration:
            kind = "number"
        elif isinstance(dtype, pl.Date | pl.Datetime):
            kind = "time"
        return Axis(column, kind, text.unit if text else "s" if dtype == pl.Duration else None)

    def numeric(self, columns: Sequence[str]) -> list[str]:
        """Those of the columns that hold numbers."""
        return [name for name in columns if self.dtype(name).is_numeric()]

    def count(self, n: int) -> str:
        """So many rows, in words."""
        return f"{n:,} {self.what}{'' if n == 1 else 's'}{f' of {self.table}' if self.table else ''}"


def _value(axis: Axis, dtype: pl.DataType) -> pl.Expr:
    """A column as what is drawn: numbers as floats, moments as milliseconds, categories as text."""
    column = pl.col(axis.column)
    if axis.kind == "category":
        return column.cast(pl.String).fill_null("(empty)")
    if axis.kind == "time":
        return column.cast(pl.Datetime("us")).dt.epoch("ms").cast(pl.Float64)
    if dtype == pl.Duration:
        return column.dt.total_seconds(fractional=True)
    return column.cast(pl.Float64)


def _values(source: Source, *kept: str, **axes: Axis) -> pl.LazyFrame:
    """Columns `x`, `y`, …, and those that are kept; rows without a finite number in one of them are left out."""
    columns = [_value(axis, source.dtype(axis.column)).alias(name) for name, axis in axes.items()]
    frame = source.frame.select(*columns, *kept)
    for name, axis in axes.items():
        if axis.kind != "category":
            frame = frame.filter(pl.col(name).is_finite())
        if axis.log:
            frame = frame.filter(pl.col(name) > 0)
    return frame


def _count(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect(engine="streaming").item())


def draw(frame: pl.LazyFrame, n_rows: int, most: int, seed: int) -> pl.DataFrame:
    """Some rows of a frame, each as likely as the others, in their order; all when there are no more than `most`."""
    if n_rows <= most:
        return frame.collect(engine="streaming")
    chosen = np.sort(np.random.default_rng(seed).choice(n_rows, most, replace=False, shuffle=False))
    at = pl.Series("chosen", chosen, dtype=pl.UInt32)
    return (
        frame.with_row_index(":row").filter(pl.col(":row").is_in(at.implode())).drop(":row").collect(engine="streaming")
    )


def short_labels(names: Sequence[str]) -> list[str]:
    """Categories as they are shown: of paths and URIs only the file's name, where that tells them apart."""
    short = [name.rstrip("/").rpartition("/")[2] or name for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def _notes_of_omitted(source: Source, n: int, *axes: Axis) -> list[str]:
    missing = source.n_rows - n
    what = "without a positive number" if any(axis.log for axis in axes) else "without a number"
    return [f"{source.count(missing)} {what} left out"] if missing else []


def read_xy(
    source: Source,
    x: str,
    y: str,
    color: str | None,
    max_points: int,
    grid: tuple[int, int] = GRID,
    log: Collection[str] = (),
) -> tuple[Points | Heat | Boxes, list[str]]:
    """One column against another: points, a grid of counts where there are too many, boxes for categories.

    Returns:
        The shape, and what has to be said of it.
    """
    axes = {"x": source.axis(x), "y": source.axis(y)}
    if axes["y"].kind == "category":
        raise UsageError(f"{y} is not a number", hint="Put it on --x, or use it as --color.")
    axes = {name: log_axis(axis, name, log) for name, axis in axes.items()}
    if color is not None:
        axes["color"] = source.axis(color)
    frame = _values(source, **axes)
    n = _count(frame)
    notes = _notes_of_omitted(source, n, axes["x"], axes["y"])
    if axes["x"].kind == "category":
        if color is not None:
            raise UsageError(f"{x} is a category: its boxes have no color", hint="Leave --color out.")
        return _boxes(source, frame, axes["x"], axes["y"], n, notes)
    if n > max_points and color is None:
        return _heat(source, frame, axes["x"], axes["y"], n, notes, grid)
    shown = draw(frame, n, max_points, source.seed)
    if n > max_points:
        notes.insert(0, f"{max_points:,} of {source.count(n)}, sampled with seed {source.seed}")
    else:
        notes.insert(0, source.count(n))
    colors: list[Any] = []
    if color is not None:
        colors = shown["color"].to_list()
        if axes["color"].kind == "category":
            colors = _fewer(shown["color"])
    points = Points(axes["x"], axes["y"], shown["x"].to_list(), shown["y"].to_list(), axes.get("color"), colors)
    return points, notes


def _fewer(values: pl.Series, most: int = 8) -> list[str]:
    """Categories by how often they occur; the rare ones together."""
    counted = values.value_counts(sort=True)
    kept: list[str] = counted[values.name].head(most if counted.height <= most else most - 1).to_list()
    shown = dict(zip(kept, short_labels(kept), strict=True))
    return [shown.get(value, "(other)") for value in values.to_list()]


def _range(frame: pl.LazyFrame, *names: str) -> list[tuple[float, float]]:
    ends = [
        expr for name in names for expr in (pl.col(name).min().alias(f"{name}<"), pl.col(name).max().alias(f"{name}>"))
    ]
    row = frame.select(ends).collect(engine="streaming").row(0)
    if any(value is None for value in row):
        raise UsageError("there are no numbers to plot")
    return [(float(row[2 * i]), float(row[2 * i + 1])) for i in range(len(names))]


def _is_whole(source: Source, axis: Axis) -> bool:
    return axis.kind == "number" and not axis.log and source.dtype(axis.column).is_integer()


def _heat(
    source: Source, frame: pl.LazyFrame, x: Axis, y: Axis, n: int, notes: list[str], grid: tuple[int, int]
) -> tuple[Heat, list[str]]:
    frame = in_logarithms(frame, x=x, y=y)
    (x_low, x_high), (y_low, y_high) = _range(frame, "x", "y")
    x_edges = bin_edges(x_low, x_high, grid[0], whole=_is_whole(source, x))
    y_edges = bin_edges(y_low, y_high, grid[1], whole=_is_whole(source, y))
    counted = (
        frame.select(bin_of("x", x_edges).alias("i"), bin_of("y", y_edges).alias("j"))
        .group_by("i", "j")
        .agg(pl.len())
        .collect(engine="streaming")
    )
    counts = np.zeros((len(x_edges) - 1, len(y_edges) - 1), dtype=np.int64)
    counts[counted["i"].to_numpy(), counted["j"].to_numpy()] = counted["len"].to_numpy()
    notes.insert(0, f"{source.count(n)}, counted in {counts.shape[0]} × {counts.shape[1]} cells")
    return Heat(x, y, edges_of(x, x_edges), edges_of(y, y_edges), counts.tolist()), notes


def _boxes(source: Source, frame: pl.LazyFrame, x: Axis, y: Axis, n: int, notes: list[str]) -> tuple[Boxes, list[str]]:
    counted = frame.group_by("x").agg(pl.len()).sort("len", "x", descending=[True, False]).collect(engine="streaming")
    kept = counted["x"].head(_MAX_CATEGORIES)
    value = pl.col("y")
    grouped = (
        frame.filter(pl.col("x").is_in(kept.implode()))
        .group_by("x")
        .agg(
            pl.len().alias("count"),
            value.min().alias("low"),
            value.quantile(0.25, "linear").alias("quarter"),
            value.median().alias("median"),
            value.quantile(0.75, "linear").alias("three_quarters"),
            value.max().alias("high"),
        )
        .sort("x")
        .collect(engine="streaming")
    )
    boxes = [
        Box(
            label=str(row["x"]),
            count=int(row["count"]),
            low=float(row["low"]),
            quarter=float(row["quarter"]),
            median=float(row["median"]),
            three_quarters=float(row["three_quarters"]),
            high=float(row["high"]),
        )
        for row in grouped.iter_rows(named=True)
    ]
    labels = short_labels([box.label for box in boxes])
    boxes = [replace(box, label=label) for box, label in zip(boxes, labels, strict=True)]
    omitted = counted.height - len(boxes)
    notes.insert(0, f"{source.count(n)}: smallest, quartiles and largest for each {x.column}")
    if omitted:
        notes.append(f"{omitted:,} rarer values of {x.column} left out")
    return Boxes(x, y, boxes, omitted), notes


def read_histogram(
    source: Source, column: str, bins: int | None = None, *, log: bool = False, marked: str | None = None
) -> tuple[Histogram, list[str]]:
    """How often the values of a column occur.

    Args:
        source: The rows.
        column: The column.
        bins: How many bins at most; by Rice's rule, 2·n^(1/3), unless given.
        log: Whether the axis of values is logarithmic.
        marked: A column that is true in the rows that are counted by themselves as well.
    """
    axis = log_axis(source.axis(column), "x", ("x",) if log else ())
    kept = [] if marked is None else [marked]
    frame = in_logarithms(_values(source, *kept, x=axis), x=axis)
    n = _count(frame)
    notes = [source.count(n), *_notes_of_omitted(source, n, axis)]
    counting = [pl.len(), *(pl.col(name).sum().alias("marked") for name in kept)]
    if axis.kind == "category":
        counted = frame.group_by("x").agg(counting).sort("len", "x", descending=[True, False])
        counted = counted.collect(engine="streaming")
        shown = counted.head(_MAX_CATEGORIES)
        omitted = counted.height - shown.height
        if omitted:
            notes.append(f"{omitted:,} rarer values left out")
        labels = short_labels(shown["x"].to_list())
        among = shown["marked"].to_list() if marked else []
        return Histogram(axis, shown["len"].to_list(), labels=labels, omitted=omitted, marked=among), notes
    ((low, high),) = _range(frame, "x")
    n_bins = bins or rice_bins(n)
    edges = bin_edges(low, high, n_bins, whole=_is_whole(source, axis))
    counted = frame.select(bin_of("x", edges).alias("i"), *kept).group_by("i").agg(counting).collect(engine="streaming")
    counts = np.zeros((2, len(edges) - 1), dtype=np.int64)
    for row, name in zip(counts, ("len", "marked"), strict=True):
        if name in counted.columns:
            row[counted["i"].to_numpy()] = counted[name].to_numpy()
    among = counts[1].tolist() if marked else []
    return Histogram(axis, counts[0].tolist(), edges=edges_of(axis, edges), marked=among), notes


def read_pairs(source: Source, columns: Sequence[str], color: str | None) -> tuple[Pairs, list[str]]:
    """Each column against each other."""
    axes = {f"c{i}": source.axis(name) for i, name in enumerate(columns)}
    for axis in axes.values():
        if axis.kind == "category":
            raise UsageError(f"{axis.column} is not a number", hint="A grid plots numbers; --color takes a category.")
    if color is not None:
        axes["color"] = source.axis(color)
    frame = _values(source, **axes)
    n = _count(frame)
    shown = draw(frame, n, _MAX_PAIR_POINTS, source.seed)
    notes = _notes_of_omitted(source, n)
    first = (
        f"{len(shown):,} of {source.count(n)}, sampled with seed {source.seed}" if n > len(shown) else source.count(n)
    )
    notes.insert(0, first)
    names = [name for name in axes if name != "color"]
    ranks = shown.select(pl.col(names).rank())
    correlations = [[_correlation(ranks[a], ranks[b]) for b in names] for a in names]
    colors: list[Any] = []
    if color is not None:
        colors = shown["color"].to_list() if axes["color"].kind != "category" else _fewer(shown["color"])
    values = [shown[name].to_list() for name in names]
    return Pairs([axes[name] for name in names], values, correlations, axes.get("color"), colors), notes


def _correlation(a: pl.Series, b: pl.Series) -> float:
    """Pearson's correlation; 0 for a column that is the same everywhere."""
    if a.len() < 2:
        return 0.0
    x, y = a.to_numpy().astype(float), b.to_numpy().astype(float)
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size > 0 else 0.0
