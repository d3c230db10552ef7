"""A field that varies: from numbers in [0, 1) to its values, and its levels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scythe_cli.doe.domains import Leaf, Numbers, Values
from scythe_cli.doe.scales import Ticks, taken, tidy
from scythe_cli.doe.settings import Chosen, FieldSettings, Range
from scythe_cli.errors import UsageError
from scythe_cli.run.design_record import DesignField

__all__ = ["OWN_LEVELS_MAX", "Unit", "Variable", "variable_of"]


Unit = npt.NDArray[np.float64]
"""Numbers in [0, 1)."""

OWN_LEVELS_MAX = 100
"""A counted field with more values than this has no levels of its own in `grid` and `oat`."""

_SHOWN_VALUES = 100
_EPS = 2.0**-53


class Variable(Protocol):
    """A field that varies."""

    @property
    def name(self) -> str:
        """The column."""
        ...

    @property
    def own_levels(self) -> int | None:
        """How many levels it has by itself; None where that is for the design to say."""
        ...

    def at(self, unit: Unit) -> pa.Array[Any]:
        """Its values at numbers in [0, 1), by the inverse of its distribution function."""
        ...

    def levels(self, n: int | None) -> tuple[pa.Array[Any], Unit]:
        """Levels from its lowest to its highest value, and where they lie in [0, 1).

        Args:
            n: How many; fewer where it has not as many values, and its own unless given.
        """
        ...

    def base(self) -> pa.Array[Any]:
        """The one value around which others vary: the default, else the middle."""
        ...

    def describe(self) -> DesignField:
        """What is kept in the record of the design."""
        ...


def variable_of(leaf: Leaf, settings: FieldSettings) -> Variable:
    """Make the variable of a field that is bounded, by its model or by what was said of it.

    Raises:
        UsageError: If a distribution does not fit the field.
    """
    if isinstance(settings.set, Chosen):
        return _OfValues(leaf.name, settings.set.cells, settings.set.shown, _default_cell(leaf))
    domain = leaf.domain
    if isinstance(domain, Values):
        _refuse_spread(leaf, settings)
        return _of_values(leaf, domain)
    assert isinstance(domain, Numbers)
    if isinstance(settings.set, Range):
        domain = domain.narrowed(settings.set.low, settings.set.high)
    spread = _spread_of(leaf, settings, domain)
    if domain.scale.tick is None:
        return _continuous(leaf, domain, spread)
    return _counted(leaf, domain, spread)


def _refuse_spread(leaf: Leaf, settings: FieldSettings) -> None:
    for option, given in (
        ("--log", settings.log),
        ("--normal", settings.normal),
        ("--triangular", settings.triangular),
        ("--levels", settings.levels),
    ):
        if given:
            raise UsageError(f"{leaf.name}: {option} is for numbers, and this field has single values")


@dataclass(frozen=True, slots=True)
class _OfValues:
    """Some values, each as likely as the others."""

    name: str
    cells: pa.Array[Any]
    shown: list[Any]
    default: pa.Array[Any] | None

    @property
    def own_levels(self) -> int | None:
        return len(self.cells)

    def at(self, unit: Unit) -> pa.Array[Any]:
        n = len(self.cells)
        return taken(self.cells, np.minimum((unit * n).astype(np.int64), n - 1))

    def levels(self, n: int | None) -> tuple[pa.Array[Any], Unit]:
        del n  # all of them, always
        return self.cells, (np.arange(len(self.cells)) + 0.5) / len(self.cells)

    def base(self) -> pa.Array[Any]:
        if self.default is not None and self.default.type == self.cells.type:
            cells: list[Any] = self.cells.to_pylist()
            if self.default[0].as_py() in cells:
                return self.default
        return self.cells.slice(0, 1)

    def describe(self) -> DesignField:
        return DesignField(
            name=self.name, distribution="values", values=self.shown[:_SHOWN_VALUES], n_values=len(self.shown)
        )


def _of_values(leaf: Leaf, domain: Values) -> _OfValues:
    from pydantic_core import to_jsonable_python

    shown = [to_jsonable_python(value, fallback=str) for value in domain.values]
    if leaf.column.is_json:
        # values of several types: text, of which pydantic makes the value that it can only mean
        texts = [value if isinstance(value, str) else str(value).lower() for value in shown]
        return _OfValues(leaf.name, pa.array(texts, pa.string()), shown, None)
    return _OfValues(leaf.name, leaf.column.array(domain.values), shown, _default_cell(leaf))


def _default_cell(leaf: Leaf) -> pa.Array[Any] | None:
    from scythe_cli.model.kinds import ColumnError

    if leaf.default is None or leaf.column.is_json or not leaf.column.is_scalar:
        return None
    try:
        return leaf.column.array([leaf.default])
    except ColumnError:  # no default that is known, or one that its column cannot hold
        return None


class _Spread(Protocol):
    """How numbers are spread between two ends."""

    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        """The quantiles of the distribution, cut to [low, high]."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the record of the design says of it."""
        ...


@dataclass(frozen=True, slots=True)
class _Uniform:
    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        # not low + unit · (high − low), which can overflow
        return low * (1 - unit) + high * unit

    def describe(self) -> dict[str, Any]:
        return {"distribution": "uniform"}


@dataclass(frozen=True, slots=True)
class _Log:
    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        return np.exp(math.log(low) * (1 - unit) + math.log(high) * unit)

    def describe(self) -> dict[str, Any]:
        return {"distribution": "log"}


@dataclass(frozen=True, slots=True)
class _Normal:
    mean: float
    sd: float

    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        from scipy.stats import truncnorm

        a, b = (low - self.mean) / self.sd, (high - self.mean) / self.sd
        # the median of each of 2^53 equal parts: 0 and 1 themselves would be infinite
        inside = np.clip(unit, _EPS, 1 - _EPS)
        return truncnorm.ppf(inside, a, b, loc=self.mean, scale=self.sd)

    def describe(self) -> dict[str, Any]:
        return {"distribution": "normal", "mean": self.mean, "sd": self.sd}


@dataclass(frozen=True, slots=True)
class _Triangular:
    low: float
    mode: float
    high: float

    def ppf(self, unit: Unit, low: float, high: float) -> npt.NDArray[np.float64]:
        from scipy.stats import triang

        width = self.high - self.low
        whole: Any = triang((self.mode - self.low) / width, loc=self.low, scale=width)
        first, last = whole.cdf(low), whole.cdf(high)
        return whole.ppf(first + unit * (last - first))

    def describe(self) -> dict[str, Any]:
        return {"distribution": "triangular", "mode": self.mode}


def _spread_of(leaf: Leaf, settings: FieldSettings, domain: Numbers) -> _Spread:
    numeric = domain.scale.kind in ("float", "int", "decimal")
    if (settings.normal is not None or settings.triangular is not None or settings.log) and not numeric:
        raise UsageError(f"{leaf.name}: --log, --normal and --triangular are for numbers, not dates and times")
    if settings.normal is not None:
        return _Normal(*settings.normal)
    if settings.triangular is not None:
        return _Triangular(*settings.triangular)
    if settings.log:
        if domain.low is not None and domain.low <= 0:
            raise UsageError(
                f"{leaf.name}: a logarithmic scale needs a lower end above 0, and this one is "
                f"{domain.scale.plain(domain.low)}",
                hint=f"Give it one with --set {leaf.name}=LOW:HIGH.",
            )
        return _Log()
    return _Uniform()


@dataclass(frozen=True, slots=True)
class _Continuous:
    """Doubles between two ends.

    Attributes:
        low: The least double that is allowed; minus infinity where there is no end.
        high: The greatest.
    """

    leaf: Leaf
    domain: Numbers
    spread: _Spread
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
        return np.clip(self.spread.ppf(unit, self.low, self.high), self.low, self.high)

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
        return _describe(self.leaf, self.domain, self.spread)


def _level_units(n: int, *, low_open: bool, high_open: bool) -> Unit:
    """Places of n levels in [0, 1], evenly: an end that is excluded is none of them, and a single one is the middle."""
    if n == 1 and not low_open and not high_open:
        return np.array([0.5])
    first, last = int(low_open), int(high_open)
    return np.linspace(0.0, 1.0, n + first + last)[first : n + first]


def _continuous(leaf: Leaf, domain: Numbers, spread: _Spread) -> _Continuous:
    low = -math.inf if domain.low is None else float(domain.low)
    high = math.inf if domain.high is None else float(domain.high)
    if isinstance(spread, _Triangular):
        low, high = max(low, spread.low), min(high, spread.high)
    if domain.low_open and low == domain.low:
        low = math.nextafter(low, math.inf)
    if domain.high_open and high == domain.high:
        high = math.nextafter(high, -math.inf)
    if low > high:
        raise _nothing(leaf, domain, spread)
    if isinstance(spread, _Triangular):
        domain = replace(
            domain,
            low=max(low, spread.low),
            high=min(high, spread.high),
            low_open=domain.low_open and spread.low <= low,
            high_open=domain.high_open and spread.high >= high,
        )
    return _Continuous(leaf, domain, spread, low, high)


@dataclass(frozen=True, slots=True)
class _Counted:
    """Multiples of a tick between two ends: whole numbers, days, seconds.

    Attributes:
        first: The least multiple; None where there is no end.
        last: The greatest.
    """

    leaf: Leaf
    domain: Numbers
    spread: _Spread
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
        if isinstance(self.spread, _Uniform):
            assert first is not None
            assert last is not None
            count = last - first + 1
            # whole numbers of 64 bits wrap around, and so end where they should
            steps = np.minimum(np.floor(unit * float(count)).astype(np.uint64), np.uint64(count - 1))
            return (steps + np.uint64(first % 2**64)).view(np.int64)
        tick = float(self.domain.scale.tick or 1)
        low = -math.inf if first is None else (first - 0.5) * tick
        high = math.inf if last is None else (last + 0.5) * tick
        if isinstance(self.spread, _Log):
            assert first is not None
            assert last is not None
            drawn = np.floor(self.spread.ppf(unit, first * tick, (last + 1) * tick) / tick)
        else:
            drawn = np.round(self.spread.ppf(unit, low, high) / tick)
        least, most = -(2**62) if first is None else first, 2**62 if last is None else last
        return np.clip(drawn, float(least), float(most)).astype(np.int64)

    def levels(self, n: int | None) -> tuple[pa.Array[Any], Unit]:
        count = self._count
        if n is None or (count is not None and n >= count):
            assert count is not None
            positions = np.arange(count, dtype=np.uint64) + np.uint64((self.first or 0) % 2**64)
            return self.domain.scale.array(positions.view(np.int64)), (np.arange(count) + 0.5) / count
        if isinstance(self.spread, _Uniform) and self.first is not None and self.last is not None:
            span = self.last - self.first
            # exact for any span: the ends, and between them the nearest whole numbers
            steps = [span // 2] if n == 1 else [(2 * i * span + n - 1) // (2 * (n - 1)) for i in range(n)]
            ticks = [self.first + step for step in steps]
            unit = (np.array(steps, np.float64) + 0.5) / (span + 1)
            return self.domain.scale.array(np.array(ticks, np.int64)), unit
        unit = _level_units(n, low_open=self.first is None, high_open=self.last is None)
        positions, chosen = np.unique(self._positions(np.minimum(unit, 1 - _EPS)), return_index=True)
        return self.domain.scale.array(positions), unit[chosen]

    def base(self) -> pa.Array[Any]:
        default = _default_cell(self.leaf)
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
        return _describe(self.leaf, self.domain, self.spread)


def _counted(leaf: Leaf, domain: Numbers, spread: _Spread) -> _Counted:
    from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

    tick = domain.scale.tick
    assert tick is not None
    first: int | None = None
    last: int | None = None
    low, high = domain.low, domain.high
    if isinstance(spread, _Triangular):
        low = spread.low if low is None else max(float(low), spread.low)
        high = spread.high if high is None else min(float(high), spread.high)
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
            raise _nothing(leaf, domain, spread)
        if first < -(2**63) or last >= 2**63:
            raise UsageError(
                f"{leaf.name}: its bounds are out of what a column can hold",
                hint=f"Narrow them: --set {leaf.name}=0:9.",
            )
    return _Counted(leaf, domain, spread, first, last)


def _nothing(leaf: Leaf, domain: Numbers, spread: _Spread) -> UsageError:
    within = f" and between {spread.low:g} and {spread.high:g}" if isinstance(spread, _Triangular) else ""
    return UsageError(f"{leaf.name}: no value is {domain}{within}")


def _describe(leaf: Leaf, domain: Numbers, spread: _Spread) -> DesignField:
    scale = domain.scale
    return DesignField(
        name=leaf.name,
        low=None if domain.low is None else scale.plain(domain.low),
        high=None if domain.high is None else scale.plain(domain.high),
        low_excluded=domain.low_open,
        high_excluded=domain.high_open,
        step=str(scale.tick) if domain.has_step else None,
        **spread.describe(),
    )
