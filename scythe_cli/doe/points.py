"""The random designs: points of the unit cube, one row for each case.

| design | points |
| --- | --- |
| `random` | independent and uniform |
| `lhs` | a Latin hypercube: on each axis, each of n equal strata has one point (McKay, Beckman and Conover 1979) |
| `sobol` | a Sobol sequence with Owen's scrambling; balanced where n is a power of two (Owen 1998) |
| `saltelli` | the blocks A, B and AB_i of Saltelli et al. (2010), from a scrambled Sobol sequence of 2 d dimensions |
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from scythe_cli.core.distribution import needs_extra
from scythe_cli.doe.scales import EPS, Unit
from scythe_cli.errors import UsageError

__all__ = ["draw_points", "is_power_of_two"]


_MAX_SOBOL_DIMENSIONS = 21_201


def is_power_of_two(n: int) -> bool:
    """Whether a Sobol sequence of this length is balanced."""
    return n > 0 and n & (n - 1) == 0


def draw_points(design: str, n: int, d: int, seed: int) -> Unit:
    """Draw the points of a design.

    Args:
        design: `random`, `lhs`, `sobol` or `saltelli`.
        n: The number of points; of `saltelli` the base points, which are the rows of each of its blocks.
        d: The number of fields that vary.
        seed: The same seed gives the same points.

    Returns:
        An array of shape (n, d), or ((d + 2) n, d) for `saltelli`, of numbers in [0, 1).

    Raises:
        UsageError: If there are more fields than the design has dimensions.
    """
    with needs_extra("sample", f"the design {design}"):
        from scipy.stats import qmc

    if design == "random":
        return np.random.default_rng(seed).random((n, d))
    if design == "lhs":
        return _inside(_seeded(qmc.LatinHypercube, d, seed).random(n))
    dimensions = 2 * d if design == "saltelli" else d
    if dimensions > _MAX_SOBOL_DIMENSIONS:
        raise UsageError(f"{d:,} fields vary, more than a Sobol sequence has dimensions for ({design})")
    with warnings.catch_warnings():
        # told by the caller, in its own words
        warnings.filterwarnings("ignore", message="The balance properties of Sobol", category=UserWarning)
        points = _inside(_seeded(qmc.Sobol, dimensions, seed).random(n))
    return points if design == "sobol" else _blocks(points[:, :d], points[:, d:])


def _seeded(sequence: Any, d: int, seed: int) -> Any:
    try:
        return sequence(d, scramble=True, rng=seed)
    except TypeError:  # as it was called before SciPy 1.15; the points are the same
        return sequence(d, scramble=True, seed=seed)


def _inside(points: Unit) -> Unit:
    """Points in [0, 1): rounding can give 1 itself."""
    return np.minimum(points, 1 - EPS, out=points)


def _blocks(a: Unit, b: Unit) -> Unit:
    """A, then B, then for each field i the matrix A with column i of B."""
    n, d = a.shape
    points = np.empty(((d + 2) * n, d))
    points[:n], points[n : 2 * n] = a, b
    for i in range(d):
        block = points[(2 + i) * n : (3 + i) * n]
        block[:] = a
        block[:, i] = b[:, i]
    return points
