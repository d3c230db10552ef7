"""How evenly a design fills the space of its fields, and how far its fields go together."""

from __future__ import annotations

import numpy as np

from scythe_cli.core.distribution import needs_extra
from scythe_cli.doe.scales import Unit
from scythe_cli.run.design_record import SampleQuality

__all__ = ["EXACT_ROWS", "quality_of"]


EXACT_ROWS = 2_048
"""The discrepancy takes time with the square of the rows: of larger designs, it is that of this many of them."""

_CHUNK = 100_000


def quality_of(points: Unit, names: list[str], *, is_sequence: bool, discrepancy: bool = True) -> SampleQuality:
    """Measure a design by its points in the unit cube.

    The discrepancy is the squared centered L2 discrepancy (Hickernell 1998). Of n independent uniform points it is
    ((5/4)^d − (13/12)^d) / n on average (Fang, Li and Sudjianto 2006, section 3.2), which a good design is far below.

    Args:
        points: Points of shape (n, d), in [0, 1).
        names: The fields.
        is_sequence: Whether the first points of the design are a design of the same kind, as those of a Sobol sequence.
        discrepancy: Whether it is wanted.
    """
    n, d = points.shape
    correlation, pair = _largest_correlation(points)
    value = expected = rows = None
    if discrepancy and n > 1:
        with needs_extra("sample", "the discrepancy of a design"):
            from scipy.stats import qmc

        chosen = points[: min(n, EXACT_ROWS)]
        if n > EXACT_ROWS and not is_sequence:
            chosen = points[np.random.default_rng(0).choice(n, EXACT_ROWS, replace=False)]
        rows = len(chosen)
        value = float(qmc.discrepancy(np.ascontiguousarray(chosen), method="CD"))
        expected = float(((5 / 4) ** d - (13 / 12) ** d) / rows)
    return SampleQuality(
        discrepancy=value,
        discrepancy_of_random=expected,
        discrepancy_rows=rows,
        max_correlation=correlation,
        max_correlation_fields=None if pair is None else [names[pair[0]], names[pair[1]]],
    )


def _largest_correlation(points: Unit) -> tuple[float | None, tuple[int, int] | None]:
    """The largest Pearson correlation of two fields by its size, and of which; None where no two of them vary."""
    n, d = points.shape
    if d < 2 or n < 2:
        return None, None
    means = points.mean(axis=0)
    products = np.zeros((d, d))
    # in pieces, so that no second copy of all the points is made
    for start in range(0, n, _CHUNK):
        centred = points[start : start + _CHUNK] - means
        products += centred.T @ centred
    deviations = np.sqrt(np.diag(products))
    if (deviations > 0).sum() < 2:
        return None, None
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = products / np.outer(deviations, deviations)
    correlations = np.where(np.isfinite(correlations), correlations, 0.0)
    np.fill_diagonal(correlations, 0.0)
    first, second = divmod(int(np.abs(correlations).argmax()), d)
    # of fields that cannot be combined at all, rounding leaves a little
    return round(float(correlations[first, second]), 12) + 0.0, (first, second)
