"""Variables of fields that are numbers, dates or times: doubles between two ends, and multiples of a tick."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scythe_cli.doe.distributions import Distribution, Log, Triangular, Uniform
from scythe_cli.doe.domains import Leaf
from scythe_cli.doe.scales import EPS, Numbers, Ticks, Unit, tidy
from scythe_cli.errors import UsageError
from scythe_cli.run.design_record import DesignField

__all__ = ["OWN_LEVELS_MAX", "continuous", "counted"]


OWN_LEVELS_MAX = 100
"""A counted field with more values than this has no levels of its own in `grid` and `oat`."""


@dataclass(frozen=True, slots=True)
class _Continuous:
    """Doubles between two ends.

    Attributes:
        low: The least double that is allowed; minus infinity where there is no end.
        high: The greatest.
    """

    leaf: Leaf
    domain: Numbers
    distribution: Distribution
    low: float
    high: float

    @property
    def name(self) -> str:
        return self.leaf.name

    @property
    def own_levels(self) -> int | None:
        return None

    def at(self, unit: Unit) -> pa.Array[Any]:
        return pa.array(self._values(unit), pa.float64())

    def _values(self, unit: Unit) -> npt.NDArray[np.float64]:
        return np.clip(self.distribution.ppf(unit, self.low, self.high), self.low, self.high)

    def levels(self, n: int | None) -> tuple[pa.Array[Any], Unit]:
        assert n is not None
        unit = _level_units(n, low_open=self._is_open(lower=True), high_open=self._is_open(lower=False))
        values = self._values(unit)
        values[unit == 0] = self.low
        values[unit == 1] = self.high
        short = tidy(values)
        values = np.where((short >= self.low) & (short <= self.high), short, values)
        return pa.array(values, pa.float64()), unit

    def _is_open(self, *, lower: bool) -> bool:
        end = self.low if lower else self.high
        return (self.domain.low_open if lower else self.domain.high_open) or not math.isfinite(end)

    def base(self) -> pa.Array[Any]:
        default = self.leaf.default
        if isinstance(default, (int, float)) and not isinstance(default, bool) and self.low <= default <= self.high:
            return pa.array([float(default)], pa.float64())
        middle = self._values(np.array([0.5]))
        short = tidy(middle)
        return pa.array(short if self.low <= short[0] <= self.high else middle, pa.float64())

    def describe(self) -> DesignField:
        return _describe(self.leaf, self.domain, self.distribution)


def _level_units(n: int, *, low_open: bool, high_open: bool) -> Unit:
    """Places of n levels in [0, 1], evenly: an end that is excluded is none of them, and a single one is the middle."""
    if n == 1 and not low_open and not high_open:
        return np.array([0.5])
    first, last = int(low_open), int(high_open)
    return np.linspace(0.0, 1.0, n + first + last)[first : n + first]


def continuous(leaf: Leaf, domain: Numbers, distribution: Distribution) -> _Continuous:
    """The variable of a field of doubles.

    Raises:
        UsageError: If there is no double between its ends.
    """
    low = -math.inf if domain.low is None else float(domain.low)
    high = math.inf if domain.high is None else float(domain.high)
    if isinstance(distribution, Triangular):
        low, high = max(low, distribution.low), min(high, distribution.high)
    if domain.low_open and low == domain.low:
        low = math.nextafter(low, math.inf)
    if domain.high_open and high == domain.high:
        high = math.nextafter(high, -math.inf)
    if low > high:
        raise _empty_range(leaf, domain, distribution)
    if isinstance(distribution, Triangular):
        domain = replace(
            domain,
            low=max(low, distribution.low),
            high=min(high, distribution.high),
            low_open=domain.low_open and distribution.low <= low,
            high_open=domain.high_open and distribution.high >= high,
        )
    return _Continuous(leaf, domain, distribution, low, high)


@dataclass(frozen=True, slots=True)
class _Counted:
    """Multiples of a tick between two ends: whole numbers, days, seconds.

    Attributes:
        first: The least multiple; None where there is no end.
        last: The greatest.
    """

    leaf: Leaf
    domain: Numbers
    distribution: Distribution
    first: int | None
    last: int | None

    @property
    def name(self) -> str:
        return self.leaf.name

    @property
    def _count(self) -> int | None:
        return None if self.first is None or self.last is None else self.last - self.first + 1

    @property
    def own_levels(self) -> int | None:
        count = self._count
        is_number = self.domain.scale.kind == "int" or self.domain.has_step
        return count if is_number and count is not None and count <= OWN_LEVELS_MAX else None

    def at(self, unit: Unit) -> pa.Array[Any]:
        return self.domain.scale.array(self._positions(unit))

    def _positions(self, unit: Unit) -> Ticks:
        first, last = self.first, self.last
        if isinstance(self.distribution, Uniform):
            assert first is not None
            assert last is not None
            count = last - first + 1
            # whole numbers of 64 bits wrap around, and so end where they should
            steps = np.minimum(np.floor(unit * float(count)).astype(np.uint64), np.uint64(count - 1))
            return (steps + np.uint64(first % 2**64)).view(np.int64)
        tick = float(self.domain.scale.tick or 1)
        low = -math.inf if first is None else (first - 0.5) * tick
        high = math.inf if last is None else (last + 0.5) * tick
        if isinstance(self.distribution, Log):
            assert first is not None
            assert last is not None
            drawn = np.floor(self.distribution.ppf(unit, first * tick, (last + 1) * tick) / tick)
        else:
            drawn = np.round(self.distribution.ppf(unit, low, high) / tick)
        least, most = -(2**62) if first is None else first, 2**62 if last is None else last
        return np.clip(drawn, float(least), float(most)).astype(np.int64)

    def levels(self, n: int | None) -> tuple[pa.Array[Any], Unit]:
        count = self._count
        if n is None or (count is not None and n >= count):
            assert count is not None
            positions = np.arange(count, dtype=np.uint64) + np.uint64((self.first or 0) % 2**64)
            return self.domain.scale.array(positions.view(np.int64)), (np.arange(count) + 0.5) / count
        if isinstance(self.distribution, Uniform) and self.first is not None and self.last is not None:
            span = self.last - self.first
            # exact for any span: the ends, and between them the nearest whole numbers
            steps = [span // 2] if n == 1 else [(2 * i * span + n - 1) // (2 * (n - 1)) for i in range(n)]
            ticks = [self.first + step for step in steps]
            unit = (np.array(steps, np.float64) + 0.5) / (span + 1)
            return self.domain.scale.array(np.array(ticks, np.int64)), unit
        unit = _level_units(n, low_open=self.first is None, high_open=self.last is None)
        positions, chosen = np.unique(self._positions(np.minimum(unit, 1 - EPS)), return_index=True)
        return self.domain.scale.array(positions), unit[chosen]

    def base(self) -> pa.Array[Any]:
        default = self.leaf.default_cell
        if default is not None and self._holds(self.leaf.default):
            return default
        return self.at(np.array([0.5]))

    def _holds(self, value: Any) -> bool:
        try:
            number = self.domain.scale.number(value)
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            return False
        return self.domain.contains(number)

    def describe(self) -> DesignField:
        return _describe(self.leaf, self.domain, self.distribution)


def counted(leaf: Leaf, domain: Numbers, distribution: Distribution) -> _Counted:
    """The variable of a field whose values are counted.

    Raises:
        UsageError: If there is no value between its ends, or one that a column cannot hold.
    """
    tick = domain.scale.tick
    assert tick is not None
    first: int | None = None
    last: int | None = None
    low, high = domain.low, domain.high
    if isinstance(distribution, Triangular):
        low = distribution.low if low is None else max(float(low), distribution.low)
        high = distribution.high if high is None else min(float(high), distribution.high)
    with localcontext() as context:
        context.prec = 60
        if low is not None:
            exact = Decimal(str(low)) / tick
            first = int(exact.to_integral_value(ROUND_CEILING))
            if domain.low_open and low == domain.low and first == exact:
                first += 1
        if high is not None:
            exact = Decimal(str(high)) / tick
            last = int(exact.to_integral_value(ROUND_FLOOR))
            if domain.high_open and high == domain.high and last == exact:
                last -= 1
    if first is not None and last is not None:
        if first > last:
            raise _empty_range(leaf, domain, distribution)
        if first < -(2**63) or last >= 2**63:
            raise UsageError(
                f"{leaf.name}: its bounds are out of what a column can hold",
                hint=f"Narrow them: --set {leaf.name}=0:9.",
            )
    return _Counted(leaf, domain, distribution, first, last)


def _empty_range(leaf: Leaf, domain: Numbers, distribution: Distribution) -> UsageError:
    within = (
        f" and between {distribution.low:g} and {distribution.high:g}" if isinstance(distribution, Triangular) else ""
    )
    return UsageError(f"{leaf.name}: no value is {domain}{within}")


def _describe(leaf: Leaf, domain: Numbers, distribution: Distribution) -> DesignField:
    scale = domain.scale
    return DesignField(
        name=leaf.name,
        low=None if domain.low is None else scale.plain(domain.low),
        high=None if domain.high is None else scale.plain(domain.high),
        low_excluded=domain.low_open,
        high_excluded=domain.high_open,
        step=str(scale.tick) if domain.has_step else None,
        **distribution.describe(),
    )
