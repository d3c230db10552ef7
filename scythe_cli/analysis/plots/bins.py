"""Bins: how many there are, where they begin and end, and which one a value is in; also on logarithmic axes."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from scythe_cli.analysis.plots.shapes import Axis, Histogram
from scythe_cli.errors import UsageError

__all__ = ["bin_edges", "bin_of", "edges_of", "histogram_of", "in_logarithms", "log_axis", "rice_bins"]


_MAX_BINS = 60


def log_axis(axis: Axis, name: str, log: Collection[str]) -> Axis:
    """The axis, logarithmic if `log` names it.

    Raises:
        UsageError: If it has no numbers.
    """
    if name not in log:
        return axis
    if axis.kind != "number":
        raise UsageError(f"--log {name}: {axis.column} is not a number", hint="Leave --log out.")
    return replace(axis, log=True)


def in_logarithms(frame: pl.LazyFrame, **axes: Axis) -> pl.LazyFrame:
    """The columns as they are cut into bins: logarithmic ones by their logarithms."""
    return frame.with_columns(pl.col(name).log10() for name, axis in axes.items() if axis.log)


def edges_of(axis: Axis, edges: Sequence[float]) -> list[float]:
    """The edges of bins, from those of what `in_logarithms` gives."""
    return [10.0**edge for edge in edges] if axis.log else list(edges)


def rice_bins(n: int) -> int:
    """How many bins so many values have: 2·n^(1/3), from 5 to 60."""
    return min(max(math.ceil(2 * n ** (1 / 3)), 5), _MAX_BINS)


def bin_edges(low: float, high: float, bins: int, *, whole: bool = False) -> list[float]:
    """The edges of bins; bins of whole numbers have these in their middle."""
    if whole and high - low < _MAX_BINS * 50:
        width = max(math.ceil((high - low + 1) / bins), 1)
        start = math.floor(low) - 0.5
        count = math.ceil((high + 0.5 - start) / width)
        return [start + width * i for i in range(max(count, 1) + 1)]
    if high <= low:
        half = abs(low) * 0.05 or 0.5
        low, high = max(low - half, -sys.float_info.max), min(high + half, sys.float_info.max)
    if math.isinf((high - low) * bins):
        return [low * (1 - i / bins) + high * (i / bins) for i in range(bins + 1)]
    return [low + (high - low) * i / bins for i in range(bins + 1)]


def bin_of(name: str, edges: Sequence[float]) -> pl.Expr:
    """The bin of a value; the last one has its upper edge in it."""
    bins = len(edges) - 1
    width = (edges[-1] - edges[0]) / bins
    if math.isinf(width):  # each is divided before they are subtracted
        width = edges[-1] / bins - edges[0] / bins
        place = pl.col(name) / width - edges[0] / width
    else:
        place = (pl.col(name) - edges[0]) / width
    return place.floor().clip(0, bins - 1).cast(pl.Int32)


def histogram_of(values: pl.Series, axis: Axis, bins: int | None = None) -> Histogram:
    """How often the values of a series of finite numbers occur; the series is not empty.

    On a logarithmic axis they are above zero.
    """
    n = values.len()
    n_bins = bins or rice_bins(n)
    numbers = values.cast(pl.Float64).to_numpy()
    numbers = np.log10(numbers) if axis.log else numbers
    edges = bin_edges(float(numbers.min()), float(numbers.max()), n_bins)
    counts, _ = np.histogram(numbers, edges)
    return Histogram(axis, counts.tolist(), edges=edges_of(axis, edges))
