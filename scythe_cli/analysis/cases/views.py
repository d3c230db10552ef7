"""What a page shows of the cases of a run: pages of the table, bins of histograms, and samples of points and lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, cast

import numpy as np
import polars as pl

from scythe_cli.analysis.cases.frame import CASE, RUN, CaseColumn
from scythe_cli.analysis.cases.selecting import Filters, Positions, Selection
from scythe_cli.analysis.plots.bins import bin_edges, rice_bins
from scythe_cli.core.text import visible
from scythe_cli.errors import UsageError

__all__ = ["Bins", "CaseViews", "plain_cell"]

_MAX_BARS = 24
_MAX_GROUPS = 8
_MAX_PAGE = 500
_MAX_TEXT = 400
_NONE = 255
_MOST_KEPT_PAIRS = 3_000_000
_Pairs = np.ndarray[Any, np.dtype[np.uint16]]


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of a column, and in which of them each case is.

    Attributes:
        edges: Of numbers: one more than there are bins.
        labels: Of categories: one for each bin; the last one, `(other)`, where there are too many.
        index: The bin of each case; 255 for a case without a value.
        is_log: Whether the bins are equal on a logarithmic scale; numbers from zero down are in none then.
    """

    edges: list[float]
    labels: list[str]
    index: np.ndarray[Any, np.dtype[np.uint8]]
    is_log: bool = False

    @property
    def n(self) -> int:
        """How many bins there are."""
        return len(self.labels) or len(self.edges) - 1

    def counts(self, chosen: Positions | None) -> list[int]:
        """How many cases, all or those at some positions, are in each."""
        index = self.index if chosen is None else self.index.take(chosen)
        return np.bincount(index, minlength=256)[: self.n].tolist()

    def within(self, groups: Bins) -> _Pairs:
        """The bin of each case together with its group, of which the last are those that are in none."""
        return np.minimum(groups.index, groups.n).astype(np.uint16) * 256 + self.index

    def grouped(self, chosen: Positions | None, pairs: _Pairs, n_groups: int) -> list[list[int]]:
        """How many cases are in each bin, for each of some groups; in the last row, those that are in none.

        Args:
            chosen: The positions of those that count; None for all.
            pairs: See `within`.
            n_groups: How many groups there are.
        """
        n = 256 * (n_groups + 1)
        counted = np.bincount(pairs if chosen is None else pairs.take(chosen), minlength=n)[:n]
        return counted.reshape(n_groups + 1, 256)[:, : self.n].tolist()


@dataclass
class CaseViews:
    """Answers a page about the cases of a run.

    Attributes:
        selection: Chooses among them.
    """

    selection: Selection
    _bins: dict[tuple[str, int, bool], Bins] = field(default_factory=dict[tuple[str, int, bool], Bins])
    _numbers: dict[str, Any] = field(default_factory=dict[str, Any])
    _every: dict[tuple[str, bool], list[int]] = field(default_factory=dict[tuple[str, bool], list[int]])
    _pairs: dict[tuple[str, bool, str], _Pairs] = field(default_factory=dict[tuple[str, bool, str], _Pairs])

    def histogram(self, name: str, filters: Filters, color: str | None = None, *, log: bool = False) -> dict[str, Any]:
        """How many of all cases, and of those that are chosen, are in each bin of a column.

        Args:
            name: The column.
            filters: Which cases are chosen.
            color: The column whose categories divide the bins.
            log: Whether the bins are equal on a logarithmic scale, where there are numbers above zero.
        """
        bins = self._bins_of(name, _MAX_BARS, log)
        positions = self.selection.positions(filters)
        if (name, log) not in self._every:
            self._every[name, log] = bins.counts(None)
        every = self._every[name, log]
        answer: dict[str, Any] = {"column": name, "edges": bins.edges, "labels": bins.labels, "log": bins.is_log}
        if color is not None and self._column(color).kind == "category":
            groups = self._bins_of(color, _MAX_GROUPS)
            answer["groups"] = groups.labels
            answer["grouped"] = bins.grouped(positions, self._pairs_with(name, log, color), groups.n)
            chosen = [sum(row) for row in zip(*answer["grouped"], strict=True)]
        else:
            chosen = every if positions is None else bins.counts(positions)
        return answer | {"all": every, "chosen": chosen}

    def _pairs_with(self, name: str, log: bool, color: str) -> _Pairs:
        """Bins and groups together: kept for one color, since each brush counts them again."""
        pairs = self._pairs.get((name, log, color))
        if pairs is None:
            pairs = self._bins_of(name, _MAX_BARS, log).within(self._bins_of(color, _MAX_GROUPS))
            if pairs.size <= _MOST_KEPT_PAIRS:
                self._pairs = {key: kept for key, kept in self._pairs.items() if key[2] == color}
                self._pairs[name, log, color] = pairs
        return pairs

    def points(
        self, names: Sequence[str], filters: Filters, color: str | None, most: int, behind: int
    ) -> dict[str, Any]:
        """Some of the chosen cases, and behind them some of all, with their numbers in some columns, as arrays.

        Args:
            names: The columns.
            filters: Which cases are chosen.
            color: The column that colors them.
            most: How many chosen ones to return at most.
            behind: How many of all.
        """
        if not 1 <= len(names) <= 24:
            raise UsageError("from 1 to 24 columns can be drawn")
        mask = self.selection.mask(filters)
        most, behind = min(most, 20_000), min(behind, 20_000)
        front = np.sort(self.selection.sample(mask, most))
        back = np.sort(self.selection.sample(None, behind)) if mask is not None else front[:0]
        frame = self.selection.cases.frame
        answer: dict[str, Any] = {
            "cases": frame[CASE].gather(front).to_numpy(),
            "values": {name: self._as_numbers(name)[front] for name in names},
            "behind": {name: self._as_numbers(name)[back] for name in names},
        }
        if RUN in frame.columns:
            answer["runs"] = frame[RUN].gather(front).to_physical().to_numpy()
        if color is not None:
            if self._column(color).kind == "category":
                groups = self._bins_of(color, _MAX_GROUPS)
                answer |= {"groups": groups.labels, "color": np.minimum(groups.index[front], groups.n)}
            else:
                answer["color"] = self._as_numbers(color)[front]
        return answer

    def rows(
        self,
        filters: Filters,
        *,
        columns: Sequence[str],
        sort: str,
        descending: bool = False,
        offset: int = 0,
        limit: int = 50,
    ) -> dict[str, Any]:
        """One page of the table of the chosen cases."""
        for name in columns:
            self._column(name)
        mask, order = self.selection.mask(filters), self.selection.order(sort, descending)
        limit, offset = max(0, min(limit, _MAX_PAGE)), max(offset, 0)
        if order is None:
            chosen = self.selection.positions(filters)
            positions = np.arange(self.selection.cases.n) if chosen is None else chosen
        else:
            positions = order if mask is None else order[mask[order]]
        frame = self.selection.cases.frame[positions[offset : offset + limit]]
        cells = [[plain_cell(value) for value in frame[name].to_list()] for name in columns]
        return {"n": int(positions.size), "offset": offset, "rows": list(zip(*cells, strict=True))}

    def count(self, filters: Filters) -> int:
        """How many cases are chosen."""
        positions = self.selection.positions(filters)
        return self.selection.cases.n if positions is None else positions.size

    def _column(self, name: str) -> CaseColumn:
        return self.selection.cases.column(name)

    def _as_numbers(self, name: str) -> Any:
        if self._column(name).kind not in ("number", "time", "category"):
            raise UsageError(f"{name[:80]} holds neither numbers nor categories")
        if name not in self._numbers:
            # half the memory, for what is drawn on a few hundred pixels
            values = self.selection.cases.numbers(name).to_numpy()
            self._numbers[name] = values.astype(np.float32) if _fits_float32(self._column(name)) else values
        return self._numbers[name]

    def _bins_of(self, name: str, most: int, log: bool = False) -> Bins:
        if (name, most, log) not in self._bins:
            column = self._column(name)
            if column.kind == "category":
                self._bins[name, most, log] = self._categories(column, most)
            elif column.kind in ("number", "time"):
                made = self._log_ranges(column) if log and column.kind == "number" else None
                self._bins[name, most, log] = self._ranges(column) if made is None else made
            else:
                raise UsageError(f"{name[:80]} holds neither numbers nor categories")
        return self._bins[name, most, log]

    def _log_ranges(self, column: CaseColumn) -> Bins | None:
        """Bins that are equal on a logarithmic scale; None where no number is above zero."""
        values = self.selection.cases.numbers(column.name).to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            powers = np.where(np.isfinite(values) & (values > 0), np.log10(values), np.nan)
        known = powers[np.isfinite(powers)]
        if not known.size:
            return None
        low, high = float(known.min()), float(known.max())
        ends = (low - 0.05, high + 0.05) if high - low < 1e-9 else (low, high)
        edges = bin_edges(*ends, rice_bins(values.size))
        place = (powers - edges[0]) / (edges[-1] - edges[0]) * (len(edges) - 1)
        index = np.where(np.isfinite(powers), np.clip(np.nan_to_num(place), 0, len(edges) - 2), _NONE).astype(np.uint8)
        with np.errstate(over="ignore", under="ignore"):
            # the outermost may be beyond what a number can be
            shown = np.clip(np.power(10.0, edges), 5e-324, np.finfo(np.float64).max).tolist()
        return Bins(shown, [], index, is_log=True)

    def _categories(self, column: CaseColumn, most: int) -> Bins:
        kept = column.values if len(column.values) <= most else column.values[: most - 1]
        codes = self.selection.cases.numbers(column.name).to_numpy()
        index = np.where(np.isnan(codes), _NONE, np.minimum(np.nan_to_num(codes), len(kept))).astype(np.uint8)
        return Bins([], [*kept, *(["(other)"] if len(kept) < len(column.values) else [])], index)

    def _ranges(self, column: CaseColumn) -> Bins:
        if column.low is None or column.high is None:
            return Bins([0.0, 1.0], [], np.full(self.selection.cases.n, _NONE, np.uint8))
        values = self.selection.cases.numbers(column.name).to_numpy()
        whole = self.selection.cases.frame[column.name].dtype.is_integer()
        edges = bin_edges(column.low, column.high, rice_bins(values.size), whole=whole)
        with np.errstate(invalid="ignore", over="ignore"):
            # divided by the whole: a single bin of the smallest numbers has no width
            place = (values - edges[0]) / (edges[-1] - edges[0]) * (len(edges) - 1)
        inside = np.clip(np.nan_to_num(place, posinf=0), 0, len(edges) - 2)
        return Bins(edges, [], np.where(np.isfinite(values), inside, _NONE).astype(np.uint8))


def _fits_float32(column: CaseColumn) -> bool:
    """Whether numbers of half the size place the cases of a column as well; times need all digits."""
    if column.kind == "category":
        return True
    ends = [abs(end) for end in (column.low, column.high) if end is not None]
    return column.kind == "number" and all(end == 0 or 1e-30 < end < 1e30 for end in ends)


def plain_cell(value: Any, most: int = _MAX_TEXT) -> Any:
    """A value as JSON can hold it; a long text is cut, and what cannot be seen in it shown as an escape."""
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < 2**53 else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return f"{len(value)} bytes"
        case pl.Series():
            return plain_cell(value.head(50).to_list(), most)
        case list() | tuple() | Mapping():
            text = str(cast("Any", value))
        case _:
            text = str(value)
    shown = visible(text[: most + 1])
    return shown if len(text) <= most else f"{shown[:most]}…"
