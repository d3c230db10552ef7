"""Gaussian processes: what they learn from some hundred cases, how sure they are, and what each case would add.

The hyperparameters are those of the greatest likelihood, with a weak prior of long lengths. They are plain numbers,
from which and from the data everything else follows, so that a model needs no pickle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from scythe_cli.analysis.surrogate.libraries import LinAlgError, cho_solve, cholesky, minimize, solve_triangular
from scythe_cli.analysis.surrogate.space import Floats

__all__ = ["GaussianProcess", "Hyperparameters", "fit_gaussian"]


Kernel = Literal["rbf", "matern52"]

_LENGTHS = (0.02, 50.0)
_NUGGETS = (1e-10, 1.0)
_ROOT5 = math.sqrt(5.0)
_ITERATIONS = 80


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """What was learned.

    Attributes:
        kernel: How likeness falls with distance.
        lengths: For each field, over which part of its range outputs are alike.
        nugget: The variance of noise, as a share of that of the function.
    """

    kernel: Kernel
    lengths: tuple[float, ...]
    nugget: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"kernel": self.kernel, "lengths": list(self.lengths), "nugget": self.nugget}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Hyperparameters:
        """From what `to_json` gave."""
        return cls(data["kernel"], tuple(map(float, data["lengths"])), float(data["nugget"]))


def _squares(a: Floats, b: Floats) -> Floats:
    """Squared distances; those of a table to itself have exact zeros."""
    distances = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * (a @ b.T)
    if a is b:
        np.fill_diagonal(distances, 0.0)
    return np.maximum(distances, 0.0)


def _likeness(kernel: Kernel, squares: Floats) -> tuple[Floats, Floats]:
    """How alike outputs are at squared distances, and minus twice its derivative by these."""
    if kernel == "rbf":
        values = np.exp(-0.5 * squares)
        return values, values
    root = _ROOT5 * np.sqrt(squares)
    decay = np.exp(-root)
    return (1.0 + root + root * root / 3.0) * decay, (5.0 / 3.0) * (1.0 + root) * decay


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A fitted process.

    Attributes:
        hyper: Its hyperparameters.
        groups: For each coordinate the position of its field.
        x: The coordinates of the cases.
        y: Their outputs.
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
        scaled = x / np.array(hyper.lengths)[groups]
        likeness, _ = _likeness(hyper.kernel, _squares(scaled, scaled))
        factor = _factored(likeness, hyper.nugget)
        ones = cho_solve((factor, True), np.ones(len(y)))
        mean = float((ones @ y) / ones.sum())
        alpha = cho_solve((factor, True), y - mean)
        variance = max(float((y - mean) @ alpha) / len(y), 1e-300)
        return cls(hyper, groups, x, y, scaled, factor, alpha, ones, mean, variance)

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Means and standard deviations at coordinates."""
        likeness = self._to(x)
        means = self.mean + likeness @ self._alpha
        half = solve_triangular(self._factor, likeness.T, lower=True)
        trend = 1.0 - likeness @ self._ones
        spread = 1.0 - (half * half).sum(0) + trend**2 / self._ones.sum()
        return means, np.sqrt(self.variance * np.maximum(spread, 0.0))

    def covariance(self, x: Floats) -> Floats:
        """The covariance of outputs at coordinates, where the cases are known; in units of the variance."""
        scaled = x / np.array(self.hyper.lengths)[self.groups]
        prior, _ = _likeness(self.hyper.kernel, _squares(scaled, scaled))
        likeness = self._to(x)
        half = solve_triangular(self._factor, likeness.T, lower=True)
        trend = 1.0 - likeness @ self._ones
        return prior - half.T @ half + np.outer(trend, trend) / self._ones.sum()

    def held_out(self, folds: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """What each case would be predicted as from the other folds, with the same hyperparameters; with deviations."""
        means, deviations = np.empty(len(self.y)), np.empty(len(self.y))
        for fold in np.unique(folds):
            out = folds == fold
            part = GaussianProcess.of(self.hyper, self.groups, self.x[~out], self.y[~out])
            means[out], deviations[out] = part.predict(self.x[out])
        return means, deviations

    def _to(self, x: Floats) -> Floats:
        scaled = x / np.array(self.hyper.lengths)[self.groups]
        return _likeness(self.hyper.kernel, _squares(scaled, self._scaled))[0]


def _factored(likeness: Floats, nugget: float) -> Floats:
    """The lower Cholesky factor; where rounding is in the way, with as much more on the diagonal as it takes."""
    n = len(likeness)
    for extra in (0.0, 1e-10, 1e-8, 1e-6, 1e-4):
        try:
            return cast("Floats", cholesky(likeness + (nugget + extra) * np.eye(n), lower=True, check_finite=False))
        except LinAlgError:
            continue
    return cast("Floats", cholesky(likeness + 1e-2 * np.eye(n), lower=True))


def fit_gaussian(
    x: Floats,
    y: Floats,
    groups: npt.NDArray[np.int64],
    *,
    seed: Sequence[int],
    kernels: Sequence[Kernel] = ("rbf", "matern52"),
    n_starts: int = 2,
    begin: Hyperparameters | None = None,
) -> GaussianProcess:
    """Find the hyperparameters of cases.

    Args:
        x: Coordinates, a row for each case.
        y: Outputs, which are not all the same.
        groups: For each coordinate the position of its field.
        seed: What random starts of the search follow from.
        kernels: Those to choose from.
        n_starts: How many searches there are for each kernel.
        begin: Where to begin; then there is one search, and no other kernel.
    """
    d = int(groups.max()) + 1
    if begin is not None:
        found = [_search(x, y, groups, begin.kernel, np.log([*begin.lengths, begin.nugget]))]
    else:
        draws = np.random.default_rng([*seed, len(y)])
        starts = [np.append(np.full(d, math.log(0.6 * math.sqrt(d))), math.log(1e-6))]
        for _ in range(n_starts - 1):
            starts.append(np.append(draws.uniform(math.log(0.1), math.log(3.0), d), math.log(1e-4)))
        found = [_search(x, y, groups, kernel, start) for kernel in kernels for start in starts]
    _, hyper = min(found, key=lambda each: each[0])
    return GaussianProcess.of(hyper, groups, x, y)


def _search(
    x: Floats, y: Floats, groups: npt.NDArray[np.int64], kernel: Kernel, start: Floats
) -> tuple[float, Hyperparameters]:
    """The best hyperparameters near a start, and how unlikely the outputs are with them."""
    d = len(start) - 1
    bounds = [tuple(map(math.log, _LENGTHS))] * d + [tuple(map(math.log, _NUGGETS))]
    found: Any = minimize(
        _Likelihood(x, (y - y.mean()) / y.std(), groups, kernel),
        np.clip(start, [low for low, _ in bounds], [high for _, high in bounds]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": _ITERATIONS, "ftol": 1e-7},
    )
    values = np.exp(found.x)
    return float(found.fun), Hyperparameters(kernel, tuple(float(v) for v in values[:-1]), float(values[-1]))


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """Minus the logarithm of the likelihood, with its gradient by the logarithms of the hyperparameters."""

    x: Floats
    y: Floats
    groups: npt.NDArray[np.int64]
    kernel: Kernel

    def __call__(self, logs: Floats) -> tuple[float, Floats]:
        """Value and gradient."""
        n, d = len(self.y), len(logs) - 1
        lengths, nugget = np.exp(logs[:-1]), math.exp(logs[-1])
        scaled = self.x / lengths[self.groups]
        likeness, slope = _likeness(self.kernel, _squares(scaled, scaled))
        try:
            factor = cholesky(likeness + nugget * np.eye(n), lower=True, check_finite=False)
        except LinAlgError:
            return 1e10, np.zeros(d + 1)
        inverse = cast("Floats", cho_solve((factor, True), np.eye(n), check_finite=False))
        sums = inverse.sum(1)
        rest = self.y - (sums @ self.y) / sums.sum()
        alpha = inverse @ rest
        variance = max(float(rest @ alpha) / n, 1e-12)
        value = 0.5 * n * math.log(variance) + float(np.log(np.diag(factor)).sum())
        weights = inverse - np.outer(alpha, alpha) / variance
        masses = weights * slope
        rows = masses.sum(1)
        # the sum over all pairs of masses times squared differences, without a table for each coordinate
        each = (rows @ (scaled**2)) - np.einsum("ik,ik->k", scaled, masses @ scaled)
        sums_of = cast("Floats", np.bincount(self.groups, each, d))
        gradient = np.append(sums_of, 0.5 * nugget * float(np.trace(weights)))
        # long lengths are likelier, the more fields there are
        middle, width = math.sqrt(2.0) + 0.5 * math.log(d), math.sqrt(3.0)
        away = (logs[:-1] - middle) / width
        gradient[:-1] += away / width
        return value + 0.5 * float(away @ away), gradient
