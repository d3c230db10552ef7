"""Logarithmic axes: whose values are cut into bins by their logarithms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import polars as pl

from scythe_cli.analysis.plots.shapes import Axis
from scythe_cli.errors import UsageError

__all__ = ["edges_of", "in_logarithms", "log_axis"]


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
