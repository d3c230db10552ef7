"""Which cases are meant: filters of columns and a search, as masks that are remembered."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import polars as pl

from scythe_cli.analysis.cases.frame import CASE, Cases
from scythe_cli.errors import UsageError

__all__ = ["Filters", "Mask", "Positions", "Selection", "parse_filters"]

_MAX_FILTERS = 40
_MAX_CHOICES = 500
_MAX_MASKS = 48
_MAX_ORDERS = 6

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Positions = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True, slots=True)
class Filters:
    """What cases have to fulfil, all of it.

    Attributes:
        ranges: By column, the smallest and the largest number; None where there is no limit.
        choices: By column, the texts that are allowed; None for a missing value.
        search: What one of the texts of a case contains, in whatever case; or the number of the case.
    """

    ranges: dict[str, tuple[float | None, float | None]] = field(default_factory=dict[str, Any])
    choices: dict[str, tuple[str | None, ...]] = field(default_factory=dict[str, Any])
    search: str = ""


def parse_filters(text: str) -> Filters:
    """Read filters as a page sends them: `{"q": "search", "f": {"x": [0, 5], "site": ["=", "Oslo"]}}`.

    Raises:
        UsageError: If it is something else.
    """
    if not text:
        return Filters()
    try:
        told: Any = json.loads(text)
        ranges: dict[str, tuple[float | None, float | None]] = {}
        choices: dict[str, tuple[str | None, ...]] = {}
        filters: dict[str, list[Any]] = told.get("f", {})
        if len(filters) > _MAX_FILTERS:
            raise UsageError(f"more than {_MAX_FILTERS} filters")
        for name, value in filters.items():
            if value and value[0] == "=":
                choices[name] = tuple(None if each is None else str(each) for each in value[1 : _MAX_CHOICES + 1])
            else:
                low, high = value
                ranges[name] = (None if low is None else float(low), None if high is None else float(high))
        return Filters(ranges, choices, str(told.get("q", ""))[:200])
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError) as error:
        raise UsageError("the filters of the page cannot be read") from error


@dataclass
class Selection:
    """Chooses among the cases of a run, and remembers what it has worked out.

    Attributes:
        cases: The cases.
        ranks: A random order of all cases, always the same: samples are taken by it, so that more filters leave the
            points that are there where they are.
    """

    cases: Cases
    ranks: np.ndarray[Any, np.dtype[np.int32]] = field(init=False)
    _masks: OrderedDict[Any, np.ndarray[Any, np.dtype[np.bool_]]] = field(default_factory=OrderedDict[Any, Any])
    _orders: OrderedDict[Any, np.ndarray[Any, np.dtype[np.uint32]]] = field(default_factory=OrderedDict[Any, Any])
    _last: tuple[Filters, Mask | None, Positions | None] | None = None

    def __post_init__(self) -> None:
        self.ranks = np.random.default_rng(0).permutation(self.cases.n).astype(np.int32)

    def mask(self, filters: Filters) -> Mask | None:
        """Which cases fulfil all filters; None for all of them."""
        return self._chosen(filters)[1]

    def positions(self, filters: Filters) -> Positions | None:
        """Where these are, ascending; None for all: numpy takes by positions four times as fast as by a mask."""
        return self._chosen(filters)[2]

    def _chosen(self, filters: Filters) -> tuple[Filters, Mask | None, Positions | None]:
        """Both, kept for all pictures of a page, which are of the same filters."""
        if self._last is None or self._last[0] != filters:
            mask = self._fulfilling(filters)
            self._last = filters, mask, None if mask is None else np.flatnonzero(mask)
        return self._last

    def _fulfilling(self, filters: Filters) -> Mask | None:
        masks = [
            *(self._remembered(self._in_range, name, *ends) for name, ends in filters.ranges.items()),
            *(self._remembered(self._among, name, texts) for name, texts in filters.choices.items()),
        ]
        if filters.search:
            masks.append(self._remembered(self._containing, filters.search))
        if not masks:
            return None
        result = masks[0]
        for mask in masks[1:]:
            result = result & mask
        return result

    def sample(self, mask: np.ndarray[Any, np.dtype[np.bool_]] | None, most: int) -> np.ndarray[Any, Any]:
        """The positions of at most so many cases, drawn at random, always the same ones."""
        if mask is None:
            return self.ranks[:most]
        # the first blocks have enough, unless few are chosen
        found: list[Any] = []
        n, start, size = 0, 0, max(4 * most, 1)
        while n < most and start < self.ranks.size:
            block = self.ranks[start : start + size]
            found.append(block[mask[block]])
            n += found[-1].size
            start, size = start + size, size * 4
        return np.concatenate(found)[:most] if found else self.ranks[:0]

    def order(self, column: str, descending: bool) -> np.ndarray[Any, np.dtype[np.uint32]] | None:
        """The positions of all cases, sorted by a column, missing values last; None where they are so already."""
        if column == CASE and not descending:
            return None
        key = (column, descending)
        if key not in self._orders:
            kind = self.cases.column(column).kind
            values = self.cases.frame[column]
            if kind == "other":
                raise UsageError(f"{column[:80]} cannot be sorted by")
            if kind in ("category", "text"):
                values = values.cast(pl.String)
            elif values.dtype.is_float():
                values = values.fill_nan(None)
            self._orders[key] = cast("Any", values.arg_sort(descending=descending, nulls_last=True).to_numpy())
            while len(self._orders) > _MAX_ORDERS:
                self._orders.popitem(last=False)
        return self._orders[key]

    def _remembered(self, make: Callable[..., Any], *arguments: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        key = (make.__name__, *arguments)
        mask = self._masks.pop(key, None)
        self._masks[key] = mask = make(*arguments) if mask is None else mask
        while len(self._masks) > _MAX_MASKS:
            self._masks.popitem(last=False)
        return mask

    def _in_range(self, name: str, low: float | None, high: float | None) -> Any:
        values = self.cases.numbers(name).to_numpy()  # missing ones are NaN, which no comparison holds for
        chosen = np.isfinite(values)
        if low is not None:
            chosen &= values >= low
        if high is not None:
            chosen &= values <= high
        return chosen

    def _among(self, name: str, texts: tuple[str | None, ...]) -> Any:
        if self.cases.column(name).kind == "other":
            raise UsageError(f"{name[:80]} cannot be filtered")
        values = self.cases.frame[name].cast(pl.String)
        chosen = values.is_in([text for text in texts if text is not None]).fill_null(False)
        return (chosen | values.is_null() if None in texts else chosen).to_numpy()

    def _containing(self, text: str) -> Any:
        wanted = text.lower()
        chosen = pl.Series([False]).new_from_index(0, self.cases.n)
        for name, column in self.cases.columns.items():
            if column.kind in ("category", "text"):
                values = self.cases.frame[name].cast(pl.String)
                chosen |= values.str.to_lowercase().str.contains(wanted, literal=True).fill_null(False)
        if wanted.isdecimal() and len(wanted) < 18:
            chosen |= self.cases.frame[CASE] == int(wanted)
        return chosen.to_numpy()
