"""Which inputs the outputs of chosen cases follow, by measures that any cases allow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from scythe_cli.analysis.plots.influence import correlation_ratio, rank_correlation

if TYPE_CHECKING:
    from scythe_cli.analysis.cases.frame import CaseColumn
    from scythe_cli.analysis.cases.selecting import Filters, Selection

__all__ = ["influences"]

_MAX_ROWS = 5_000
_MAX_OUTPUTS, _MAX_INPUTS = 12, 60
_MAX_CATEGORIES = 50
_FEWEST = 3


def influences(selection: Selection, filters: Filters) -> dict[str, Any]:
    """How closely each output follows each input, over a sample of the chosen cases.

    Numbers: Spearman's rank correlation, from -1 to 1; categories: the correlation ratio, from 0 to 1.

    Args:
        selection: The cases.
        filters: Which of them are chosen.

    Returns:
        `n` (the chosen cases), `used` (those of the sample), `outputs`, and `inputs`: for each that varies its name,
        whether it is of categories, and a value for each output, None where too few cases have both.
    """
    mask = selection.mask(filters)
    chosen = np.sort(selection.sample(mask, _MAX_ROWS))
    rows = selection.cases.frame[chosen]
    columns = selection.cases.columns.values()
    outputs = [
        column.name
        for column in columns
        if column.role in ("output", "feature") and column.kind == "number" and _varies(rows[column.name])
    ][:_MAX_OUTPUTS]
    inputs = [column for column in columns if column.role == "input" and _is_told(column, rows)][:_MAX_INPUTS]
    values = {name: _finite(rows[name]) for name in outputs}
    return {
        "n": selection.cases.n if mask is None else int(np.count_nonzero(mask)),
        "used": int(chosen.size),
        "outputs": outputs,
        "inputs": [
            {
                "input": column.name,
                "category": column.kind == "category",
                "values": [_closeness(column, rows[column.name], values[name]) for name in outputs],
            }
            for column in inputs
        ],
    }


def _finite(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Float64)
    return numbers.set(~numbers.is_finite(), None)


def _varies(values: pl.Series) -> bool:
    return _finite(values).drop_nulls().n_unique() > 1


def _is_told(column: CaseColumn, rows: pl.DataFrame) -> bool:
    """Whether an input varies, and is a number or one of few categories."""
    if column.kind == "category":
        return 1 < rows[column.name].n_unique() <= _MAX_CATEGORIES
    return column.kind == "number" and rows[column.name].dtype.is_numeric() and _varies(rows[column.name])


def _closeness(column: CaseColumn, inputs: pl.Series, outputs: pl.Series) -> float | None:
    known = outputs.is_not_null()
    if column.kind == "number":
        known &= _finite(inputs).is_not_null()
    a, b = inputs.filter(known), outputs.filter(known)
    if b.len() < _FEWEST or b.n_unique() < 2:
        return None
    with np.errstate(all="ignore"):
        value = correlation_ratio(a, b) if column.kind == "category" else rank_correlation(a, b)
    return value if math.isfinite(value) else None
