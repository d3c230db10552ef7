"""Conditions that every row of a design has to meet, as Polars SQL expressions over the fields' names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from scythe_cli.doe.domains import Leaf, NoDefault
from scythe_cli.doe.points import unending
from scythe_cli.doe.scales import Numbers, Unit
from scythe_cli.errors import UsageError

__all__ = ["Conditions", "Mask", "holding_points", "read_conditions"]


Mask = npt.NDArray[np.bool_]

_TRIED_AT_LEAST = 10_000
_ONE_IN = 1_000
_MAX_TRIED = 2**29
_MAX_HYPERCUBE = 2**24
_OF_SEVERAL_ROWS = re.compile(r'"(Agg|Over|Window|Len|Rank|SubPlan|Rolling)"')


@dataclass(frozen=True, slots=True)
class _Condition:
    text: str
    expression: pl.Expr
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions, read; a row for which one of them is null does not hold.

    Attributes:
        names: The fields that they name.
    """

    names: frozenset[str]
    _each: tuple[_Condition, ...]
    _leaves: Mapping[str, Leaf]

    def __bool__(self) -> bool:
        return bool(self._each)

    def apart(self, population: Collection[str], varying: Collection[str]) -> tuple[Conditions, Conditions]:
        """Those that name fields of a population, and the others.

        Args:
            population: The fields of the population.
            varying: The fields that a design varies.

        Raises:
            UsageError: If one names some of both.
        """
        for each in self._each:
            ours, others = sorted(each.names & set(population)), sorted(each.names & set(varying))
            if ours and others:
                raise UsageError(
                    f"--where {each.text}: it ties {', '.join(ours)} of the population to {', '.join(others)} of the "
                    "design, and rows of the population are drawn whole",
                    hint="State it with fields of the population alone, or of the design alone.",
                )
        names = set(population)
        return self._some(lambda each: bool(each.names & names)), self._some(lambda each: not each.names & names)

    def _some(self, wanted: Callable[[_Condition], bool]) -> Conditions:
        each = tuple(filter(wanted, self._each))
        return Conditions(frozenset[str]().union(*(one.names for one in each)), each, self._leaves)

    def check(self, probe: Mapping[str, pa.Array[Any]]) -> None:
        """See that the conditions can be evaluated, before anything is drawn.

        Args:
            probe: Some cells of each field that varies or is fixed, all of the same number.

        Raises:
            UsageError: If one of them cannot.
        """
        if not self._each:
            return
        frame = self._frame(probe)
        for each in self._each:
            try:
                held = frame.select(each.expression.alias("holds"))["holds"]
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                message = _first_line(error)
                hint = "Dates are written as DATE '2030-01-31'." if "compare 'date" in message else None
                raise _wrong(each.text, message, hint=hint) from None
            if held.dtype != pl.Boolean:
                raise _wrong(each.text, f"it is no condition, its values are {held.dtype}", hint="Compare: a2 > a1.")
            alone = [frame[i].select(each.expression.alias("holds"))["holds"] for i in range(frame.height)]
            if len(held) not in (1, frame.height) or any(len(one) != 1 for one in alone):
                raise _of_several(each.text)
            if len(held) == frame.height and held.to_list() != [one.item() for one in alone]:
                raise _of_several(each.text)

    def hold(self, columns: Mapping[str, pa.Array[Any]], n: int) -> Mask:
        """Which rows meet all conditions.

        Args:
            columns: The cells of each field that varies or is fixed.
            n: The number of rows.
        """
        held = np.ones(n, np.bool_)
        frame = self._frame(columns)
        for each in self._each:
            try:
                own = frame.select(each.expression.fill_null(value=False).alias("holds"))["holds"]
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise _wrong(each.text, _first_line(error)) from None
            held &= own.to_numpy()
        return held

    def _frame(self, columns: Mapping[str, pa.Array[Any]]) -> pl.DataFrame:
        """The fields that are named, with numbers as numbers and defaults where a field is no column."""
        series: dict[str, pl.Series] = {}
        n = max((len(cells) for cells in columns.values()), default=1)
        for name in sorted(self.names):
            leaf = self._leaves[name]
            if name in columns:
                made: Any = pl.from_arrow(columns[name])
            elif isinstance(leaf.default, NoDefault):
                raise UsageError(f"--where: {name} is not drawn, and has no default", hint=f"Fix it: --fix {name}=…")
            else:
                cell = leaf.default_cell
                if cell is None and leaf.default is not None:
                    raise UsageError(f"--where: {name} is not a number, text, date or time: it cannot be compared")
                made = pl.Series([None] if cell is None else cell.to_pylist()).new_from_index(0, n)
            if isinstance(leaf.domain, Numbers) and leaf.domain.scale.kind == "decimal":
                made = made.cast(pl.Float64)
            series[name] = made.alias(name)
        # a condition that names no field holds for each row or for none
        return pl.DataFrame([*series.values(), pl.Series(":row", np.arange(n))])


def read_conditions(texts: Sequence[str], leaves: Sequence[Leaf]) -> Conditions:
    """Read conditions.

    Raises:
        UsageError: If one of them is none, or names what is no field.
    """
    by_name = {leaf.name: leaf for leaf in leaves}
    each: list[_Condition] = []
    for text in texts:
        try:
            expression = pl.sql_expr(text)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise _wrong(text, _first_line(error), hint="Write it as SQL: --where 'a2 > a1 AND a1 < 3'.") from None
        if expression.meta.has_multiple_outputs():
            raise _wrong(text, "it stands for several columns", hint="Name each field.")
        names = frozenset(expression.meta.root_names())
        for name in sorted(names - by_name.keys()):
            raise _unknown(text, name, by_name)
        if _OF_SEVERAL_ROWS.search(str(expression.meta.serialize(format="json"))):
            raise _of_several(text)
        each.append(_Condition(text, expression, names))
    return Conditions(frozenset[str]().union(*(one.names for one in each)), tuple(each), by_name)


def holding_points(
    design: str, first: int, n: int, d: int, seed: int, holds: Callable[[Unit], Mask]
) -> tuple[Unit, int]:
    """The first points of a design that meet conditions.

    They are those of an unending sequence of points, without the ones that do not hold: so the first points of a
    larger design are those of a smaller one. A Latin hypercube is doubled as often as that takes.

    Args:
        design: `random`, `lhs`, `sobol` or `halton`.
        first: The points that a Latin hypercube begins with.
        n: How many points.
        d: The number of fields that vary.
        seed: The same seed gives the same points.
        holds: From points to which of them hold.

    Returns:
        The points, and how many there were until so many held.

    Raises:
        UsageError: If so few hold that it is no use to go on.
    """
    kept: list[Unit] = []
    n_kept = n_tried = 0
    for points in unending(design, first, d, seed):
        mask = holds(points)
        places = np.flatnonzero(mask)
        if n_kept + len(places) >= n:
            last = int(places[n - n_kept - 1])
            kept.append(points[: last + 1][mask[: last + 1]])
            return np.concatenate(kept), n_tried + last + 1
        kept.append(points[mask])
        n_kept, n_tried = n_kept + len(places), n_tried + len(points)
        if n_tried >= _TRIED_AT_LEAST and n_kept * _ONE_IN < n_tried:
            raise _too_few(f"fewer than 1 in {_ONE_IN:,}", n_kept, n_tried)
        if n_tried * 2 > _MAX_HYPERCUBE if design == "lhs" else n_tried > _MAX_TRIED:
            raise _too_few(f"too few for {n:,}", n_kept, n_tried)
    raise AssertionError


def _too_few(why: str, n_kept: int, n_tried: int) -> UsageError:
    share = n_kept / n_tried
    held = "none meets" if not n_kept else f"{n_kept:,} meet{'s' if n_kept == 1 else ''}"
    told = f" ({share:.2%})" if n_kept else ""
    return UsageError(
        f"of {n_tried:,} points, {held} --where{told}: {why}",
        hint="Narrow the ranges with --set to where the conditions hold.",
    )


def _wrong(text: str, why: str, *, hint: str | None = None) -> UsageError:
    return UsageError(f"--where {text}: {why}", hint=hint)


def _of_several(text: str) -> UsageError:
    return _wrong(text, "it looks at several rows, and a condition is for each row by itself")


def _unknown(text: str, name: str, leaves: Mapping[str, Leaf]) -> UsageError:
    parts = [other for other in leaves if other.startswith(f"{name}.")]
    if parts:
        quoted = ", ".join(f'"{part}"' for part in parts[:5])
        return _wrong(text, f"{name} is a nested model", hint=f"Name a part of it, in double quotes: {quoted}.")
    close = difflib.get_close_matches(name, leaves, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"The fields are {', '.join(leaves)}."
    return _wrong(text, f"there is no field {name!r}", hint=f"{hint} Text stands in single quotes.")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
