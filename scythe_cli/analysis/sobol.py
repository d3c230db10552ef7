"""Estimators of Sobol indices: from a model's values on the blocks of a Saltelli design to shares of the variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "SobolEstimates", "sobol_from_blocks"]


Floats = npt.NDArray[np.float64]

_GROUPS = 4096
"""The bootstrap resamples at most this many groups of base points: with more points, more rows say nothing more."""


@dataclass(frozen=True, slots=True)
class SobolEstimates:
    """Estimates of Sobol indices; arrays of shape (d,), intervals of shape (2, d) with lower ends first.

    Attributes:
        first: First-order indices.
        total: Total-order indices.
        first_interval: Confidence intervals of the first.
        total_interval: Confidence intervals of the total.
    """

    first: Floats
    total: Floats
    first_interval: Floats
    total_interval: Floats


def sobol_from_blocks(
    f_a: npt.ArrayLike,
    f_b: npt.ArrayLike,
    f_ab: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    n_resamples: int = 200,
    seed: int = 0,
) -> SobolEstimates:
    """Estimate Sobol indices from a model's values on the blocks of a Saltelli design.

    First order: formula (b) of table 2 in Saltelli et al. (2010), "Variance based sensitivity analysis of model output.
    Design and estimator for the total sensitivity index", Computer Physics Communications 181. Total order: formula
    (f) there, after Jansen (1999). Values are centred first, as it lowers the variance of the estimate and changes
    nothing else. Intervals are percentiles of a bootstrap over base points; they are no more than a measure of how far
    the estimates would scatter, and reach below 0 and above 1 where these do.

    Args:
        f_a: Values on the block A, shape (n,).
        f_b: Values on the block B, shape (n,).
        f_ab: Values on the blocks AB_i, which are A with column i of B; shape (d, n).
        confidence: Of the intervals.
        n_resamples: Resamples of the bootstrap.
        seed: For the bootstrap.

    Returns:
        The estimates; NaN where the values do not vary.

    Raises:
        ValueError: If the shapes do not fit, or there are less than two base points.
    """
    a, b, ab = np.asarray(f_a, np.float64), np.asarray(f_b, np.float64), np.asarray(f_ab, np.float64)
    if a.ndim != 1 or a.shape != b.shape or ab.ndim != 2 or ab.shape[1:] != a.shape or len(a) < 2:
        raise ValueError(f"blocks of shapes {a.shape}, {b.shape} and {ab.shape}; expected (n,), (n,) and (d, n)")
    n, d = len(a), len(ab)
    mean = (a.mean() + b.mean()) / 2
    a, b, ab = a - mean, b - mean, ab - mean
    # what both estimators are made of are means over base points: of d products, d squares, values and their squares
    terms = np.vstack([b * (ab - a), (a - ab) ** 2 / 2, (a + b) / 2, (a**2 + b**2) / 2])
    first, total = _estimates(terms.mean(axis=1)[:, None], d)
    groups, sizes = _grouped(terms, n)
    rng = np.random.default_rng(seed)
    n_groups = len(sizes)
    resampled = np.empty((len(terms), n_resamples))
    for i in range(n_resamples):
        weights = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
        resampled[:, i] = groups @ weights / (sizes @ weights)
    firsts, totals = _estimates(resampled, d)
    ends = [50 * (1 - confidence), 50 * (1 + confidence)]
    return SobolEstimates(
        first=first[:, 0],
        total=total[:, 0],
        first_interval=np.percentile(firsts, ends, axis=1),
        total_interval=np.percentile(totals, ends, axis=1),
    )


def _estimates(means: Floats, d: int) -> tuple[Floats, Floats]:
    """First and total order from the means of the terms, for several samples at once; shapes (d, samples)."""
    variance = means[2 * d + 1] - means[2 * d] ** 2
    # of values that do not vary, rounding leaves a little
    variance = np.where(variance > 1e-24 * np.abs(means[2 * d + 1]), variance, np.nan)
    return means[:d] / variance, means[d : 2 * d] / variance


def _grouped(terms: Floats, n: int) -> tuple[Floats, Floats]:
    """Sums of the terms over groups of base points, and how many are in each."""
    n_groups = min(n, _GROUPS)
    whole = n // n_groups * n_groups
    groups = terms[:, :whole].reshape(len(terms), -1, n_groups).sum(axis=1)
    groups[:, : n - whole] += terms[:, whole:]
    sizes = np.full(n_groups, float(n // n_groups))
    sizes[: n - whole] += 1
    return groups, sizes
