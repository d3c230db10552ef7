"""Rows of a run brought together: a case for each group, with means, sums and the like of its rows.

Sums are rounded once, at the end: what a group gives depends on the values of its rows alone, whatever their order and
whatever other groups there are, so that it is the same case as long as its rows say the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.analysis.results.by_case import case_of_rows
from scythe_cli.analysis.run import Run
from scythe_cli.arrow.build import numbers
from scythe_cli.errors import UsageError
from scythe_cli.services.chains.offer import Offer, OfferedColumn, Rows
from scythe_cli.services.chains.rules import ORDERED, PICKED, RANKED, SUMMED, Aggregate

__all__ = ["CASE", "grouped"]


CASE = "case"
"""What `--group-by` takes for the replicates of each case."""


@dataclass(frozen=True, slots=True)
class _GroupLabel:
    """`site=Oslo`."""

    names: tuple[str, ...]
    keys: pl.DataFrame

    def __call__(self, row: int) -> str:
        cells = self.keys.row(row)
        return ", ".join(f"{name}={cell}" for name, cell in zip(self.names, cells, strict=True)) or "all rows"


def grouped(run: Run, offer: Offer, sort_index: Rows, by: Sequence[str], aggregates: Sequence[Aggregate]) -> Offer:
    """What groups of rows offer: what they are grouped by, and what was made of the rest.

    Args:
        run: The run.
        offer: What its rows offer.
        sort_index: Which rows these are.
        by: What they are grouped by, in the order of the groups' first rows; without any, all rows are one group.
        aggregates: What is made of the values of each group.

    Raises:
        UsageError: If there is no such input or output, or it cannot be grouped or reduced like that.
    """
    keys = [_key(run, offer, sort_index, name) for name in by]
    names = tuple(column.name for column in keys)
    frame = pl.DataFrame([_series(column).alias(str(i)) for i, column in enumerate(keys)])
    if keys:
        groups = frame.with_row_index("row").group_by([str(i) for i in range(len(keys))], maintain_order=True)
        members: list[Rows] = [rows.to_numpy().astype(np.int64) for rows in groups.agg("row")["row"]]
    else:
        members = [np.arange(offer.n_rows, dtype=np.int64)]
    order = np.concatenate(members)
    ends = np.cumsum([len(each) for each in members])
    firsts: Any = numbers(np.array([each[0] for each in members], np.int64), pa.int64())
    columns = [replace(column, cells=column.cells.take(firsts)) for column in keys]
    if CASE in by:  # replicates of a case have the same inputs
        inputs = [column for column in offer.columns if column.side == "input" and column.name not in names]
        columns += [replace(column, cells=column.cells.take(firsts)) for column in inputs]
    reduced = [(each, offer.find(each.reference, f"--agg {each}")) for each in dict.fromkeys(aggregates)]
    for each, column in reduced:
        cells = _reduced(run.experiment_id, column, each, order, ends)
        is_alone = sum(other is column for _, other in reduced) == 1 and column.name not in names
        is_kept = each.how in ("first", "last", *ORDERED)
        columns.append(
            OfferedColumn(
                column.name if is_alone else str(each),
                column.side,
                cells,
                is_json=column.is_json and is_kept,
                files=column.files if is_kept else None,
                also=str(each),
            )
        )
    offsets: Any = numbers(np.concatenate([[0], ends]).astype(np.int32), pa.int32())
    rows = pa.ListArray.from_arrays(offsets, numbers(sort_index[order], pa.int64()))
    label = _GroupLabel(names, frame[[int(each[0]) for each in members]] if keys else frame)
    return Offer(offer.run, tuple(columns), len(members), rows, label)


def _key(run: Run, offer: Offer, sort_index: Rows, name: str) -> OfferedColumn:
    if name == CASE and not offer.named(CASE):
        cases = case_of_rows(run)[sort_index]
        return OfferedColumn(CASE, "feature", pa.chunked_array([numbers(cases.astype(np.int64), pa.int64())]))
    column = offer.find(name, f"--group-by {name}")
    if pa.types.is_nested(column.cells.type):
        raise UsageError(f"--group-by {name}: it holds {column.cells.type}, by which rows cannot be grouped")
    return column


def _series(column: OfferedColumn) -> pl.Series:
    series: Any = pl.from_arrow(column.cells)
    return series


def _reduced(run: str, column: OfferedColumn, each: Aggregate, order: Rows, ends: Rows) -> Any:
    """The value of each group."""
    cells = column.cells
    groups = pl.Series(np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0)))
    if each.how in ("first", "last") and (pa.types.is_nested(cells.type) or column.is_json or column.is_file):
        at = np.concatenate([[0], ends[:-1]]) if each.how == "first" else ends - 1
        return cells.take(numbers(order[at].astype(np.int64), pa.int64()))
    if each.how == "count":
        there = ~pl.Series(np.asarray(cells.is_null()))[order]
        counted = (
            pl.DataFrame({"group": groups, "value": there}).group_by("group", maintain_order=True).agg(pl.sum("value"))
        )
        return pa.chunked_array([counted["value"].cast(pl.Int64).to_arrow()])
    type_ = cells.type
    is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)
    is_plain = not (pa.types.is_nested(type_) or column.is_json or column.is_file)
    if (each.how in (*SUMMED, *RANKED) or each.how.startswith("q")) and not is_number:
        raise UsageError(f"--agg {each}: {column.name} of {run} holds {_kind(column)}, which has no {each.how}")
    if not is_plain:
        raise UsageError(
            f"--agg {each}: {column.name} of {run} holds {_kind(column)}", hint="first, last and count take any values."
        )
    values = _series(column)[order]
    if each.how in SUMMED:
        try:
            return pa.chunked_array([_own(values, ends, each.how, pa.types.is_floating(type_))])
        except OverflowError:
            raise UsageError(f"--agg {each}: a sum has more than 63 bits") from None
    frame = pl.DataFrame({"group": groups, "value": values}).group_by("group", maintain_order=True)
    picked = frame.agg(_expression(each.how))["value"]
    kept = picked.to_arrow(compat_level=pl.CompatLevel.oldest())
    return pa.chunked_array([kept.cast(type_) if each.how in (*ORDERED, *PICKED) else kept])


def _kind(column: OfferedColumn) -> str:
    type_ = column.cells.type
    return (
        "files" if column.is_file else "JSON" if column.is_json else "text" if pa.types.is_string(type_) else str(type_)
    )


def _expression(how: str) -> pl.Expr:
    value = pl.col("value")
    if how.startswith("q"):
        return value.cast(pl.Float64).quantile(float(how[1:]) / 100, "linear")
    expressions: dict[str, Callable[[], pl.Expr]] = {
        "min": value.min,
        "max": value.max,
        "median": value.cast(pl.Float64).median,
        "first": value.first,
        "last": value.last,
    }
    return expressions[how]()


def _own(values: pl.Series, ends: Rows, how: str, is_float: bool) -> Any:
    """Sums and what follows from them, rounded once; null for a group without values."""
    numbers_: list[Any] = values.to_list()
    results: list[float | int | None] = []
    start = 0
    for end in ends.tolist():
        own = [value for value in numbers_[start:end] if value is not None]
        start = end
        results.append(_of_group(own, how, is_float))
    is_whole = how == "sum" and not is_float
    return pa.array(results, pa.int64() if is_whole else pa.float64())


def _of_group(own: list[Any], how: str, is_float: bool) -> float | int | None:
    n = len(own)
    if not n or (how in ("std", "var") and n < 2):
        return None
    if how == "sum" and not is_float:
        return sum(own)
    try:
        total = math.fsum(own)
        if how == "sum":
            return total
        mean = total / n
        if how == "mean":
            return mean
        variance = math.fsum((value - mean) ** 2 for value in own) / (n - 1)
    except (OverflowError, ValueError):  # infinities of both signs
        return math.nan
    return variance if how == "var" else math.sqrt(variance)
