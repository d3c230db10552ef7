"""What the outputs of a run depend on: numbers by rank correlations, categories by the correlation ratio."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from scythe_cli.analysis.plots.influence import correlation_ratio, rank_correlation
from scythe_cli.analysis.plots.reading import Source, draw, read_xy
from scythe_cli.analysis.plots.shapes import Shape
from scythe_cli.errors import ScytheError

__all__ = ["Influences", "Picture", "read_influences", "read_scatters"]


_MAX_MATRIX = 40
_MAX_CATEGORIES = 50
_MAX_POINTS = 400
_SCATTERED_OUTPUTS = 4
_SCATTERED_INPUTS = 3
_SAMPLE_ROWS = 20_000
_FEWEST = 5
_GRID = (40, 26)


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot with what has to be said of it."""

    title: str
    note: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Influences:
    """How closely outputs (columns) follow inputs (rows).

    Attributes:
        inputs: The inputs.
        categories: Those of them that are categories, whose values are correlation ratios.
        outputs: The outputs.
        values: Spearman's rank correlation, or the correlation ratio; None where there are too few numbers.
        note: Which cases were looked at.
    """

    inputs: list[str]
    categories: frozenset[str]
    outputs: list[str]
    values: list[list[float | None]]
    note: str


def read_influences(source: Source) -> Influences | None:
    """How closely outputs follow inputs, from rows that are drawn at random where there are many."""
    tidy = source.tidy
    names = [*tidy.inputs, *tidy.features]
    numbers = source.numeric(names)
    categories = [
        name for name in names if isinstance(source.dtype(name), pl.String | pl.Boolean | pl.Categorical | pl.Enum)
    ]
    inputs = [name for name in names if name in numbers or name in categories][:_MAX_MATRIX]
    outputs = source.numeric(tidy.outputs)[:_MAX_MATRIX]
    if not inputs or not outputs or source.n_rows < _FEWEST:
        return None
    kinds = [pl.col(name).cast(pl.String if name in categories else pl.Float64) for name in inputs]
    frame = source.frame.select(*kinds, *(pl.col(name).cast(pl.Float64) for name in outputs))
    rows = draw(frame, source.n_rows, _SAMPLE_ROWS, source.seed)
    inputs = [
        name
        for name in inputs
        if (n := rows[name].n_unique()) > 1 and (name in numbers or n <= min(_MAX_CATEGORIES, rows.height // 2))
    ]
    outputs = [name for name in outputs if rows[name].n_unique() > 1]
    if not inputs or not outputs:
        return None
    values = [[_closeness(rows[a], rows[b]) for b in outputs] for a in inputs]
    drawn = f"{rows.height:,} of {source.count(source.n_rows)}, sampled with seed {source.seed}"
    note = drawn if rows.height < source.n_rows else source.count(source.n_rows)
    return Influences(inputs, frozenset(inputs) & frozenset(categories), outputs, values, note)


def _closeness(a: pl.Series, b: pl.Series) -> float | None:
    known = b.is_finite()
    if a.dtype.is_numeric():
        known &= a.is_finite()
    a, b = a.filter(known.fill_null(False)), b.filter(known.fill_null(False))
    if b.len() < _FEWEST or a.n_unique() < 2 or b.n_unique() < 2:
        return None
    return rank_correlation(a, b) if a.dtype.is_numeric() else correlation_ratio(a, b)


def read_scatters(source: Source, influences: Influences) -> list[Picture]:
    """Outputs over the inputs that they follow most closely."""
    pictures: list[Picture] = []
    for j, output in enumerate(influences.outputs[:_SCATTERED_OUTPUTS]):
        sizes = [(abs(row[j] or 0.0), name) for row, name in zip(influences.values, influences.inputs, strict=True)]
        sizes.sort(key=lambda each: -each[0])
        for _, name in sizes[:_SCATTERED_INPUTS]:
            try:
                shape, notes = read_xy(source, name, output, None, _MAX_POINTS, _GRID)
            except ScytheError:
                continue  # a column without any number
            pictures.append(Picture(f"{output} over {name}", "; ".join(notes), shape))
    return pictures
