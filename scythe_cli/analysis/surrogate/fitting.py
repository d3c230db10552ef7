"""A model for one output: a Gaussian process while it pays, gradient boosting for many cases and for jumps."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from scythe_cli.analysis.surrogate.gaussian import GaussianProcess, fit_gaussian
from scythe_cli.analysis.surrogate.kernels import Hyperparameters
from scythe_cli.analysis.surrogate.libraries import HistGradientBoostingRegressor, NearestNeighbors, threadpool_limits
from scythe_cli.analysis.surrogate.space import Floats
from scythe_cli.core.cores import thread_settings

__all__ = ["Fit", "HeldOut", "Kind", "Learned", "fit_output", "folds_of", "held_out", "one_thread", "rebuilt"]


Kind = Literal["gaussian", "boosting", "constant"]

_GAUSSIAN_ROWS = 600
"""Up to so many cases a Gaussian process is tried: what it takes grows with their third power."""

_BOOSTING_ROWS = 150
"""From so many cases on gradient boosting is tried; before, it has too little to divide."""

_GOOD = 0.9
"""A Gaussian process that explains so much of held-out cases is not compared with anything else."""

_NEIGHBOURS = 8
_BOOSTING_FOLDS = 5


@contextmanager
def one_thread() -> Generator[None]:
    """Let numerical libraries use one thread, so that sums have one order, and cases have the other cores."""
    # without variables, scikit-learn starts a program that counts the cores
    variables = thread_settings(1, {})
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name in variables.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What cases are predicted as by models that have not seen them.

    Attributes:
        means: The predictions.
        deviations: How far off they are thought to be.
    """

    means: Floats
    deviations: Floats


@dataclass(frozen=True, slots=True)
class Learned:
    """What follows from cases and is kept with them: with both, the same model comes to be again.

    Attributes:
        kind: The kind of model.
        hyper: Of a Gaussian process.
        boosting: Of gradient boosting: the options of its estimator.
        scale: By how much deviations are multiplied, so that they are like the errors of held-out cases.
    """

    kind: Kind
    hyper: Hyperparameters | None = None
    boosting: dict[str, Any] | None = None
    scale: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "kind": self.kind,
            "scale": self.scale,
            **({} if self.hyper is None else {"hyperparameters": self.hyper.to_json()}),
            **({} if self.boosting is None else {"boosting": self.boosting}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Learned:
        """From what `to_json` gave."""
        hyper = data.get("hyperparameters")
        return cls(
            data["kind"],
            None if hyper is None else Hyperparameters.from_json(hyper),
            data.get("boosting"),
            float(data.get("scale", 1.0)),
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """A model of one output, of the cases that succeeded.

    Attributes:
        learned: What it is.
        x: The coordinates of the cases.
        y: Their outputs.
        errors: What they were off by when they were held out; for the deviations of gradient boosting.
        process: The Gaussian process, where it is one.
    """

    learned: Learned
    x: Floats
    y: Floats
    errors: Floats
    process: GaussianProcess | None = None
    _trees: Any = field(default=None, repr=False)

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Means and standard deviations at coordinates."""
        if self.process is not None:
            means, deviations = self.process.predict(x)
            return means, deviations * self.learned.scale
        if self._trees is None:
            return np.full(len(x), self.y.mean() if len(self.y) else np.nan), np.zeros(len(x))
        return cast("Floats", self._trees.predict(x)), nearby_errors(self.x, self.errors, x)


def nearby_errors(x: Floats, errors: Floats, to: Floats) -> Floats:
    """The errors of the nearest cases, root mean square, as a guess of that at other coordinates."""
    near: Any = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(x))).fit(x)
    return cast("Floats", np.sqrt((errors[near.kneighbors(to, return_distance=False)] ** 2).mean(1)))


def folds_of(n: int, n_folds: int, strata: Sequence[tuple[Any, ...]] = ()) -> npt.NDArray[np.int64]:
    """Divide cases into folds, those of each stratum by themselves; the same for the same cases."""
    order = np.random.default_rng([n_folds, n]).permutation(n)
    folds = np.empty(n, np.int64)
    if strata:
        names = {stratum: i for i, stratum in enumerate(sorted(set(strata), key=repr))}
        order = order[np.argsort([names[strata[int(i)]] for i in order], kind="stable")]
    folds[order] = np.arange(n) % min(n_folds, n)
    return folds


def fit_output(
    x: Floats,
    y: Floats,
    groups: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    *,
    seed: Sequence[int],
    ratios: Sequence[float] = (),
) -> tuple[Fit, HeldOut]:
    """Choose the model that predicts held-out cases best, and fit it to all.

    Args:
        x: Coordinates, a row for each case.
        y: Outputs.
        groups: For each coordinate the position of its field.
        folds: The fold of each case.
        seed: What random numbers follow from.
        ratios: The greatest value of each field divided by its least, where its logarithm can be of use; 1 for others.

    Returns:
        The model, and what it predicts for cases that were held out, with the hyperparameters of all.
    """
    n = len(y)
    if n < 3 or float(np.ptp(y)) == 0:
        mean = float(y.mean()) if n else np.nan
        return Fit(Learned("constant"), x, y, np.zeros(n)), HeldOut(np.full(n, mean), np.zeros(n))
    tried: list[tuple[Fit, HeldOut]] = []
    if n <= _GAUSSIAN_ROWS:
        tried.append(_gaussian(x, y, groups, folds, seed, ratios))
    residue = min((float(((out.means - y) ** 2).sum()) for _, out in tried), default=np.inf)
    is_good = residue <= (1 - _GOOD) * float(((y - y.mean()) ** 2).sum())
    if not tried or (n >= _BOOSTING_ROWS and not is_good):
        tried.append(_boosting(x, y, folds, seed))
    return min(tried, key=lambda each: float(((each[1].means - y) ** 2).sum()))


def _gaussian(
    x: Floats,
    y: Floats,
    groups: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    seed: Sequence[int],
    ratios: Sequence[float],
) -> tuple[Fit, HeldOut]:
    process = fit_gaussian(x, y, groups, seed=seed, ratios=ratios)
    means, deviations = process.held_out(folds)
    scale = _scale(y - means, deviations)
    learned = Learned("gaussian", process.hyper, scale=scale)
    return Fit(learned, x, y, y - means, process), HeldOut(means, deviations * scale)


def _scale(errors: Floats, deviations: Floats) -> float:
    """By how much deviations are too small, for the errors that there are."""
    tiny = float(np.abs(deviations).max()) * 1e-6 + 1e-300
    return float(np.sqrt(np.median((errors / np.maximum(deviations, tiny)) ** 2) / 0.4549))


def _boosting(x: Floats, y: Floats, folds: npt.NDArray[np.int64], seed: Sequence[int]) -> tuple[Fit, HeldOut]:
    n = len(y)
    options = {
        "max_iter": 200,
        "learning_rate": 0.1,
        "min_samples_leaf": int(max(3, min(20, n // 40))),
        "max_leaf_nodes": 15 if n < 2000 else 31,
        "l2_regularization": 1e-3,
        "early_stopping": False,
        "random_state": int(np.random.default_rng([*seed, n]).integers(2**31)),
    }
    means = _boosted_held_out(x, y, folds, options)
    errors = y - means
    fit = Fit(Learned("boosting", boosting=options), x, y, errors, None, _trees(x, y, options))
    return fit, HeldOut(means, nearby_errors(x, errors, x))


def _boosted_held_out(x: Floats, y: Floats, folds: npt.NDArray[np.int64], options: dict[str, Any]) -> Floats:
    means = np.empty(len(y))
    folds = folds % _BOOSTING_FOLDS  # each takes a second or so
    for fold in np.unique(folds):
        out = folds == fold
        means[out] = _trees(x[~out], y[~out], options).predict(x[out])
    return means


def _trees(x: Floats, y: Floats, options: dict[str, Any]) -> Any:
    estimator: Any = HistGradientBoostingRegressor(**options)
    return estimator.fit(x, y)


def held_out(fit: Fit, groups: npt.NDArray[np.int64], folds: npt.NDArray[np.int64], *, seed: Sequence[int]) -> Floats:
    """What each case is predicted as by models of the other folds, whose hyperparameters know nothing of it either."""
    if fit.process is None:
        boosting = fit.learned.boosting
        if boosting is None:
            return np.full(len(fit.y), float(fit.y.mean()) if len(fit.y) else np.nan)
        return _boosted_held_out(fit.x, fit.y, folds, boosting)
    means = np.empty(len(fit.y))
    for fold in np.unique(folds):
        out = folds == fold
        own = fit.y[~out]
        if float(np.ptp(own)) == 0:
            means[out] = own[0]
            continue
        part = fit_gaussian(fit.x[~out], own, groups, seed=seed, begin=fit.learned.hyper)
        means[out] = part.predict(fit.x[out])[0]
    return means


def rebuilt(learned: Learned, x: Floats, y: Floats, errors: Floats, groups: npt.NDArray[np.int64]) -> Fit:
    """The model again, from what is kept of it."""
    if learned.hyper is not None:
        return Fit(learned, x, y, errors, GaussianProcess.of(learned.hyper, groups, x, y))
    if learned.boosting is not None:
        return Fit(learned, x, y, errors, None, _trees(x, y, learned.boosting))
    return Fit(learned, x, y, errors)
