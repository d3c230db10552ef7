"""The fields that vary in a study: from cases to coordinates that models learn from, and back.

A number is one coordinate from 0 to 1, on a linear or logarithmic scale. A field of single values has one coordinate a
value, so that each is as far from each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

__all__ = ["Dimension", "Floats", "Point", "Space"]


Floats = npt.NDArray[np.float64]
Point = Mapping[str, Any]
"""A case: the value of each field that varies, by its name."""

_APART = math.sqrt(0.5)
"""What a value's own coordinate is: then two values are as far apart as two ends of a number."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A field that varies.

    Attributes:
        name: Its name, dotted for nested models.
        low: The least number.
        high: The greatest.
        is_log: Whether numbers are spread on a logarithmic scale.
        step: What numbers are counted in from the least; None where there is no such thing.
        is_whole: Whether they are whole numbers.
        values: The single values, in a fixed order; None for a number.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    step: float | None = None
    is_whole: bool = False
    values: tuple[Any, ...] | None = None

    @property
    def width(self) -> int:
        """How many coordinates it has."""
        return 1 if self.values is None else len(self.values)

    @property
    def n_values(self) -> float:
        """How many values it can have."""
        if self.values is not None:
            return len(self.values)
        return math.inf if self.step is None else round((self.high - self.low) / self.step) + 1

    def units(self, cells: Sequence[Any]) -> Floats:
        """Where numbers lie from 0 to 1; beyond for those outside."""
        numbers = np.array([math.nan if cell is None else float(cell) for cell in cells], np.float64)
        low, high = self.low, self.high
        if self.is_log:
            with np.errstate(invalid="ignore", divide="ignore"):
                numbers = np.log(numbers)
            low, high = math.log(low), math.log(high)
        return (numbers - low) / (high - low) if high > low else np.zeros(len(numbers))

    def coordinates(self, cells: Sequence[Any]) -> Floats:
        """The coordinates of cells, a row each; zeros for a value that is not known."""
        if self.values is None:
            return self.units(cells)[:, None]
        places = {_key(value): i for i, value in enumerate(self.values)}
        coordinates = np.zeros((len(cells), len(self.values)))
        for row, cell in enumerate(cells):
            place = places.get(_key(cell))
            if place is not None:
                coordinates[row, place] = _APART
        return coordinates

    def at(self, units: Floats) -> list[Any]:
        """The values at numbers from 0 to 1."""
        if self.values is not None:
            n = len(self.values)
            return [self.values[i] for i in np.minimum((units * n).astype(np.int64), n - 1)]
        low, high = (math.log(self.low), math.log(self.high)) if self.is_log else (self.low, self.high)
        numbers = low + units * (high - low)
        numbers = np.exp(numbers) if self.is_log else numbers
        if self.step is not None:
            numbers = self.low + np.round((numbers - self.low) / self.step) * self.step
        numbers = np.clip(numbers, self.low, self.high)
        return [round(float(x)) if self.is_whole else _tidy(float(x)) for x in numbers]

    def holds(self, cell: Any) -> bool:
        """Whether a value lies in what varies."""
        if self.values is not None:
            return _key(cell) in set(map(_key, self.values))
        try:
            number = float(cell)
        except (TypeError, ValueError):
            return False
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        return self.low - slack <= number <= self.high + slack


def _tidy(number: float) -> float:
    """A number with as many digits as each double keeps, so that it is the same in every file."""
    return float(f"{number:.15g}")


def _key(value: Any) -> Any:
    """What tells values apart, with numbers by their size and all else by its text."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Space:
    """All fields that vary, in the order of the model."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [dimension.name for dimension in self.dimensions]

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """For each coordinate the position of its field."""
        return np.repeat(np.arange(len(self.dimensions)), [dimension.width for dimension in self.dimensions])

    @property
    def ratios(self) -> list[float]:
        """The greatest value of each field divided by its least, where both are above 0 and spread evenly; else 1."""
        return [1.0 if d.values is not None or d.is_log or d.low <= 0 else d.high / d.low for d in self.dimensions]

    @property
    def has_values(self) -> bool:
        """Whether a field has single values."""
        return any(dimension.values is not None for dimension in self.dimensions)

    @property
    def n_points(self) -> float:
        """How many points there are."""
        return math.prod(dimension.n_values for dimension in self.dimensions)

    def coordinates(self, points: Sequence[Point]) -> Floats:
        """The coordinates of points, a row each."""
        return self.of_columns({name: [point[name] for point in points] for name in self.names})

    def of_columns(self, columns: Mapping[str, Sequence[Any]]) -> Floats:
        """The coordinates of a table."""
        return np.hstack([dimension.coordinates(columns[dimension.name]) for dimension in self.dimensions])

    def points(self, units: Floats) -> list[dict[str, Any]]:
        """The points at rows of numbers from 0 to 1, one for each field."""
        columns = [dimension.at(units[:, i]) for i, dimension in enumerate(self.dimensions)]
        return [dict(zip(self.names, cells, strict=True)) for cells in zip(*columns, strict=True)]

    def key(self, point: Point) -> tuple[Any, ...]:
        """What tells a point from others."""
        return tuple(_key(point[name]) for name in self.names)

    def outside(self, columns: Mapping[str, Sequence[Any]]) -> npt.NDArray[np.bool_]:
        """Which rows of a table lie outside of what varies."""
        flags = [[not dimension.holds(cell) for cell in columns[dimension.name]] for dimension in self.dimensions]
        return cast("npt.NDArray[np.bool_]", np.array(flags, np.bool_).any(axis=0))

    def to_json(self) -> list[dict[str, Any]]:
        """As plain data."""
        return [
            {
                "name": d.name,
                **({"values": list(d.values)} if d.values is not None else {"low": d.low, "high": d.high}),
                **({"log": True} if d.is_log else {}),
                **({"step": d.step} if d.step is not None else {}),
                **({"whole": True} if d.is_whole else {}),
            }
            for d in self.dimensions
        ]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> Space:
        """From what `to_json` gave."""
        return cls(
            tuple(
                Dimension(
                    name=str(each["name"]),
                    low=float(each.get("low", 0.0)),
                    high=float(each.get("high", 1.0)),
                    is_log=bool(each.get("log")),
                    step=None if each.get("step") is None else float(each["step"]),
                    is_whole=bool(each.get("whole")),
                    values=None if each.get("values") is None else tuple(each["values"]),
                )
                for each in data
            )
        )

    @classmethod
    def of_vocs(cls, vocs: Any, logarithmic: Sequence[str] = ()) -> Space:
        """The variables of a VOCS of gest-api."""
        dimensions: list[Dimension] = []
        for name, variable in vocs.variables.items():
            values: Any = getattr(variable, "values", None)
            if values is None:
                low, high = map(float, variable.domain)
                dimensions.append(Dimension(name, low, high, name in logarithmic))
                continue
            # a set has no order of its own, nor the same one in two processes
            ordered = sorted(cast("Sequence[Any]", values), key=lambda value: (str(type(value)), _key(value)))
            steps = _step_of(ordered)
            if steps is None:
                dimensions.append(Dimension(name, values=tuple(ordered)))
            else:
                low, high = float(ordered[0]), float(ordered[-1])
                whole = all(isinstance(value, int) for value in ordered)
                dimensions.append(Dimension(name, low, high, name in logarithmic, steps, whole))
        return cls(tuple(dimensions))


def _step_of(values: Sequence[Any]) -> float | None:
    """The distance of numbers that are evenly spread; None for anything else."""
    if len(values) < 3 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return None
    steps = np.diff(np.array(values, np.float64))
    return float(steps[0]) if np.allclose(steps, steps[0], rtol=1e-9) and steps[0] > 0 else None
