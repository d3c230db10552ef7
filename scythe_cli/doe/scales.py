"""Numbers, dates and times as positions on an axis, and columns made of positions.

A scale is either continuous (floats, whose positions are the values themselves) or counted: then a position is a whole
number of ticks, as of days, of microseconds, or of the `multiple_of` of a field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Kind", "Scale", "Ticks", "microseconds_of", "taken", "tidy"]


Kind = Literal["float", "int", "decimal", "date", "datetime", "time", "timedelta"]

Ticks = npt.NDArray[np.int64]

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

    def number(self, value: Any) -> float | int | Decimal:
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

    def plain(self, number: float | int | Decimal) -> float | int | str:
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
