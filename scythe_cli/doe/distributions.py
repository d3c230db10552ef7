"""The distributions of fields that are numbers: uniform, logarithmic, normal and triangular."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from scythe_cli.core.distribution import needs_extra
from scythe_cli.doe.domains import Leaf
from scythe_cli.doe.scales import EPS, Numbers, Unit
from scythe_cli.doe.settings import FieldSettings
from scythe_cli.errors import UsageError

__all__ = ["Distribution", "Log", "Normal", "Triangular", "Uniform", "distribution_of"]


class Distribution(Protocol):
    """How numbers are distributed between two ends."""

    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        """The quantiles of the distribution, cut to [low, high]."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the record of the design says of it."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each number is as likely as the others."""

    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        """Quantiles, evenly from the lower to the upper end."""
        # not low + unit · (high − low), which can overflow
        return low * (1 - unit) + high * unit

    def describe(self) -> dict[str, Any]:
        """The word for a uniform distribution."""
        return {"distribution": "uniform"}


@dataclass(frozen=True, slots=True)
class Log:
    """Uniform on a logarithmic scale; both ends are above 0."""

    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        """Quantiles, evenly from the logarithm of the lower end to that of the upper."""
        return np.exp(math.log(low) * (1 - unit) + math.log(high) * unit)

    def describe(self) -> dict[str, Any]:
        """The word for a logarithmic scale."""
        return {"distribution": "log"}


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal, cut at the ends."""

    mean: float
    sd: float

    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        """Quantiles of the part between the ends, which may be infinite."""
        with needs_extra("sample", "a normal distribution"):
            from scipy.stats import truncnorm

        a, b = (low - self.mean) / self.sd, (high - self.mean) / self.sd
        # the median of each of 2^53 equal parts: 0 and 1 themselves would be infinite
        inside = np.clip(unit, EPS, 1 - EPS)
        return truncnorm.ppf(inside, a, b, loc=self.mean, scale=self.sd)

    def describe(self) -> dict[str, Any]:
        """Mean and standard deviation, before the cut."""
        return {"distribution": "normal", "mean": self.mean, "sd": self.sd}


@dataclass(frozen=True, slots=True)
class Triangular:
    """Triangular, cut at the ends."""

    low: float
    mode: float
    high: float

    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        """Quantiles of the part between the ends."""
        with needs_extra("sample", "a triangular distribution"):
            from scipy.stats import triang

        width = self.high - self.low
        whole: Any = triang((self.mode - self.low) / width, loc=self.low, scale=width)
        first, last = whole.cdf(low), whole.cdf(high)
        return whole.ppf(first + unit * (last - first))

    def describe(self) -> dict[str, Any]:
        """The three numbers, before the cut."""
        return {"distribution": "triangular", "mode": self.mode, "ends": [self.low, self.high]}


def distribution_of(leaf: Leaf, settings: FieldSettings, domain: Numbers) -> Distribution:
    """The distribution that was asked for; uniform where none was.

    Raises:
        UsageError: If the field cannot have it.
    """
    numeric = domain.scale.kind in ("float", "int", "decimal")
    if (settings.normal is not None or settings.triangular is not None or settings.log) and not numeric:
        raise UsageError(f"{leaf.name}: --log, --normal and --triangular are for numbers, not dates and times")
    if settings.normal is not None:
        return Normal(*settings.normal)
    if settings.triangular is not None:
        return Triangular(*settings.triangular)
    if settings.log:
        if domain.low is not None and domain.low <= 0:
            raise UsageError(
                f"{leaf.name}: a logarithmic scale needs a lower end above 0, and this one is "
                f"{domain.scale.plain(domain.low)}",
                hint=f"Give it one with --set {leaf.name}=LOW:HIGH.",
            )
        return Log()
    return Uniform()
