"""The random designs: points of the unit cube, one row for each case.

| design | points |
| --- | --- |
| `random` | independent and uniform |
| `lhs` | a Latin hypercube: on each axis, each of n equal strata has one point (McKay, Beckman and Conover 1979) |
| `sobol` | a Sobol sequence with Owen's scrambling; balanced where n is a power of two (Owen 1998) |
| `halton` | a Halton sequence with random permutations of its digits (Owen 2017); even for any n |
| `saltelli` | the blocks A, B and AB_i of Saltelli et al. (2010), from a scrambled Sobol sequence of 2 d dimensions |

All of them can be continued: the first points of a longer sequence are those of a shorter one, and a Latin hypercube is
nested in one of a multiple of its points (Qian 2009).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from scythe_cli.core.distribution import needs_extra
from scythe_cli.doe.scales import EPS, Unit
from scythe_cli.errors import UsageError

__all__ = ["base_points", "blocks", "draw_points", "is_power_of_two", "unending"]


_MAX_SOBOL_DIMENSIONS = 21_201
_PIECE = 65_536


def is_power_of_two(n: int) -> bool:
    """Whether a Sobol sequence of this length is balanced."""
    return n > 0 and n & (n - 1) == 0


def draw_points(design: str, n: int, d: int, seed: int) -> Unit:
    """Draw the points of a design.

    Args:
        design: `random`, `lhs`, `sobol`, `halton` or `saltelli`.
        n: The number of points; of `saltelli` the base points, which are the rows of each of its blocks.
        d: The number of fields that vary.
        seed: The same seed gives the same points.

    Returns:
        An array of shape (n, d), or ((d + 2) n, d) for `saltelli`, of numbers in [0, 1).

    Raises:
        UsageError: If there are more fields than the design has dimensions.
    """
    points = base_points(design, [n], d, seed)
    return blocks(points) if design == "saltelli" else points


def base_points(design: str, parts: Sequence[int], d: int, seed: int) -> Unit:
    """Draw the points that the rows of a design are made of.

    Args:
        design: `random`, `lhs`, `sobol`, `halton` or `saltelli`.
        parts: How many points it had at first, and how many were added each time that it was continued.
        d: The number of fields that vary.
        seed: The same seed gives the same points.

    Returns:
        All of them, of the first part first: an array of shape (n, d), or (n, 2 d) for `saltelli`.

    Raises:
        UsageError: If there are more fields than the design has dimensions, or a Latin hypercube is not continued to
            a multiple of its points.
    """
    with needs_extra("sample", f"the design {design}"):
        from scipy.stats import qmc

    n = sum(parts)
    if design == "random":
        return np.random.default_rng(seed).random((n, d))
    if design == "lhs":
        points = _inside(_seeded(qmc.LatinHypercube, d, seed).random(parts[0]))
        for added in parts[1:]:
            points = _nesting(points, added, seed)
        return points
    if design == "halton":
        return _inside(_seeded(qmc.Halton, d, seed).random(n))
    dimensions = 2 * d if design == "saltelli" else d
    _check_dimensions(design, d, dimensions)
    return _sobol(_seeded(qmc.Sobol, dimensions, seed), n)


def unending(design: str, first: int, d: int, seed: int) -> Iterator[Unit]:
    """The points of a design one after another, in pieces, without an end.

    Args:
        design: `random`, `lhs`, `sobol` or `halton`.
        first: The points that a Latin hypercube begins with; then it is doubled again and again.
        d: The number of fields that vary.
        seed: The same seed gives the same points, and those that `base_points` gives.

    Raises:
        UsageError: If there are more fields than the design has dimensions.
    """
    with needs_extra("sample", f"the design {design}"):
        from scipy.stats import qmc

    size = min(max(first, 1024), _PIECE)
    if design == "lhs":
        points = base_points("lhs", [first], d, seed)
        yield points
        while True:
            points = _nesting(points, len(points), seed)
            yield points[len(points) // 2 :]
    elif design == "random":
        rng = np.random.default_rng(seed)
        while True:
            yield rng.random((size, d))
    elif design == "halton":
        sequence = _seeded(qmc.Halton, d, seed)
        while True:
            yield _inside(sequence.random(size))
    else:
        _check_dimensions(design, d, d)
        sequence = _seeded(qmc.Sobol, d, seed)
        while True:
            yield _sobol(sequence, size)


def _check_dimensions(design: str, d: int, dimensions: int) -> None:
    if dimensions > _MAX_SOBOL_DIMENSIONS:
        raise UsageError(f"{d:,} fields vary, more than a Sobol sequence has dimensions for ({design})")


def _sobol(sequence: Any, n: int) -> Unit:
    with warnings.catch_warnings():
        # told by the caller, in its own words
        warnings.filterwarnings("ignore", message="The balance properties of Sobol", category=UserWarning)
        return _inside(sequence.random(n))


def _nesting(points: Unit, added: int, seed: int) -> Unit:
    """A Latin hypercube of k times as many points, the first of which are those of a smaller one.

    Each point has one of k finer strata of its own; the new points get the others, in random order.
    """
    n, d = points.shape
    total = n + added
    if total % n:
        below = total // n * n
        fitting = [str(m - n) for m in (below, below + n) if m > n]
        raise UsageError(
            f"{n:,} points of a Latin hypercube and {added:,} more are none: together they must be a multiple of {n:,}",
            hint=f"Add {' or '.join(fitting)}: -n {fitting[0]}.",
        )
    k = total // n
    rng = np.random.default_rng([seed, n, total])
    longer = np.empty((total, d))
    longer[:n] = points
    for axis in range(d):
        order = np.argsort(points[:, axis])
        # one point lies in each of the n strata, so that its rank is its stratum, whatever rounding says
        first = np.arange(n) * k
        finer = np.clip((points[order, axis] * total).astype(np.int64), first, first + k - 1)
        free = np.setdiff1d(np.arange(total), finer, assume_unique=True)
        longer[n:, axis] = (rng.permutation(free) + rng.random(added)) / total
    return _inside(longer)


def _seeded(sequence: Any, d: int, seed: int) -> Any:
    try:
        return sequence(d, scramble=True, rng=seed)
    except TypeError:  # as it was called before SciPy 1.15; the points are the same
        return sequence(d, scramble=True, seed=seed)


def _inside(points: Unit) -> Unit:
    """Points in [0, 1): rounding can give 1 itself."""
    return np.minimum(points, 1 - EPS, out=points)


def blocks(base: Unit) -> Unit:
    """A, then B, then for each field i the matrix A with column i of B, from points of twice as many dimensions."""
    n, d = base.shape[0], base.shape[1] // 2
    a, b = base[:, :d], base[:, d:]
    points = np.empty(((d + 2) * n, d))
    points[:n], points[n : 2 * n] = a, b
    for i in range(d):
        block = points[(2 + i) * n : (3 + i) * n]
        block[:] = a
        block[:, i] = b[:, i]
    return points
