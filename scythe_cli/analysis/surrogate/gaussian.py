"""Gaussian processes: what they learn from some hundred cases, how sure they are, and what each case would add.

The hyperparameters are those of the greatest likelihood, with a weak prior of long lengths; so are the kernel, and
whether fields and outputs are seen by their logarithms. They are plain numbers, from which and from the data everything
else follows, so that a model needs no pickle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from scythe_cli.analysis.surrogate.kernels import (
    KERNELS,
    SHARED,
    Hyperparameters,
    Kernel,
    bent,
    likeness,
    pair_likeness,
    pair_squares,
)
from scythe_cli.analysis.surrogate.libraries import LinAlgError, cho_solve, cholesky, minimize, solve_triangular
from scythe_cli.analysis.surrogate.space import Floats

__all__ = ["GaussianProcess", "fit_gaussian"]


_LENGTHS = (0.02, 50.0)
_NUGGETS = (1e-10, 1.0)
_SHARES = (1e-3, 1e4)
_SHARE_WIDTH = 2.0
_ITERATIONS = 80

_CHOOSING_ROWS = 200
"""Of more cases, so many are drawn to choose what is looked for in all: each search takes their third power."""

_SHARED_FIELDS = 20
"""Kernels with shares are tried up to so many fields: they take as much memory for each as the others for all."""

_BENT = 1.5
"""A field's logarithm is tried where its greatest value is so many times the least; below, there is no difference."""


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A fitted process.

    Attributes:
        hyper: Its hyperparameters.
        groups: For each coordinate the position of its field.
        x: The coordinates of the cases.
        y: Their outputs.
        mean: Of outputs, as they are seen.
        variance: Of outputs, as they are seen.
    """

    hyper: Hyperparameters
    groups: npt.NDArray[np.int64]
    x: Floats
    y: Floats
    _scaled: Floats = field(repr=False)
    _factor: Floats = field(repr=False)
    _alpha: Floats = field(repr=False)
    _ones: Floats = field(repr=False)
    mean: float
    variance: float

    @classmethod
    def of(cls, hyper: Hyperparameters, groups: npt.NDArray[np.int64], x: Floats, y: Floats) -> GaussianProcess:
        """The process of known hyperparameters."""
        scaled = bent(x, hyper.ratios, groups) / np.array(hyper.lengths)[groups]
        seen = hyper.seen(y)
        factor = _factored(likeness(hyper, groups, scaled, scaled), hyper.nugget)
        ones = cho_solve((factor, True), np.ones(len(y)))
        mean = float((ones @ seen) / ones.sum())
        alpha = cho_solve((factor, True), seen - mean)
        variance = max(float((seen - mean) @ alpha) / len(y), 1e-300)
        return cls(hyper, groups, x, y, scaled, factor, alpha, ones, mean, variance)

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Means and standard deviations at coordinates."""
        alike = self._to(self.scaled(x))
        means, slopes = self.hyper.meant(self.mean + alike @ self._alpha)
        half = solve_triangular(self._factor, alike.T, lower=True)
        trend = 1.0 - alike @ self._ones
        spread = 1.0 - (half * half).sum(0) + trend**2 / self._ones.sum()
        return means, slopes * np.sqrt(self.variance * np.maximum(spread, 0.0))

    def covariance(self, x: Floats) -> tuple[Floats, Floats]:
        """The covariance at coordinates where the cases are known, and how much outputs change with what it is of.

        It is of outputs as they are seen, in units of the variance.
        """
        scaled = self.scaled(x)
        alike = self._to(scaled)
        half = solve_triangular(self._factor, alike.T, lower=True)
        trend = 1.0 - alike @ self._ones
        prior = likeness(self.hyper, self.groups, scaled, scaled)
        _, slopes = self.hyper.meant(self.mean + alike @ self._alpha)
        return prior - half.T @ half + np.outer(trend, trend) / self._ones.sum(), slopes

    def held_out(self, folds: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """What each case would be predicted as from the other folds, with the same hyperparameters; with deviations."""
        means, deviations = np.empty(len(self.y)), np.empty(len(self.y))
        for fold in np.unique(folds):
            out = folds == fold
            part = GaussianProcess.of(self.hyper, self.groups, self.x[~out], self.y[~out])
            means[out], deviations[out] = part.predict(self.x[out])
        return means, deviations

    def scaled(self, x: Floats) -> Floats:
        """Coordinates as they are seen, in units of the lengths."""
        return bent(x, self.hyper.ratios, self.groups) / np.array(self.hyper.lengths)[self.groups]

    def _to(self, scaled: Floats) -> Floats:
        return likeness(self.hyper, self.groups, scaled, self._scaled)


def _factored(alike: Floats, nugget: float) -> Floats:
    """The lower Cholesky factor; where rounding is in the way, with as much more on the diagonal as it takes."""
    n = len(alike)
    for extra in (0.0, 1e-10, 1e-8, 1e-6, 1e-4):
        try:
            return cast("Floats", cholesky(alike + (nugget + extra) * np.eye(n), lower=True, check_finite=False))
        except LinAlgError:
            continue
    return cast("Floats", cholesky(alike + 1e-2 * np.eye(n), lower=True))


def fit_gaussian(
    x: Floats,
    y: Floats,
    groups: npt.NDArray[np.int64],
    *,
    seed: Sequence[int],
    ratios: Sequence[float] = (),
    kernels: Sequence[Kernel] = KERNELS,
    n_starts: int = 2,
    begin: Hyperparameters | None = None,
) -> GaussianProcess:
    """Find the hyperparameters of cases.

    Args:
        x: Coordinates, a row for each case.
        y: Outputs, which are not all the same.
        groups: For each coordinate the position of its field.
        seed: What random starts of the search follow from.
        ratios: The greatest value of each field divided by its least, where its logarithm is to be tried; 1 for others.
        kernels: Those to choose from.
        n_starts: How many searches there are for each kernel.
        begin: Where to begin; then there is one search, and neither another kernel nor other logarithms.
    """
    if begin is not None:
        return GaussianProcess.of(_search(_Seen.of(x, y, groups, begin), begin)[1], groups, x, y)
    d = int(groups.max()) + 1
    draws = np.random.default_rng([*seed, len(y)])
    begins = [
        Hyperparameters("rbf", (0.6 * math.sqrt(d),) * d, 1e-6),
        *(
            Hyperparameters("rbf", tuple(map(float, np.exp(draws.uniform(math.log(0.1), math.log(3.0), d)))), 1e-4)
            for _ in range(n_starts - 1)
        ),
    ]
    few = slice(None)
    if len(y) > _CHOOSING_ROWS:
        few = np.sort(np.random.default_rng([*seed, len(y), 1]).permutation(len(y))[:_CHOOSING_ROWS])
        if float(np.ptp(y[few])) == 0:
            few = slice(None)
    found = _chosen(x[few], y[few], groups, _views(y, ratios), begins, [k for k in kernels if _is_tried(k, d)])
    if not isinstance(few, slice):
        _, found = _search(_Seen.of(x, y, groups, found), found)
    return GaussianProcess.of(found, groups, x, y)


def _is_tried(kernel: Kernel, d: int) -> bool:
    return kernel not in SHARED or 1 < d <= _SHARED_FIELDS


def _views(y: Floats, ratios: Sequence[float]) -> list[tuple[int, tuple[float, ...]]]:
    """How outputs and fields can be seen: the sign of outputs that have logarithms, and the ratios of such fields."""
    sign = 1 if y.min() > 0 else -1 if y.max() < 0 else 0
    bends = tuple(ratio if math.isfinite(ratio) and ratio >= _BENT else 1.0 for ratio in ratios)
    return list(product(sorted({0, sign}), [(), bends] if any(ratio > 1.0 for ratio in bends) else [()]))


def _chosen(
    x: Floats,
    y: Floats,
    groups: npt.NDArray[np.int64],
    views: Sequence[tuple[int, tuple[float, ...]]],
    begins: Sequence[Hyperparameters],
    kernels: Sequence[Kernel],
) -> Hyperparameters:
    """The likeliest: how cases are seen is chosen with the first kernel, since all others would say the same."""
    found: list[tuple[float, Hyperparameters]] = []
    seen: dict[tuple[int, tuple[float, ...]], _Seen] = {}
    for sign, bends in views:
        start = replace(begins[0], kernel=kernels[0], sign=sign, ratios=bends)
        seen[sign, bends] = _Seen.of(x, y, groups, start)
        found.append(_search(seen[sign, bends], start))
    _, best = min(found, key=lambda each: each[0])
    own = seen[best.sign, best.ratios]
    for kernel in kernels:
        shares = (1.0,) * len(best.lengths) if kernel in SHARED else ()
        for start in begins[1:] if kernel == kernels[0] else begins:
            begin = replace(start, kernel=kernel, shares=shares, sign=best.sign, ratios=best.ratios)
            found.append(_search(own, begin))
    return min(found, key=lambda each: each[0])[1]


@dataclass(frozen=True, slots=True)
class _Seen:
    """Cases as a process sees them.

    Attributes:
        squares: The squared distances of all pairs, a row for each field.
        y: Outputs, with mean 0 and deviation 1.
        unit: What is added to the negative logarithm of their likelihood so that it is of outputs as they are.
    """

    squares: Floats
    y: Floats
    unit: float

    @classmethod
    def of(cls, x: Floats, y: Floats, groups: npt.NDArray[np.int64], hyper: Hyperparameters) -> _Seen:
        seen = hyper.seen(y)
        deviation = max(float(seen.std()), 1e-300)
        unit = len(y) * math.log(deviation) + (float(seen.sum()) if hyper.sign else 0.0)
        return cls(pair_squares(bent(x, hyper.ratios, groups), groups), (seen - seen.mean()) / deviation, unit)


def _search(seen: _Seen, start: Hyperparameters) -> tuple[float, Hyperparameters]:
    """The best hyperparameters near a start, and how unlikely the outputs are with them."""
    d = len(start.lengths)
    bounds = [tuple(map(math.log, _LENGTHS))] * d + [tuple(map(math.log, _SHARES))] * len(start.shares)
    bounds.append(tuple(map(math.log, _NUGGETS)))
    logs = np.log([*start.lengths, *start.shares, start.nugget])
    found: Any = minimize(
        _Likelihood(seen, start.kernel, len(start.shares)),
        np.clip(logs, [low for low, _ in bounds], [high for _, high in bounds]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": _ITERATIONS, "ftol": 1e-7},
    )
    values = [float(v) for v in np.exp(found.x)]
    hyper = replace(start, lengths=tuple(values[:d]), shares=tuple(values[d:-1]), nugget=values[-1])
    return float(found.fun) + seen.unit, hyper


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """Minus the logarithm of the likelihood, with its gradient by the logarithms of the hyperparameters."""

    seen: _Seen
    kernel: Kernel
    n_shares: int

    def __call__(self, logs: Floats) -> tuple[float, Floats]:
        """Value and gradient."""
        y = self.seen.y
        n, d = len(y), len(logs) - 1 - self.n_shares
        nugget = math.exp(logs[-1])
        pairs, slopes = pair_likeness(self.kernel, self.seen.squares, np.exp(logs[:d]), np.exp(logs[d:-1]))
        upper = np.triu_indices(n, 1)
        alike = np.eye(n) * (1.0 + nugget)
        alike[upper] = pairs
        try:
            factor = cholesky(alike, lower=False, check_finite=False)
        except LinAlgError:
            return 1e10, np.zeros(len(logs))
        inverse = cast("Floats", cho_solve((factor, False), np.eye(n), check_finite=False))
        sums = inverse.sum(1)
        rest = y - (sums @ y) / sums.sum()
        alpha = inverse @ rest
        variance = max(float(rest @ alpha) / n, 1e-12)
        value = 0.5 * n * math.log(variance) + float(np.log(np.diag(factor)).sum())
        weights = inverse - np.outer(alpha, alpha) / variance
        gradient = np.append(slopes @ weights[upper], 0.5 * nugget * float(np.trace(weights)))
        # long lengths are likelier, the more fields there are
        middle, width = math.sqrt(2.0) + 0.5 * math.log(d), math.sqrt(3.0)
        away = (logs[:d] - middle) / width
        apart = logs[d:-1] / _SHARE_WIDTH
        gradient[:d] += away / width
        gradient[d:-1] += apart / _SHARE_WIDTH
        return value + 0.5 * float(away @ away) + 0.5 * float(apart @ apart), gradient
