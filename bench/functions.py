"""Functions that stand for simulations, as papers on surrogates use them; and who judges what is predicted of them.

It needs NumPy alone, so that it runs in the environment of each rival.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BATCH", "FUNCTIONS", "MOST", "TARGET", "Floats", "Function", "Judge", "first_cases", "smallest"]

Floats = npt.NDArray[np.float64]

TARGET = 0.01
BATCH = 4
MOST = 400
"""No method gets more cases."""

_HELD_OUT = 2_000


@dataclass(frozen=True)
class Function:
    """A function that stands for a simulation.

    Attributes:
        compute: Its values at rows of numbers between the bounds.
        bounds: The least and greatest of each field.
    """

    compute: Callable[[Floats], Floats]
    bounds: tuple[tuple[float, float], ...]

    def at(self, units: Floats) -> Floats:
        """Its values at rows of numbers from 0 to 1."""
        low, high = np.array(self.bounds).T
        return self.compute(low + units * (high - low))


def _ishigami(x: Floats) -> Floats:
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def _borehole(x: Floats) -> Floats:
    rw, r, tu, hu, tl, hl, length, kw = x.T
    log = np.log(r / rw)
    return 2 * math.pi * tu * (hu - hl) / (log * (1 + 2 * length * tu / (log * rw**2 * kw) + tu / tl))


def _otl(x: Floats) -> Floats:
    rb1, rb2, rf, rc1, rc2, beta = x.T
    vb1, own = 12 * rb2 / (rb1 + rb2), beta * (rc2 + 9)
    return ((vb1 + 0.74) * own + 11.35 * rf + 0.74 * rf * own / rc1) / (own + rf)


def _piston(x: Floats) -> Floats:
    mass, area, volume, k, p0, ambient, t0 = x.T
    a = p0 * area + 19.62 * mass - k * volume / area
    v = area / (2 * k) * (np.sqrt(a**2 + 4 * k * p0 * volume * ambient / t0) - a)
    return 2 * math.pi * np.sqrt(mass / (k + area**2 * p0 * volume * ambient / (t0 * v**2)))


def _wing(x: Floats) -> Floats:
    sw, wfw, aspect, sweep, q, taper, tc, nz, wdg, wp = x.T
    cos = np.cos(np.radians(sweep))
    shape = (aspect / cos**2) ** 0.6 * q**0.006 * taper**0.04 * (100 * tc / cos) ** -0.3
    return 0.036 * sw**0.758 * wfw**0.0035 * shape * (nz * wdg) ** 0.49 + sw * wp


def _jump(x: Floats) -> Floats:
    return np.sin(3 * x[:, 0]) + x[:, 1] + 0.4 * (x[:, 0] + 0.5 * x[:, 1] > 0.8)


FUNCTIONS = {
    "Ishigami": Function(_ishigami, ((-math.pi, math.pi),) * 3),
    "borehole": Function(
        _borehole,
        ((0.05, 0.15), (100, 50_000), (63_070, 115_600), (990, 1_110), (63.1, 116), (700, 820), (1_120, 1_680),
         (9_855, 12_045)),
    ),
    "OTL circuit": Function(_otl, ((50, 150), (25, 70), (0.5, 3), (1.2, 2.5), (0.25, 1.2), (50, 300))),
    "piston": Function(
        _piston,
        ((30, 60), (0.005, 0.020), (0.002, 0.010), (1_000, 5_000), (90_000, 110_000), (290, 296), (340, 360)),
    ),
    "wing weight": Function(
        _wing,
        ((150, 200), (220, 300), (6, 10), (-10, 10), (16, 45), (0.5, 1), (0.08, 0.18), (2.5, 6), (1_700, 2_500),
         (0.025, 0.08)),
    ),
    "with a jump": Function(_jump, ((0, 1), (0, 1))),
}  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """What no method sees: points that are held out."""

    x: Floats
    y: Floats

    @classmethod
    def of(cls, function: Function) -> Judge:
        x = np.random.default_rng(2026).random((_HELD_OUT, len(function.bounds)))
        return cls(x, function.at(x))

    def error(self, predicted: Floats) -> float:
        """Root mean square, as a share of the range."""
        return float(np.sqrt(((predicted - self.y) ** 2).mean()) / np.ptp(self.y))


def first_cases(d: int) -> int:
    """How many cases a study of so many fields starts with here, and the smallest design."""
    return max(8, d + 2)


def smallest(error_of: Callable[[int], float], d: int) -> int:
    """The smallest design that is good enough, of sizes that grow by `BATCH` or 5 %; `MOST` + 1 if none is.

    Args:
        error_of: The error with a design of so many cases.
        d: How many fields there are.
    """
    return next((n for n in _sizes(d) if error_of(n) <= TARGET), MOST + 1)


def _sizes(d: int) -> Iterator[int]:
    n = first_cases(d)
    while n < MOST:
        yield n
        n += max(BATCH, n // 20)
    yield MOST
