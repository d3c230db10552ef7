"""What differs between the tables of two runs, column by column, in the rows of specs that both have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from scythe_cli.analysis.records import DiffCell, DiffColumn
from scythe_cli.analysis.results.diff_specs import (
    NTH,
    PAIR,
    SORT,
    A,
    B,
    DiffSide,
    cast_to,
    common_type,
    numbered,
    same_types,
)
from scythe_cli.analysis.results.tables import META_COLUMNS
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError, UsageError

__all__ = ["FILES", "SCALARS", "Differences", "Tolerance", "changed_cells", "compare_tables"]


FILES, SCALARS = "result_file_refs", "scalars"
_SUB = "sort_subindex"
_ABSOLUTE, _RELATIVE = ":abs", ":rel"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far apart two numbers may be that are the same: |new - old| <= atol + rtol·|old|.

    Attributes:
        rtol: The relative tolerance.
        atol: The absolute tolerance, in the column's unit.

    Raises:
        UsageError: If one of them is no number from 0.
    """

    rtol: float
    atol: float

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not value >= 0 or math.isinf(value):
                raise UsageError(f"{name} is {value}; it must be a number from 0")

    def same(self, old: pl.DataType, new: pl.DataType) -> pl.Expr:
        """Whether the numbers `old` and `new` are the same: NaN is NaN, empty is empty, infinity is itself."""
        a, b = pl.col("old"), pl.col("new")
        if not (old.is_integer() and new.is_integer()) or self.rtol or self.atol:
            a, b = a.cast(pl.Float64), b.cast(pl.Float64)
            close = ((b - a).abs() <= self.atol + self.rtol * a.abs()) & a.is_finite() & b.is_finite()
            return (a.eq_missing(b) | close).fill_null(False)
        return a.eq_missing(b)


@dataclass(slots=True)
class Differences:
    """What differs in the tables.

    Attributes:
        limit: How many cells are kept at most; None for all. All are counted.
        cells: The cells that differ.
        columns: The columns that have such cells.
        changed: The `sort_index`, in the first run, of the specs that have such cells.
        only_a: Columns that only the first run has, as `table.column`.
        only_b: Likewise, of the second.
        rows_only_a: How many rows of specs that both have only the first run has.
        rows_only_b: Likewise, of the second.
    """

    limit: int | None
    cells: list[DiffCell] = field(default_factory=list[DiffCell])
    columns: list[DiffColumn] = field(default_factory=list[DiffColumn])
    changed: set[int] = field(default_factory=set[int])
    only_a: list[str] = field(default_factory=list[str])
    only_b: list[str] = field(default_factory=list[str])
    rows_only_a: int = 0
    rows_only_b: int = 0

    def add(self, table: str, column: str, key: Sequence[str], n_compared: int, changed: pl.DataFrame) -> None:
        """Add what `changed_cells` tells of a column.

        Args:
            table: The table.
            column: The column.
            key: The columns of `changed` that tell the rows of a spec apart.
            n_compared: How many cells were compared.
            changed: The cells that differ; at least one.
        """
        self.changed.update(changed[A].to_list())
        self.columns.append(
            DiffColumn(
                table=table,
                column=column,
                n_compared=n_compared,
                n_changed=changed.height,
                max_absolute=_largest(changed[_ABSOLUTE]),
                max_relative=_largest(changed[_RELATIVE]),
            )
        )
        shown = changed if self.limit is None else changed.head(max(self.limit - len(self.cells), 0))
        for row in shown.iter_rows(named=True):
            self.cells.append(
                DiffCell(
                    table=table,
                    row_a=row[A],
                    row_b=row[B],
                    levels={k: row[k] for k in key},
                    column=column,
                    old=row["old"],
                    new=row["new"],
                    absolute=_finite(row[_ABSOLUTE]),
                    relative=_finite(row[_RELATIVE]),
                )
            )


def compare_tables(
    sides: tuple[DiffSide, DiffSide],
    names: Sequence[str],
    matched: pl.DataFrame,
    inputs: Sequence[str],
    tolerance: Tolerance,
    ignore: Sequence[str],
    limit: int | None,
) -> Differences:
    """Compare the tables that both runs have.

    Args:
        sides: The runs.
        names: The tables.
        matched: The specs that both have, as `match_specs` pairs them.
        inputs: The input columns that specs were matched by.
        tolerance: How far apart numbers may be.
        ignore: Columns that are not compared.
        limit: How many cells are kept at most; None for all.

    Raises:
        NotFoundError: If no table has a column that is to be ignored.
        StorageError: If a table cannot be read.
    """
    differences = Differences(limit)
    known: set[str] = set()
    for name in names:
        if name in sides[0].keys and name in sides[1].keys:
            known |= _compare_table(differences, sides, name, matched, inputs, tolerance, ignore)
    for name in ignore:
        if name not in known:
            raise NotFoundError(f"no table has a column {name!r}", hint=hint_for(name, sorted(known)))
    return differences


def _compare_table(
    differences: Differences,
    sides: tuple[DiffSide, DiffSide],
    name: str,
    matched: pl.DataFrame,
    inputs: Sequence[str],
    tolerance: Tolerance,
    ignore: Sequence[str],
) -> set[str]:
    """Compare a table, row by row of each spec.

    Returns:
        The columns that it has.
    """
    frames = [side.frame(name) for side in sides]
    if name == FILES:
        frames = [_with_unset(*pair) for pair in zip(sides, frames, frames[::-1], strict=True)]
    # which columns are values: all but ids and inputs; features are, in the one table where they stand by themselves
    all_inputs = {*inputs, *sides[0].inputs, *sides[1].inputs, *META_COLUMNS, _SUB}
    of_spec = _spec_levels(sides) if name != SCALARS else set[str]()
    values = [[c for c in frame.columns if c not in all_inputs and c not in of_spec] for frame in frames]
    levels = [[c for c in side.levels(name) if c in own] for side, own in zip(sides, values, strict=True)]
    key = [c for c in levels[0] if c in levels[1]] if name not in (SCALARS, FILES) else []
    known = {*values[0], *values[1]} - set(key)
    differences.only_a += [f"{name}.{c}" for c in values[0] if c not in values[1] and c not in ignore]
    differences.only_b += [f"{name}.{c}" for c in values[1] if c not in values[0] and c not in ignore]
    common = [c for c in values[0] if c in values[1] and c not in key]
    of_a, of_b = _rows_of_pairs(frames, matched, [*key, *common])
    of_a, of_b = same_types(of_a, of_b, key)
    on = [PAIR, *key, NTH]
    of_a, of_b = (numbered(frame, [PAIR, *key]) for frame in (of_a, of_b))
    joined = of_a.join(of_b, on=on, how="full", nulls_equal=True, suffix=B, coalesce=False)
    differences.rows_only_a += joined.filter(pl.col(f"{PAIR}{B}").is_null()).height
    differences.rows_only_b += joined.filter(pl.col(PAIR).is_null()).height
    both = joined.filter(pl.col(PAIR).is_not_null() & pl.col(f"{PAIR}{B}").is_not_null())
    both = both.sort(PAIR, NTH, maintain_order=True)
    both = both.join(matched.with_row_index(PAIR), on=PAIR, how="left", maintain_order="left")
    if not key and name not in (SCALARS, FILES):
        # nothing but their order tells the rows of a spec apart
        key = [_SUB]
        both = both.rename({NTH: _SUB})
    for column in common:
        if column not in ignore:
            pair = both.select(A, B, *key, pl.col(column).alias("old"), pl.col(f"{column}{B}").alias("new"))
            changed = changed_cells(pair, tolerance, as_file=name == FILES)
            if changed.height:
                differences.add(name, column, key, pair.height, changed)
    return known


def _with_unset(side: DiffSide, own: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """The output files of a run, those included that none of its specs has and that the other run's have."""
    unset = [name for name in other.columns if name not in own.columns and name in side.output_files]
    return own.with_columns(pl.lit(None, pl.String).alias(name) for name in unset)


def _spec_levels(sides: tuple[DiffSide, DiffSide]) -> set[str]:
    """The levels that say which spec a row belongs to: those of the scalars."""
    return {level for side in sides if SCALARS in side.keys for level in side.levels(SCALARS)}


def _rows_of_pairs(
    frames: Sequence[pl.DataFrame], matched: pl.DataFrame, columns: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of specs that have rows in both, in their order, with the number of the pair."""
    pairs = matched.with_row_index(PAIR)
    for own, frame in zip((A, B), frames, strict=True):
        pairs = pairs.join(frame.select(pl.col(SORT).unique().alias(own)), on=own, how="semi")
    sides = [
        frame.join(pairs.select(PAIR, pl.col(own).alias(SORT)), on=SORT, how="inner", maintain_order="left").select(
            PAIR, *columns
        )
        for own, frame in zip((A, B), frames, strict=True)
    ]
    return sides[0], sides[1]


def changed_cells(pair: pl.DataFrame, tolerance: Tolerance, *, as_file: bool = False) -> pl.DataFrame:
    """The rows in which two columns differ.

    Args:
        pair: A frame with the columns `old` and `new`, of any types.
        tolerance: How far apart numbers may be.
        as_file: Whether they are addresses of files: where a file lies differs from run to run, so that only whether
            there is one is compared.

    Returns:
        These rows, `old` and `new` as they were compared, with `:abs`, how far apart the numbers are, and `:rel`, the
        change in parts of the old number's size; both float64, null where there are no such numbers.
    """
    if as_file:
        pair = pair.with_columns(
            pl.when(pl.col(c).is_not_null()).then(pl.lit("a file")).alias(c) for c in ("old", "new")
        )
    old, new = pair.schema["old"], pair.schema["new"]
    if old.is_numeric() and new.is_numeric():
        changed = pair.filter(~tolerance.same(old, new))
        a, b = pl.col("old").cast(pl.Float64), pl.col("new").cast(pl.Float64)
        return changed.with_columns(
            (b - a).abs().alias(_ABSOLUTE), pl.when(a != 0).then((b - a) / a.abs()).alias(_RELATIVE)
        )
    if old != new or old.is_nested():
        to = common_type(old, new) if old != new else pl.String()
        pair = pair.with_columns(cast_to("old", old, to), cast_to("new", new, to))
    changed = pair.filter(~pl.col("old").eq_missing(pl.col("new")))
    return changed.with_columns(pl.lit(None, pl.Float64).alias(name) for name in (_ABSOLUTE, _RELATIVE))


def _largest(values: pl.Series) -> float | None:
    finite = values.filter(values.is_finite().fill_null(False)).abs()
    return float(finite.max()) if finite.len() else None  # pyright: ignore[reportArgumentType] - a number, as it is not empty


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
