"""Numbers, dates and times as positions on an axis, and columns made of positions.

A scale is either continuous (floats, whose positions are the values themselves) or counted: then a position is a whole
number of ticks, as of days, of microseconds, or of the `multiple_of` of a field. `Numbers` is a part of a scale,
between two ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["EPS", "Kind", "Number", "Numbers", "Scale", "Ticks", "Unit", "microseconds_of", "taken", "tidy"]


Kind = Literal["float", "int", "decimal", "date", "datetime", "time", "timedelta"]

Ticks = npt.NDArray[np.int64]

Unit = npt.NDArray[np.float64]
"""Numbers in [0, 1)."""

EPS = 2.0**-53
"""1 less this is the double below 1."""

_EPOCH = datetime(1970, 1, 1)
_TYPES: dict[str, Any] = {
    "float": float,
    "int": int,
    "decimal": Decimal,
    "date": date,
    "datetime": datetime,
    "time": time,
    "timedelta": timedelta,
}
_SIGNIFICANT = 15  # digits that every double keeps
_RESOLUTIONS_US = (1_000_000, 1_000, 1)  # the coarsest of which a range has enough is what people can read
_ENOUGH_TICKS = 10_000
_DECIMAL_DIGITS = 6

Number = float | int | Decimal


def microseconds_of(delta: timedelta) -> int:
    """A duration in microseconds, exactly."""
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def taken(cells: pa.Array[Any], index: Ticks) -> pa.Array[Any]:
    """The cells at some positions."""
    return cells.take(pa.array(index, pa.int64()))


@dataclass(frozen=True, slots=True)
class Scale:
    """How the values of a field are counted.

    Attributes:
        kind: What the values are.
        tick: The distance of neighbouring values in the unit of `number`: for numbers 1, for dates days, for times
            microseconds. None for a continuous scale.
        aware: Whether moments have a zone; then they are in UTC.
    """

    kind: Kind
    tick: Decimal | None
    aware: bool = False

    @property
    def type(self) -> Any:
        """The type of the values, without bounds; a moment without a zone stands for UTC where the scale is aware."""
        return _TYPES[self.kind]

    def number(self, value: Any) -> Number:
        """A value of the field's type as a number: days since 1970, microseconds since then or since midnight.

        Raises:
            TypeError, ValueError: If it is no such value.
        """
        match self.kind:
            case "float":
                return float(value)
            case "int":
                return value if isinstance(value, int) else Decimal(str(value))
            case "decimal":
                return Decimal(str(value))
            case "date":
                day = value.date() if isinstance(value, datetime) else value
                return (day - _EPOCH.date()).days
            case "datetime":
                return self._moment(value)
            case "time":
                clock: time = value
                seconds = (clock.hour * 60 + clock.minute) * 60 + clock.second
                return seconds * 1_000_000 + clock.microsecond
            case "timedelta":
                return microseconds_of(value)

    def _moment(self, value: Any) -> int:
        moment = value if isinstance(value, datetime) else datetime.combine(value, time())
        if self.aware:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif moment.tzinfo is not None:
            raise ValueError("a moment with a zone, for a field without")
        return microseconds_of(moment.replace(tzinfo=None) - _EPOCH)

    def plain(self, number: Number) -> float | int | str:
        """A number as it is written in the record of a design: dates and times as ISO 8601."""
        match self.kind:
            case "float":
                return float(number)
            case "int":
                return int(number)
            case "decimal":
                return str(number)
            case "date":
                return (_EPOCH.date() + timedelta(days=int(number))).isoformat()
            case "datetime":
                return (_EPOCH + timedelta(microseconds=int(number))).isoformat() + ("Z" if self.aware else "")
            case "time":
                return (_EPOCH + timedelta(microseconds=int(number))).time().isoformat()
            case "timedelta":
                return f"PT{format(Decimal(int(number)) / 1_000_000, 'f')}S"

    def array(self, ticks: Ticks) -> pa.Array[Any]:
        """A column of the values at some ticks of a scale that is not continuous."""
        tick = Decimal(1) if self.tick is None else self.tick
        if self.kind == "float":
            return pa.array(_multiples(ticks, tick), pa.float64())
        if self.kind == "decimal":
            return _decimals(ticks, tick)
        values = pa.array(ticks * int(tick), pa.int64())
        match self.kind:
            case "int":
                return values
            case "date":
                return values.cast(pa.int32()).cast(pa.date32())
            case "datetime":
                return values.cast(pa.timestamp("us", tz="UTC") if self.aware else pa.timestamp("us"))
            case "time":
                return values.cast(pa.time64("us"))
            case "timedelta":
                return values.cast(pa.duration("us"))


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values that have an order and a distance, between two ends as far as there are some.

    Attributes:
        scale: How they are counted.
        low: The lower end, as `scale.number` gives it; None where there is none.
        high: The upper end.
        low_open: Whether the lower end itself is excluded.
        high_open: Whether the upper end itself is excluded.
        has_step: Whether the tick of the scale is a rule of the model's (`multiple_of`), and not of our choice.
        places: The most decimal places of a `Decimal`.
        digits: The most digits of a `Decimal`.
    """

    scale: Scale
    low: Number | None = None
    high: Number | None = None
    low_open: bool = False
    high_open: bool = False
    has_step: bool = False
    places: int | None = None
    digits: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are there."""
        return self.low is not None and self.high is not None

    @property
    def lack(self) -> str | None:
        """Which ends are missing, in words."""
        if self.low is None and self.high is None:
            return "no bounds"
        if self.low is None:
            return f"no lower bound, only {'<' if self.high_open else '≤'} {self._plain(self.high)}"
        if self.high is None:
            return f"no upper bound, only {'>' if self.low_open else '≥'} {self._plain(self.low)}"
        return None

    def _plain(self, number: Number | None) -> object:
        return None if number is None else self.scale.plain(number)

    def contains(self, number: Number) -> bool:
        """Whether a number is in between."""
        above = self.low is None or (number > self.low if self.low_open else number >= self.low)
        below = self.high is None or (number < self.high if self.high_open else number <= self.high)
        return above and below

    def narrowed(self, low: Number, high: Number) -> Numbers:
        """The same numbers between two others, which are part of the range unless the model excludes them."""
        return replace(
            self,
            low=low,
            high=high,
            low_open=self.low_open and low == self.low,
            high_open=self.high_open and high == self.high,
        ).with_tick()

    def with_tick(self) -> Numbers:
        """With ticks that suit the range: whole seconds for years, microseconds for seconds."""
        if self.has_step:
            return self
        kind = self.scale.kind
        if kind in ("datetime", "time", "timedelta"):
            span_us = int(self.high) - int(self.low) if self.low is not None and self.high is not None else 0
            fitting = [us for us in _RESOLUTIONS_US if span_us // us >= _ENOUGH_TICKS]
            return replace(self, scale=replace(self.scale, tick=Decimal(fitting[0] if fitting else 1)))
        if kind == "decimal":
            return replace(self, scale=replace(self.scale, tick=Decimal(1).scaleb(-self._decimal_places())))
        return self

    def _decimal_places(self) -> int:
        low, high = float(self.low or 0), float(self.high or 0)
        places = self.places
        if places is None:
            span = high - low if self.is_bounded and high > low else 1.0
            places = max(0, min(15, _DECIMAL_DIGITS - math.floor(math.log10(span))))
        if self.digits is not None:
            whole = max(len(str(int(abs(end)))) if abs(end) >= 1 else 0 for end in (low, high))
            places = max(0, min(places, self.digits - whole))
        return places

    def __str__(self) -> str:
        low = "" if self.low is None else f"{self._plain(self.low)} {'<' if self.low_open else '≤'} "
        high = "" if self.high is None else f" {'<' if self.high_open else '≤'} {self._plain(self.high)}"
        return f"{low}x{high}"


def tidy(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Levels as people write them: doubles of at most 15 digits, 0.3 and not 0.30000000000000004."""
    return np.array([v if not math.isfinite(v) else float(f"{v:.{_SIGNIFICANT}g}") for v in values.tolist()])


def _multiples(ticks: Ticks, tick: Decimal) -> npt.NDArray[np.float64]:
    """Multiples of a decimal tick as the doubles nearest to them."""
    exponent = int(tick.normalize().as_tuple().exponent)
    values: npt.NDArray[np.float64] = np.empty(len(ticks))
    if -15 <= exponent < 0:
        # both are whole numbers that doubles hold exactly, so that the quotient is the nearest double
        np.divide(ticks * int(tick.scaleb(-exponent)), 10.0**-exponent, out=values)
    else:
        np.multiply(ticks, float(tick), out=values)
    return values


def _decimals(ticks: Ticks, tick: Decimal) -> pa.Array[Any]:
    """Multiples of a decimal tick as text."""
    exponent = min(int(tick.normalize().as_tuple().exponent), 0)
    whole = pa.array(ticks * int(tick.scaleb(-exponent)), pa.int64()).cast(pa.decimal128(38, 0))
    # the same digits, with the point moved
    moved = pa.Array.from_buffers(pa.decimal128(38, -exponent), len(whole), whole.buffers())
    return moved.cast(pa.string())
