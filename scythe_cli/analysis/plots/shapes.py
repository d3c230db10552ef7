"""What a plot shows, as numbers; how it looks is for `vega` and `terminal`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "Axis",
    "Bar",
    "Bars",
    "Box",
    "Boxes",
    "Curve",
    "Heat",
    "Histogram",
    "Pairs",
    "Points",
    "Shape",
    "Swing",
    "Tornado",
]


@dataclass(frozen=True, slots=True)
class Axis:
    """A column as an axis.

    Attributes:
        column: Its name.
        kind: Whether its values are numbers, moments (as milliseconds since 1970, UTC) or categories.
        unit: The unit of its numbers.
        log: Whether it is logarithmic.
    """

    column: str
    kind: Literal["number", "time", "category"]
    unit: str | None = None
    log: bool = False

    @property
    def title(self) -> str:
        """The name with the unit: `tilt [deg]`."""
        return f"{self.column} [{self.unit}]" if self.unit else self.column


@dataclass(frozen=True, slots=True)
class Points:
    """One point for each row."""

    x: Axis
    y: Axis
    xs: Sequence[float]
    ys: Sequence[float]
    color: Axis | None = None
    colors: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Heat:
    """How many rows are in each cell of a grid; `counts[i][j]` is for x bin i and y bin j."""

    x: Axis
    y: Axis
    x_edges: Sequence[float]
    y_edges: Sequence[float]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many rows are in each bin, or have each value."""

    x: Axis
    counts: Sequence[int]
    edges: Sequence[float] = ()  # one more than counts
    labels: Sequence[str] = ()  # of categories
    omitted: int = 0  # further categories
    marked: Sequence[int] = ()  # how many of these failed, where that is told


@dataclass(frozen=True, slots=True)
class Box:
    """The spread of a number among the rows of one category."""

    label: str
    count: int
    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float


@dataclass(frozen=True, slots=True)
class Boxes:
    """A number for each category."""

    x: Axis
    y: Axis
    boxes: Sequence[Box]
    omitted: int = 0  # further categories


@dataclass(frozen=True, slots=True)
class Pairs:
    """Each of some numbers against each other; `columns` hold their values row by row."""

    axes: Sequence[Axis]
    columns: Sequence[Sequence[float]]
    correlations: Sequence[Sequence[float]]  # Spearman's rank correlations
    color: Axis | None = None
    colors: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Swing:
    """What an output is at both ends of an input."""

    label: str
    low: float
    high: float
    low_text: str
    high_text: str


@dataclass(frozen=True, slots=True)
class Tornado:
    """The swings of an output, the largest first."""

    y: Axis
    middle: float
    swings: Sequence[Swing]
    low_name: str
    high_name: str
    middle_name: str = "the mean"


@dataclass(frozen=True, slots=True)
class Bar:
    """One number for one input, with the ends of its confidence interval where it has one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """A number for each input, the largest first; with several groups, one for each group."""

    title: str
    bars: Sequence[Bar]
    signed: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """Something that grows, as a line with the area below it."""

    x: Axis
    y: Axis
    xs: Sequence[float]
    ys: Sequence[float]


Shape = Points | Heat | Histogram | Boxes | Pairs | Tornado | Bars | Curve
