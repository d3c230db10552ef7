"""Which inputs an output depends on: measures that any set of specs allows.

Sobol indices need a design that was made for them; see `scythe_cli.analysis.sensitivity`.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from scythe_cli.analysis.plots.reading import Source, draw, short_labels
from scythe_cli.analysis.plots.shapes import (
    Bar,
    Bars,
    Swing,
    Tornado,
)
from scythe_cli.errors import UsageError

__all__ = ["correlation_ratio", "rank_correlation", "read_influence", "read_tornado"]


_MAX_ROWS = 100_000
_FEW_LEVELS = 10
_MAX_CATEGORIES = 50
_SHARE = 0.1


def _sample(source: Source, y: str) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Inputs that vary, and the output as `:y`.

    Returns:
        The rows with a finite output, the inputs, and what has to be said of the rows.
    """
    axis = source.axis(y)
    if axis.kind != "number":
        raise UsageError(f"{y} is not a number", hint="Choose a numeric output with --y.")
    inputs = [name for name in source.tidy.inputs if name != y and not source.dtype(name).is_nested()]
    frame = source.frame.select(*inputs, pl.col(y).cast(pl.Float64).alias(":y")).filter(pl.col(":y").is_finite())
    n = int(frame.select(pl.len()).collect(engine="streaming").item())
    if n < 3:
        raise UsageError(f"{source.count(n)} with a number for {y}: too few to tell what it depends on")
    rows = draw(frame, n, _MAX_ROWS, source.seed)
    varying = [name for name in inputs if rows[name].n_unique() > 1]
    if not varying:
        raise UsageError("no input varies between the cases")
    note = (
        f"{rows.height:,} of {source.count(n)}, sampled with seed {source.seed}" if n > rows.height else source.count(n)
    )
    return rows, varying, [note]


def read_influence(source: Source, y: str) -> tuple[Bars, list[str]]:
    """How closely an output follows each input.

    Numbers: Spearman's rank correlation, from -1 to 1. Categories: the correlation ratio η, the square root of the
    share of the output's variance that lies between the categories, from 0 to 1.
    """
    rows, inputs, notes = _sample(source, y)
    output = rows[":y"]
    bars: list[Bar] = []
    for name in inputs:
        values = rows[name]
        if values.dtype.is_numeric():
            bars.append(Bar(name, rank_correlation(values, output)))
        elif values.n_unique() <= _MAX_CATEGORIES:
            bars.append(Bar(f"{name} (η)", correlation_ratio(values, output)))
        else:
            notes.append(f"{name} has too many values to be a category")
    bars.sort(key=lambda bar: -abs(bar.value))
    axis = source.axis(y)
    has_categories = any(bar.label.endswith("(η)") for bar in bars)
    notes.append("Spearman's rank correlation")
    if has_categories:
        notes.append("for categories the correlation ratio η")
    return Bars(f"correlation with {axis.column}", bars, signed=True), notes


def rank_correlation(a: pl.Series, b: pl.Series) -> float:
    """Spearman's rank correlation of numbers, from -1 to 1; 0 where there is none."""
    pair = pl.DataFrame({"a": a.cast(pl.Float64), "b": b}).filter(pl.col("a").is_finite())
    if pair.height < 3:
        return 0.0
    x, y = (pair[name].rank().to_numpy() for name in ("a", "b"))
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size > 0 else 0.0


def correlation_ratio(categories: pl.Series, values: pl.Series) -> float:
    """The square root of the share of the variance of values that lies between categories, from 0 to 1."""
    groups = (
        pl.DataFrame({"g": categories.cast(pl.String), "v": values}).group_by("g").agg(pl.len(), pl.col("v").mean())
    )
    means, sizes = groups["v"].to_numpy(), groups["len"].to_numpy()
    all_values = values.to_numpy()
    total = float(((all_values - all_values.mean()) ** 2).sum())
    between = float((sizes * (means - all_values.mean()) ** 2).sum())
    return math.sqrt(min(between / total, 1.0)) if total > 0 else 0.0


def read_tornado(source: Source, y: str) -> tuple[Tornado, list[str]]:
    """The mean of an output at the low and the high end of each input.

    An end is the smallest or the largest of at most ten levels, as designs have that change one input at a time; else
    the tenth of the rows with the smallest or the largest values. Of categories, the ends are those with the lowest
    and the highest mean.
    """
    rows, inputs, notes = _sample(source, y)
    middle = float(np.mean(rows[":y"].to_numpy()))
    swings: list[Swing] = []
    for name in inputs:
        swing = _swing(rows, name)
        if swing is None:
            notes.append(f"{name} has too many values to be a category")
        else:
            swings.append(swing)
    swings.sort(key=lambda swing: -abs(swing.high - swing.low))
    notes.append("ends of an input: its lowest and highest level, or tenth of the rows")
    return Tornado(source.axis(y), middle, swings, "input low", "input high"), notes


def _swing(rows: pl.DataFrame, name: str) -> Swing | None:
    values, output = rows[name], pl.col(":y")
    if values.dtype.is_numeric():
        numbers = values.cast(pl.Float64)
        finite = numbers.filter(numbers.is_finite())
        few = finite.n_unique() <= _FEW_LEVELS
        ends = (0.0, 1.0) if few else (_SHARE, 1 - _SHARE)
        low_end, high_end = (float(finite.quantile(q, "nearest") or 0.0) for q in ends)
        column = pl.col(name).cast(pl.Float64)
        low = rows.filter(column.is_finite() & (column <= low_end)).select(output.mean()).item()
        high = rows.filter(column.is_finite() & (column >= high_end)).select(output.mean()).item()
        signs = ("", "") if few else ("≤ ", "≥ ")
        return Swing(name, float(low), float(high), f"{signs[0]}{low_end:.4g}", f"{signs[1]}{high_end:.4g}")
    if values.n_unique() > _MAX_CATEGORIES:
        return None
    groups = rows.group_by(pl.col(name).cast(pl.String).fill_null("(empty)")).agg(output.mean()).sort(":y", name)
    first, last = groups.row(0), groups.row(-1)
    return Swing(name, float(first[1]), float(last[1]), *short_labels([str(first[0]), str(last[0])]))
