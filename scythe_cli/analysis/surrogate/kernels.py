"""How alike outputs are, by how far apart cases lie: kernels of Gaussian processes, and what they see of cases.

Two kernels look at the distance over all fields. Of the other two, each is a product over fields of `1 + share * k`:
written out, it is a sum over all sets of fields, in which larger sets count less where shares are small. Outputs that
are sums of what few fields do together are learned from far fewer cases with it.

Fields can be seen as they are, or by the logarithms of their values, and so can outputs: powers and products, of which
formulas consist, are straight lines then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from scythe_cli.analysis.surrogate.space import Floats

__all__ = ["KERNELS", "SHARED", "Hyperparameters", "Kernel", "bent", "likeness", "pair_likeness", "pair_squares"]


Kernel = Literal["rbf", "matern52", "anova_rbf", "anova_matern52"]

KERNELS: tuple[Kernel, ...] = ("rbf", "matern52", "anova_rbf", "anova_matern52")

SHARED: tuple[Kernel, ...] = ("anova_rbf", "anova_matern52")
"""Those that have a share for each field."""

_ROOT5 = math.sqrt(5.0)
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """What was learned.

    Attributes:
        kernel: How likeness falls with distance.
        lengths: For each field, over which part of its range outputs are alike.
        nugget: The variance of noise, as a share of that of the function.
        shares: For each field, how much it does together with others beside what it does alone; of `SHARED` alone.
        ratios: For each field that is seen by its logarithm, its greatest value divided by its least; 1 for the
            others. Empty where all are seen as they are.
        sign: Of outputs that are seen by their logarithms, 1 or -1; 0 where they are seen as they are.
    """

    kernel: Kernel
    lengths: tuple[float, ...]
    nugget: float
    shares: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    sign: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "kernel": self.kernel,
            "lengths": list(self.lengths),
            "nugget": self.nugget,
            "shares": list(self.shares),
            "ratios": list(self.ratios),
            "sign": self.sign,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Hyperparameters:
        """From what `to_json` gave."""

        def several(name: str) -> tuple[float, ...]:
            return tuple(map(float, data.get(name, ())))

        return cls(
            kernel=data["kernel"],
            lengths=several("lengths"),
            nugget=float(data["nugget"]),
            shares=several("shares"),
            ratios=several("ratios"),
            sign=int(data.get("sign", 0)),
        )

    def seen(self, y: Floats) -> Floats:
        """Outputs as they are learned."""
        return y if self.sign == 0 else np.log(self.sign * y)

    def meant(self, seen: Floats) -> tuple[Floats, Floats]:
        """Outputs of what is predicted, and how much they change with it."""
        if self.sign == 0:
            return seen, np.ones(len(seen))
        sizes = np.exp(np.clip(seen, -700.0, 700.0))
        return self.sign * sizes, sizes


def bent(x: Floats, ratios: Sequence[float], groups: npt.NDArray[np.int64]) -> Floats:
    """Coordinates by the logarithms of values, where fields have ratios."""
    if not ratios:
        return x
    ratio = np.array(ratios)[groups]
    is_bent = ratio > 1.0
    sizes = np.log(np.maximum(1.0 + x * (ratio - 1.0), _LEAST))  # outside of the range there may be none
    return np.where(is_bent, sizes / np.log(np.where(is_bent, ratio, math.e)), x)


def _one(kernel: Kernel, squares: Floats) -> tuple[Floats, Floats]:
    """How alike outputs are at squared distances, and minus twice its derivative by these."""
    if kernel.endswith("rbf"):
        values = np.exp(-0.5 * squares)
        return values, values
    root = _ROOT5 * np.sqrt(squares)
    decay = np.exp(-root)
    return (1.0 + root + root * root / 3.0) * decay, (5.0 / 3.0) * (1.0 + root) * decay


def _squares(a: Floats, b: Floats) -> Floats:
    """Squared distances; those of a table to itself have exact zeros."""
    distances = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * (a @ b.T)
    if a is b:
        np.fill_diagonal(distances, 0.0)
    return np.maximum(distances, 0.0)


def likeness(hyper: Hyperparameters, groups: npt.NDArray[np.int64], a: Floats, b: Floats) -> Floats:
    """How alike outputs are at coordinates, which are divided by the lengths."""
    if not hyper.shares:
        return _one(hyper.kernel, _squares(a, b))[0]
    values = np.ones((len(a), len(b)))
    for field, share in enumerate(hyper.shares):
        own = groups == field
        squares = np.zeros((len(a), len(b)))
        for i in np.flatnonzero(own):
            squares += (a[:, i, None] - b[None, :, i]) ** 2
        values *= (1.0 + share * _one(hyper.kernel, squares)[0]) / (1.0 + share)
    return values


def pair_squares(x: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    """The squared distances of all pairs of cases, a row for each field."""
    first, second = np.triu_indices(len(x), 1)
    squares = np.zeros((int(groups.max()) + 1, len(first)))
    for i, field in enumerate(groups):
        squares[field] += (x[first, i] - x[second, i]) ** 2
    return squares


def pair_likeness(kernel: Kernel, squares: Floats, lengths: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """How alike the outputs of pairs are, and its derivatives by the logarithms of lengths and shares, a row each."""
    scaled = squares / (lengths**2)[:, None]
    if not len(shares):
        values, slope = _one(kernel, scaled.sum(0))
        return values, slope * scaled
    own, slope = _one(kernel, scaled)
    share = shares[:, None]
    factors = (1.0 + share * own) / (1.0 + share)
    values = cast("Floats", factors.prod(0))
    rest = values / factors
    by_length = rest * (share / (1.0 + share)) * slope * scaled
    by_share = rest * share * (own - 1.0) / (1.0 + share) ** 2
    return values, np.vstack([by_length, by_share])
