"""Which rows of a population are drawn: in proportion to strata, by weight, none of them twice.

Without replacement, rows are drawn one after another, each with a probability in proportion to its weight among those
that are left: they are put in the order of an exponential random number divided by the weight, and the first ones are
taken (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir", Information Processing Letters 97).
So a larger sample begins with the rows of a smaller one, and a sample can be continued. Strata get numbers of rows in
proportion to their weight, by the largest remainder.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from scythe_cli.errors import UsageError

__all__ = ["Floats", "PopulationRows", "Rows", "population_rows", "shared_out"]


Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_KEYS, _AGAIN, _ORDER = 1, 2, 3
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class PopulationRows:
    """Rows that were drawn.

    Attributes:
        rows: Their positions in the population, in the order of the sample.
        sizes: How many rows each part of the sample has, the last of which these are.
        counts: How many of these rows are of each stratum.
        room: How many rows of each stratum could be drawn.
        replaced: Whether rows were drawn with replacement.
    """

    rows: Rows
    sizes: list[int]
    counts: Rows
    room: Rows
    replaced: bool


def population_rows(
    strata: Rows, n_strata: int, weights: Floats, parts: Sequence[int], *, per_stratum: bool, seed: int
) -> PopulationRows:
    """Draw rows.

    Args:
        strata: The stratum of each row, from 0.
        n_strata: How many there are.
        weights: The weight of each row; one of 0 is never drawn.
        parts: How many rows were drawn before, part by part, and last how many are wanted.
        per_stratum: Whether these numbers are of each stratum; one that has fewer rows gives all of them.
        seed: The same seed draws the same rows.

    Raises:
        UsageError: If there are not as many rows.
    """
    room = np.bincount(strata[weights > 0], minlength=n_strata).astype(np.int64)
    n_room = int(room.sum())
    if not n_room:
        raise UsageError("no row of the population can be drawn: none has a weight above 0 and meets the conditions")
    eligible = np.flatnonzero(weights > 0)
    weights = weights / weights.max()  # sums of the largest ones would overflow
    total = np.bincount(strata, weights, n_strata).astype(np.float64)
    replaced = not per_stratum and parts[0] > n_room
    limit = np.full(n_strata, 2**62) if replaced else room
    counts = [np.zeros(n_strata, np.int64)]
    for i in range(1, len(parts) + 1):
        wanted = sum(parts[:i])
        if not per_stratum and not replaced and wanted > n_room:
            rest = n_room - int(counts[-1].sum())
            raise UsageError(
                f"{parts[i - 1]:,} rows are wanted, and {rest:,} rows of the population are left that were not drawn",
                hint=f"-n {rest} draws them all." if rest else None,
            )
        counts.append(np.minimum(wanted, room) if per_stratum else shared_out(wanted, total, limit, counts[-1]))
    sizes = [int(after.sum() - before.sum()) for before, after in pairwise(counts)]
    if not sizes[-1]:
        raise UsageError("all rows of the population have been drawn")
    before, after = counts[-2], counts[-1]
    order = _order(strata, weights, eligible, seed)
    own = strata[order]
    if replaced:
        rows = _with_replacement(order, own, weights, after - before, [seed, _AGAIN, sum(sizes[:-1])])
    else:
        ranks = np.arange(len(order)) - np.searchsorted(own, own)
        rows = order[(ranks >= before[own]) & (ranks < after[own])]
    if n_strata > 1:
        rows = np.random.default_rng([seed, _ORDER, sum(sizes[:-1])]).permutation(rows)
    return PopulationRows(rows, sizes, after - before, room, replaced)


def _order(strata: Rows, weights: Floats, eligible: Rows, seed: int) -> Rows:
    """The rows that can be drawn, by stratum, and in each in the order in which they are drawn."""
    drawn = np.random.default_rng([seed, _KEYS]).standard_exponential(len(weights))
    with np.errstate(over="ignore", divide="ignore"):
        keys = drawn[eligible] / weights[eligible]
    return eligible[np.lexsort((keys, strata[eligible]))].astype(np.int64)


def _with_replacement(order: Rows, own: Rows, weights: Floats, counts: Rows, seed: Sequence[int]) -> Rows:
    """Independent draws from each stratum, in proportion to the weights."""
    upto = np.cumsum(weights[order])
    wanted: Any = np.repeat(np.arange(len(counts)), counts)
    first, last = np.searchsorted(own, wanted), np.searchsorted(own, wanted, side="right") - 1
    low = np.where(first > 0, upto[first - 1], 0.0)
    points = low + np.random.default_rng(seed).random(len(wanted)) * (upto[last] - low)
    return np.random.default_rng([*seed, 1]).permutation(
        order[np.clip(np.searchsorted(upto, points, side="right"), first, last)]
    )


def shared_out(n: int, shares: Floats, room: Rows, have: Rows) -> Rows:
    """Numbers of rows of strata in proportion to their shares, by the largest remainder.

    Args:
        n: How many rows in all.
        shares: The share of each stratum, in any unit.
        room: The most rows of each; what is too much for one is shared out among the others.
        have: The least rows of each: those that it has already.
    """
    quota = _quota(n, shares, room)
    counts = np.maximum(have, np.floor(quota + _SLACK).astype(np.int64))
    if counts.sum() > n:
        counts = have.copy()
    heap = [(float(c - q), i) for i, (c, q) in enumerate(zip(counts, quota, strict=True)) if c < room[i]]
    heapq.heapify(heap)
    for _ in range(n - int(counts.sum())):
        excess, i = heap[0]
        counts[i] += 1
        if counts[i] < room[i]:
            heapq.heapreplace(heap, (excess + 1, i))
        else:
            heapq.heappop(heap)
    return counts


def _quota(n: int, shares: Floats, room: Rows) -> Floats:
    """Exact shares of n rows, none more than there is room for."""
    quota = np.zeros(len(shares))
    free = (shares > 0) & (room > 0)
    left = float(n)
    while free.any():
        of_free = shares[free] / shares[free].max()
        part = left * (of_free / of_free.sum())
        full = part >= room[free]
        if not full.any():
            quota[free] = part
            break
        filled = np.flatnonzero(free)[full]
        quota[filled] = room[filled]
        left -= float(room[filled].sum())
        free[filled] = False
    return quota
