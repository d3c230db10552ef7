"""Which cases to run next, so that predictions get better where they are bad.

Candidates fill the space evenly. Of a Gaussian process, the one is chosen that would take away most of the variance at
all candidates, weighted by how far off the process was with held-out cases near them, by stratum and by output as far
as their targets are missed. Of gradient boosting, the one where held-out errors and the distance to known cases are
largest. Both count less where cases fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from scythe_cli.analysis.surrogate.assessing import Assessment
from scythe_cli.analysis.surrogate.failures import Failures
from scythe_cli.analysis.surrogate.fitting import Fit, HeldOut
from scythe_cli.analysis.surrogate.libraries import NearestNeighbors, cdist, qmc
from scythe_cli.analysis.surrogate.space import Floats, Point, Space

__all__ = ["candidates_of", "choose", "outer_points"]


_CANDIDATES = 1024
_MOST_OF_GRID = 2048
_OUTER = 512
_AT_END = 0.3
_MET = 0.05
_LIKELY = 0.5
"""Where cases fail more often than not, none is chosen as long as there are others."""


def candidates_of(
    space: Space, known: set[tuple[Any, ...]], pool: Sequence[Point] | None, *, seed: Sequence[int]
) -> list[Point]:
    """Points that can be chosen: those of the pool, else points that fill the space; none that is known.

    Args:
        space: The fields that vary.
        known: The keys of the points that there are.
        pool: The only points that can be chosen, if they are few.
        seed: What they follow from.
    """
    if pool is not None:
        points: Sequence[Point] = pool
        if len(pool) > _MOST_OF_GRID:
            left = [point for point in pool if space.key(point) not in known]
            order = np.random.default_rng([*seed, 1]).permutation(len(left))[:_CANDIDATES]
            points = [left[i] for i in sorted(order)]
    elif space.n_points <= _MOST_OF_GRID:
        points = _grid(space)
    else:
        points = space.points(_filling(len(space.dimensions), _CANDIDATES, seed))
    unique: dict[tuple[Any, ...], Point] = {}
    for point in points:
        key = space.key(point)
        if key not in known:
            unique.setdefault(key, point)
    return list(unique.values())


def _filling(d: int, n: int, seed: Sequence[int]) -> Floats:
    return qmc.Sobol(d, rng=np.random.default_rng([*seed, 2])).random(n)


def outer_points(
    space: Space, known: set[tuple[Any, ...]], pool: Sequence[Point] | None, *, seed: Sequence[int]
) -> list[Point]:
    """Further points that can be chosen, near edges and corners, where a case tells most of slopes.

    Few of the points that fill a space of many fields lie there. There are none where candidates are all points.

    Args:
        space: The fields that vary.
        known: The keys of the points that there are.
        pool: The only points that can be chosen, if they are few.
        seed: What they follow from.
    """
    if pool is not None or space.n_points <= _MOST_OF_GRID:
        return []
    units = _filling(len(space.dimensions), _OUTER, [*seed, 3])
    stretched = np.sin(0.5 * math.pi * units) ** 2
    ends = np.random.default_rng([*seed, 4]).random(units.shape) < _AT_END
    has_ends = np.array([dimension.values is None for dimension in space.dimensions])
    stretched = np.where(has_ends, np.where(ends, np.round(units), stretched), units)
    unique = {space.key(point): point for point in space.points(stretched)}
    return [point for key, point in unique.items() if key not in known]


def _grid(space: Space) -> list[Point]:
    columns = [
        d.values if d.values is not None else d.at(np.linspace(0.0, 1.0, int(d.n_values))) for d in space.dimensions
    ]
    return [dict(zip(space.names, cells, strict=True)) for cells in product(*columns)]


def choose(
    found: Assessment,
    candidates: Sequence[Point],
    fields: Sequence[str],
    n: int,
    *,
    seed: Sequence[int],
    also: Sequence[Point] = (),
) -> list[Point]:
    """The candidates that are worth most.

    Args:
        found: What is known.
        candidates: What there is to choose from.
        fields: The fields whose values divide the cases into strata.
        n: How many; fewer where there are no more.
        seed: What random numbers follow from.
        also: Further candidates, which can be chosen and at which nothing is to be predicted.
    """
    cases = found.cases
    if len(candidates) <= n:
        return list(candidates)
    matters = np.arange(len(candidates) + len(also)) < len(candidates)
    candidates = [*candidates, *also]
    x = cases.space.coordinates(candidates)
    success = Failures.learned(cases.x, cases.usable, cases.space.groups, seed=seed).success(x)
    strata = [tuple(point[name] for name in fields) for point in candidates]
    scores: list[_Boosted | _Gaussian] = []
    for output, fit in found.fits.items():
        weights = np.where(matters, success * _priorities(found, output, strata), 0.0)
        if fit.process is not None:
            scores.append(_Gaussian.of(fit, found.predicted[output], x, weights))
        else:
            scores.append(_Boosted.of(fit, cases.x, x, weights))
    is_open = success > _LIKELY if (success > _LIKELY).sum() >= n else np.ones(len(x), np.bool_)
    chosen: list[int] = []
    while len(chosen) < n:
        worth = sum((score.worth() for score in scores), np.zeros(len(x)))
        # to tell of success and failure apart, a case has to be run: what may fail counts less, and not nothing
        worth = np.where(is_open, worth * success, -math.inf)
        best = int(np.argmax(worth))
        chosen.append(best)
        is_open[best] = False
        for score in scores:
            score.take(best)
    return [candidates[i] for i in chosen]


def _priorities(found: Assessment, output: str, strata: Sequence[tuple[Any, ...]]) -> Floats:
    """How much predictions at each candidate matter: as far as targets are missed, little where they hold."""
    by_stratum: dict[tuple[Any, ...], float] = {}
    for standing in found.standings:
        if standing.target.output == output:
            ratio = standing.ratio if math.isfinite(standing.ratio) else 100.0
            priority = _MET if ratio <= 1 else min(ratio, 100.0) ** 2
            by_stratum[standing.stratum] = max(priority, by_stratum.get(standing.stratum, 0.0))
    if not by_stratum:
        return np.ones(len(strata))
    whole = by_stratum.get((), 1.0)
    return np.array([by_stratum.get(stratum, whole) for stratum in strata])


@dataclass(slots=True)
class _Gaussian:
    """What candidates are worth for a Gaussian process.

    Attributes:
        covariance: Of the candidates, with those known that have been chosen.
        weights: How much predictions at each candidate matter.
        nugget: What a case itself does not tell.
        unit: What worth is measured in.
    """

    covariance: Floats
    weights: Floats
    nugget: float
    unit: float

    @classmethod
    def of(cls, fit: Fit, out: HeldOut, x: Floats, weights: Floats) -> _Gaussian:
        process = fit.process
        assert process is not None
        covariance, slopes = process.covariance(x)
        # where outputs are seen by their logarithms, the same doubt is of more where they are large
        weights = weights * _local(fit, out, x) * (slopes / slopes.mean()) ** 2
        # outputs have different units: what counts is which share of its own uncertainty a case takes away
        unit = float(np.maximum(np.diag(covariance), 0.0).sum())
        return cls(covariance, weights, process.hyper.nugget + 1e-9, max(unit, 1e-300))

    def worth(self) -> Floats:
        own = np.maximum(np.diag(self.covariance), 0.0) + self.nugget
        return (self.weights @ (self.covariance * self.covariance)) / own / self.unit

    def take(self, at: int) -> None:
        column = self.covariance[:, at].copy()
        self.covariance -= np.outer(column, column) / (max(column[at], 0.0) + self.nugget)


def _local(fit: Fit, out: HeldOut, x: Floats) -> Floats:
    """How far off held-out cases near candidates were, compared with what the process thought."""
    process = fit.process
    assert process is not None
    deviations = np.maximum(out.deviations, 1e-12 + 1e-6 * float(out.deviations.max(initial=0.0)))
    off = np.clip((fit.errors / deviations) ** 2, 0.1, 10.0)
    distances: Any = cdist(process.scaled(x), process.scaled(fit.x), "sqeuclidean")
    near = 1.0 / (distances + 1e-3) ** 2
    return (near @ off) / near.sum(1)


@dataclass(slots=True)
class _Boosted:
    """What candidates are worth for gradient boosting.

    Attributes:
        x: The candidates.
        errors: How far off predictions are thought to be, by weight.
        distances: How far each is from the nearest case that is known or chosen.
    """

    x: Floats
    errors: Floats
    distances: Floats

    @classmethod
    def of(cls, fit: Fit, known: Floats, x: Floats, weights: Floats) -> _Boosted:
        near: Any = NearestNeighbors(n_neighbors=1).fit(known)
        errors = fit.predict(x)[1]
        top = float(errors.max(initial=0.0))
        return cls(x, np.sqrt(weights) * (errors / top if top > 0 else 1.0), near.kneighbors(x)[0][:, 0])

    def worth(self) -> Floats:
        return self.errors * self.distances

    def take(self, at: int) -> None:
        self.distances = np.minimum(self.distances, np.sqrt(((self.x - self.x[at]) ** 2).sum(1)))
