"""The rows of each design, as one column for each field that varies."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic_core import to_jsonable_python

from scythe_cli.doe.joint.conditions import Mask, holding_points
from scythe_cli.doe.joint.correlation import Correlation
from scythe_cli.doe.points import base_points, blocks, is_power_of_two
from scythe_cli.doe.quality import quality_of
from scythe_cli.doe.scales import EPS, Unit, taken
from scythe_cli.doe.variables import Variable
from scythe_cli.errors import UsageError
from scythe_cli.run.design_record import DesignField, SampleQuality

__all__ = ["MAX_ROWS", "RANDOM_DESIGNS", "Rows", "draw_rows"]


MAX_ROWS = 2**24
"""More rows than this are refused: they are a mistake in the levels of a grid more often than a wish."""

RANDOM_DESIGNS = ("lhs", "sobol", "halton", "random", "saltelli")
"""The designs that take a number of rows and a seed, and can be continued."""

_DEFAULT_LEVELS = 5
_SHOWN_LEVELS = 100


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a design.

    Attributes:
        columns: The values of each field that varies, all of the same length.
        fields: What the record of the design says of each.
        quality: How evenly the rows fill the space.
        notices: What the user should know.
        blocks: Rows that belong together, and how many they are; see `DesignRecord.blocks`.
        tried: With conditions, how many points there were until so many held; see `DesignRecord.tried`.
    """

    columns: list[pa.Array[Any]]
    fields: list[DesignField]
    quality: SampleQuality
    notices: list[str] = field(default_factory=list[str])
    blocks: dict[str, int] = field(default_factory=dict[str, int])
    tried: int | None = None


def draw_rows(
    design: str,
    variables: Sequence[Variable],
    *,
    n: int | None,
    seed: int | None,
    levels: Mapping[str, int],
    all_levels: int | None,
    before: Sequence[int] = (),
    holds: Callable[[Unit], Mask] | None = None,
    correlation: Correlation | None = None,
) -> Rows:
    """Make the rows of a design.

    Args:
        design: Which one.
        variables: The fields that vary, at least one.
        n: The number of rows; of `saltelli` that of the base points, of `grid` and `oat` the most.
        seed: For the random designs.
        levels: How many levels single fields have in `grid` and `oat`.
        all_levels: How many the other continuous fields have.
        before: How many points each part of the same random design has that comes before these rows.
        holds: Of a random design, which of some points meet the conditions that there are.
        correlation: How the fields of a random design go together.

    Raises:
        UsageError: If number of rows or levels do not fit the design.
    """
    has_levels = bool(levels) or all_levels is not None
    if has_levels and design not in ("grid", "oat"):
        raise UsageError(f"{design} has no levels", hint="--levels is for the designs grid and oat.")
    if n is not None:
        _check_rows(n)
    if design in RANDOM_DESIGNS:
        if n is None or seed is None:
            raise UsageError(f"{design} needs a number of rows", hint="Give it with -n.")
        return _random(design, variables, n, seed, before, holds, correlation)
    if design == "zip":
        return _zip(variables, n)
    chosen = _Levels(levels, all_levels, n)
    return _grid(variables, chosen) if design == "grid" else _one_at_a_time(variables, chosen)


def _check_rows(n: int, how: str = "") -> None:
    if n < 1:
        raise UsageError(f"n is {n}; it must be at least 1")
    if n > MAX_ROWS:
        raise UsageError(f"{n:,} rows are more than {MAX_ROWS:,}{how}")


def _random(
    design: str,
    variables: Sequence[Variable],
    n: int,
    seed: int,
    before: Sequence[int],
    holds: Callable[[Unit], Mask] | None,
    correlation: Correlation | None,
) -> Rows:
    d, total = len(variables), sum(before) + n
    notices: list[str] = []
    if holds is not None:
        points, tried = holding_points(design, [*before, n][0], total, d, seed, holds)
        columns = [variable.at(points[-n:, i]) for i, variable in enumerate(variables)]
        quality = quality_of(points[-n:], [v.name for v in variables], is_sequence=False, discrepancy=False)
        notices.append(f"{total:,} of {tried:,} points meet --where ({total / tried:.1%})")
        return Rows(columns, [variable.describe() for variable in variables], quality, notices, tried=tried)
    if design == "saltelli":
        _check_rows(n * (d + 2), f": {n:,} base points for {d} fields that vary")
        notices.append(f"{n:,} base points and {d} fields that vary give {n:,} × ({d} + 2) rows")
    if design in ("sobol", "saltelli") and not is_power_of_two(total):
        below = 2 ** (total.bit_length() - 1)
        fitting = [f"-n {m - sum(before)}" for m in (below, 2 * below) if m > sum(before)]
        notices.append(
            f"{total:,} is not a power of two, so the Sobol sequence is not balanced; it is with {' or '.join(fitting)}"
        )
    try:
        base = base_points(design, [*before, n], d, seed)
        points = blocks(base[-n:]) if design == "saltelli" else base[-n:]
        if correlation is not None:
            base = points = correlation.rearranged(points)
        columns = [variable.at(points[:, i]) for i, variable in enumerate(variables)]
    except MemoryError:
        raise UsageError(f"{n:,} rows of {d} fields do not fit into this machine's memory") from None
    is_sequence = design in ("sobol", "halton", "saltelli")
    quality = quality_of(
        base[:, :d], [v.name for v in variables], is_sequence=is_sequence, discrepancy=correlation is None
    )
    if correlation is not None:
        reached, far = correlation.reached([v.name for v in variables], columns)
        quality, notices = quality.model_copy(update={"rank_correlation": reached}), [*notices, *far]
    names = ["A", "B", *(f"AB:{variable.name}" for variable in variables)] if design == "saltelli" else []
    fields = [variable.describe() for variable in variables]
    return Rows(columns, fields, quality, notices, dict.fromkeys(names, n))


@dataclass(frozen=True, slots=True)
class _Levels:
    """How many levels fields have: what was said of one, its own, what was said of all, what fits into n rows."""

    single: Mapping[str, int]
    every: int | None
    n: int | None

    def of(self, variables: Sequence[Variable], rows_with: Callable[[Sequence[int]], int]) -> list[int | None]:
        """The levels of each field; None for all that it has.

        Args:
            variables: The fields.
            rows_with: From the levels of each field to the number of rows.
        """
        counts: list[int | None] = [self.single.get(v.name) for v in variables]
        free = [i for i, v in enumerate(variables) if counts[i] is None and v.own_levels is None]
        if self.every is None and self.n is not None and free:
            every = self._fitting(variables, counts, free, rows_with)
        else:
            every = _DEFAULT_LEVELS if self.every is None else self.every
        for i in free:
            counts[i] = every
        return counts

    def _fitting(
        self,
        variables: Sequence[Variable],
        known: Sequence[int | None],
        free: Sequence[int],
        rows_with: Callable[[Sequence[int]], int],
    ) -> int:
        def rows(each: int) -> int:
            counts = [k if k is not None else v.own_levels or 1 for k, v in zip(known, variables, strict=True)]
            for i in free:
                counts[i] = each
            return rows_with(counts)

        assert self.n is not None
        # the number of levels, from 1 on, whose rows fit
        each = bisect.bisect_right(range(1, self.n + 1), self.n, key=rows)
        if each < 2:
            raise UsageError(
                f"{self.n:,} rows are too few for 2 levels of each field, which take {rows(2):,}",
                hint="Set the number of levels with --levels 3 or --levels FIELD=3, or fix some fields with --fix.",
            )
        return each


def _level_cells(variables: Sequence[Variable], chosen: Sequence[int | None]) -> list[tuple[pa.Array[Any], Unit]]:
    return [variable.levels(n) for variable, n in zip(variables, chosen, strict=True)]


def _with_levels(variables: Sequence[Variable], cells: Sequence[pa.Array[Any]]) -> list[DesignField]:
    """What the record says of fields that have levels."""
    fields: list[DesignField] = []
    for variable, each in zip(variables, cells, strict=True):
        described = variable.describe()
        if described.values is None:
            shown = to_jsonable_python(each.slice(0, _SHOWN_LEVELS).to_pylist(), fallback=str)
            described = described.model_copy(update={"values": shown, "n_values": len(each)})
        fields.append(described)
    return fields


def _grid(variables: Sequence[Variable], chosen: _Levels) -> Rows:
    """Every combination of levels; the first field changes last."""
    levels = _level_cells(variables, chosen.of(variables, math.prod))
    counts = [len(cells) for cells, _ in levels]
    rows = math.prod(counts)
    _check_rows(rows, f": {' × '.join(f'{c:,}' for c in counts)} levels; --levels FIELD=3 gives a field fewer")
    if chosen.n is not None and rows > chosen.n:
        raise UsageError(f"the grid has {rows:,} rows, more than -n {chosen.n:,}")
    columns: list[pa.Array[Any]] = []
    points = np.empty((rows, len(levels)))
    inner = rows
    for i, (cells, unit) in enumerate(levels):
        inner //= len(cells)
        index = np.tile(np.repeat(np.arange(len(cells)), inner), rows // (inner * len(cells)))
        columns.append(taken(cells, index))
        points[:, i] = np.minimum(unit, 1 - EPS)[index]
    quality = quality_of(points, [v.name for v in variables], is_sequence=False, discrepancy=False)
    return Rows(columns, _with_levels(variables, [cells for cells, _ in levels]), quality)


def _one_at_a_time(variables: Sequence[Variable], chosen: _Levels) -> Rows:
    """The base, then each field in turn at its levels while the others stay at the base."""
    levels = [cells for cells, _ in _level_cells(variables, chosen.of(variables, lambda counts: 1 + sum(counts)))]
    bases = [variable.base() for variable in variables]
    others = [_without(cells, base) for cells, base in zip(levels, bases, strict=True)]
    rows = 1 + sum(map(len, others))
    _check_rows(rows)
    if chosen.n is not None and rows > chosen.n:
        raise UsageError(f"one at a time takes {rows:,} rows, more than -n {chosen.n:,}")
    columns: list[pa.Array[Any]] = []
    start = 1
    for base, cells in zip(bases, others, strict=True):
        index = np.zeros(rows, np.int64)
        index[start : start + len(cells)] = np.arange(1, len(cells) + 1)
        start += len(cells)
        columns.append(taken(pa.concat_arrays([base, cells]), index))
    blocks = {"base": 1, **{v.name: len(cells) for v, cells in zip(variables, others, strict=True)}}
    return Rows(columns, _with_levels(variables, levels), SampleQuality(), [], blocks)


def _without(cells: pa.Array[Any], base: pa.Array[Any]) -> pa.Array[Any]:
    value: Any = base[0].as_py()
    keep: list[bool] = [cell != value for cell in cells.to_pylist()]
    return cells.filter(pa.array(keep, pa.bool_()))


def _zip(variables: Sequence[Variable], n: int | None) -> Rows:
    """Row i has the i-th value of each field; ranges are divided evenly."""
    lengths = {variable.name: variable.own_levels for variable in variables if variable.describe().values is not None}
    longest = max((length for length in lengths.values() if length is not None), default=0)
    rows = n or longest
    if not rows:
        raise UsageError("zip needs values for a field, or a number of rows", hint="Give values as --set FIELD=a,b,c.")
    _check_rows(rows)
    wrong = [f"{name} has {length:,}" for name, length in lengths.items() if length not in (1, rows)]
    if wrong:
        raise UsageError(
            f"zip needs as many values for each field, {rows:,}: {', '.join(wrong)}",
            hint="Use --fix for a field that has one value for all rows.",
        )
    cells = [variable.levels(rows)[0] for variable in variables]
    short = [v.name for v, each in zip(variables, cells, strict=True) if len(each) not in (1, rows)]
    if short:
        raise UsageError(f"zip: {', '.join(short)} does not have {rows:,} different values between its bounds")
    columns = [each if len(each) == rows else taken(each, np.zeros(rows, np.int64)) for each in cells]
    points = _ranks(columns)
    quality = quality_of(points, [v.name for v in variables], is_sequence=False, discrepancy=False)
    return Rows(columns, _with_levels(variables, cells), quality)


def _ranks(columns: Sequence[pa.Array[Any]]) -> Unit:
    """Where the values of each column stand among its own, from 0 to 1: what can be correlated of any type."""
    points: npt.NDArray[np.float64] = np.empty((len(columns[0]), len(columns)))
    for i, column in enumerate(columns):
        codes = column.dictionary_encode()
        cells: list[Any] = codes.dictionary.to_pylist()
        order = np.empty(len(cells))
        order[sorted(range(len(cells)), key=lambda j: cells[j])] = (np.arange(len(cells)) + 0.5) / len(cells)
        points[:, i] = order[codes.indices.to_numpy(zero_copy_only=False)]
    return points
