"""What differs between two runs, spec by spec; a spec is the same when its inputs say the same.

Specs are matched by their input columns and never by their place in the run: a file counts by its content, and of equal
specs the first goes with the first, the second with the second, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq

from scythe_cli.analysis.records import (
    DiffCell,
    DiffColumn,
    DiffResult,
    DiffSpec,
    DiffState,
)
from scythe_cli.analysis.results.tables import (
    META_COLUMNS,
    index_levels,
    local_copy,
    reading,
    scan_table,
)
from scythe_cli.core.states import State
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.model.spec_rows import META_SCHEMA
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.manifest import load_yaml
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.storage.base import MissingKeyError

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run


__all__ = ["diff_runs"]


_SORT, _SUB = "sort_index", "sort_subindex"
_FILES, _ERRORS, _SCALARS = "result_file_refs", "errors", "scalars"
_A, _B, _NTH, _PAIR = ":a", ":b", ":nth", ":pair"
"""Names of columns that no model can have: a field's name is an identifier."""


def diff_runs(
    a: Run,
    b: Run,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    tables: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    limit: int | None = None,
) -> DiffResult:
    """Compare two runs; see `Run.diff`."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0 or math.isinf(value):
            raise UsageError(f"{name} is {value}; it must be a number from 0")
    sides = (_Side(a), _Side(b))
    pairs, inputs = _matched(sides)
    matched = pairs.drop_nulls([_A, _B])
    collected = _Found(limit)
    names = _tables(sides, tables)
    known: set[str] = set()
    for name in names:
        if name in sides[0].keys and name in sides[1].keys:
            known |= _compare_table(collected, sides, name, matched, inputs, ignore, rtol, atol)
    for name in ignore:
        if name not in known:
            raise NotFoundError(f"no table has a column {name!r}", hint=hint_for(name, sorted(known)))
    states = _state_changes(sides, matched, limit)
    one_sided = [sorted(set(x.keys) & set(names) - set(y.keys)) for x, y in (sides, sides[::-1])]
    only = [pairs.filter(pl.col(other).is_null())[own].sort() for own, other in ((_A, _B), (_B, _A))]
    shown = {cell.row_a for cell in collected.cells} | {state.row_a for state in states.states}
    specs = _spec_values(sides[0], inputs, shown)
    cells = [cell.model_copy(update={"spec": specs.get(cell.row_a, {})}) for cell in collected.cells]
    return DiffResult(
        a=a.experiment_id,
        b=b.experiment_id,
        rtol=rtol,
        atol=atol,
        tables=names,
        joined_on=inputs,
        inputs_only_a=[name for name in sides[0].inputs if name not in sides[1].inputs],
        inputs_only_b=[name for name in sides[1].inputs if name not in sides[0].inputs],
        n_specs_a=sides[0].specs.height,
        n_specs_b=sides[1].specs.height,
        n_matched=matched.height,
        n_only_a=only[0].len(),
        n_only_b=only[1].len(),
        only_a=_specs_of(sides[0], only[0], limit),
        only_b=_specs_of(sides[1], only[1], limit),
        n_state_changes=states.count,
        state_changes=[s.model_copy(update={"spec": specs.get(s.row_a, {})}) for s in states.states],
        tables_only_a=one_sided[0],
        tables_only_b=one_sided[1],
        columns=collected.columns,
        columns_only_a=collected.only_a,
        columns_only_b=collected.only_b,
        n_rows_only_a=collected.rows_only_a,
        n_rows_only_b=collected.rows_only_b,
        n_cells=sum(column.n_changed for column in collected.columns),
        n_changed_specs=len(collected.changed),
        cells=cells,
    )


class _Side:
    """One of the two runs."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.keys = run.table_keys()
        if not run.storage.exists(run.layout.specs):
            raise NotFoundError(f"{run.experiment_id} has no specs.pq, by which specs could be matched")
        with reading(run.storage, run.layout.specs):
            frame = scan_table(run.storage, run.layout.specs).collect()
        if _SORT not in frame.columns:
            frame = frame.with_row_index(_SORT).with_columns(pl.col(_SORT).cast(pl.Int64))
        self.inputs = [name for name in frame.columns if name not in META_SCHEMA.names]
        self.specs = frame.select(_SORT, *self.inputs)

    def contents(self) -> dict[str, str]:
        """URI to the hash of the content, of all uploaded files."""
        storage, run = self.run.storage, self.run.layout
        try:
            document = load_yaml(storage.read_bytes(run.input_artifacts), run.input_artifacts)
        except MissingKeyError:
            return {}
        hashes: dict[str, str] = {}
        _collect_hashes(document, hashes)
        return hashes

    def canonical(self) -> pl.DataFrame:
        """The specs with each file named by its content, nested values as JSON, and -0.0 as 0.0."""
        hashes = self.contents()
        columns: list[pl.Expr] = []
        for name, dtype in self.specs.schema.items():
            column = pl.col(name)
            if dtype == pl.String and hashes and name != _SORT:
                column = column.replace(hashes)
            elif dtype.is_float():
                column = column + 0.0
            elif dtype.is_nested():
                column = _nested_text(column, dtype, hashes)
            columns.append(column.alias(name))
        return self.specs.select(columns)

    def frame(self, name: str) -> pl.DataFrame:
        key = self.keys[name]
        with reading(self.run.storage, key):
            return scan_table(self.run.storage, key).collect()

    def levels(self, name: str) -> list[str]:
        key = self.keys[name]
        with reading(self.run.storage, key):
            return index_levels(pq.read_schema(local_copy(self.run.storage, key)))


def _collect_hashes(node: Any, hashes: dict[str, str]) -> None:
    """Find the records of files, wherever the document has them."""
    if isinstance(node, dict):
        uri, digest = node.get("uri"), node.get("sha256")
        if isinstance(uri, str) and isinstance(digest, str):
            hashes[uri] = f"sha256:{digest}"
        for value in node.values():
            _collect_hashes(value, hashes)
    elif isinstance(node, list):
        for value in node:
            _collect_hashes(value, hashes)


def _nested_text(column: pl.Expr, dtype: pl.DataType, hashes: Mapping[str, str]) -> pl.Expr:
    """A nested value as text; file references inside as their contents."""
    text = pl.struct(column.alias("v")).struct.json_encode() if dtype.is_nested() else column.cast(pl.String)
    if not hashes:
        return text
    return text.str.replace_many(list(hashes), list(hashes.values()))


def _tables(sides: tuple[_Side, _Side], wanted: Sequence[str] | None) -> list[str]:
    """The tables to compare: scalars first, then output files, then the experiment's own."""
    there = {*sides[0].keys, *sides[1].keys} - {_ERRORS}
    for name in wanted or ():
        if name not in there:
            raise NotFoundError(f"neither run has a table {name!r} to compare", hint=hint_for(name, sorted(there)))
    order = {_SCALARS: 0, _FILES: 1}
    return sorted(set(wanted) if wanted else there, key=lambda name: (order.get(name, 2), name))


def _matched(sides: tuple[_Side, _Side]) -> tuple[pl.DataFrame, list[str]]:
    """Which spec of the one is which spec of the other.

    Returns:
        `:a` and `:b`, the `sort_index` of a spec in both runs, null where a run has it not; and the input columns that
        specs were matched by.
    """
    common = [name for name in sides[0].inputs if name in sides[1].inputs]
    if not common and (sides[0].inputs or sides[1].inputs):
        raise UsageError(
            f"{sides[0].run.experiment_id} and {sides[1].run.experiment_id} have no input in common",
            hint="Compare two runs of the same experiment.",
        )
    left, right = _same_types(sides[0].canonical(), sides[1].canonical(), common)
    key = [*common, _NTH]
    left = _numbered(left, common).select(*key, pl.col(_SORT).alias(_A))
    right = _numbered(right, common).select(*key, pl.col(_SORT).alias(_B))
    pairs = left.join(right, on=key, how="full", nulls_equal=True).select(_A, _B)
    return pairs.sort(_A, _B, nulls_last=True), common


def _numbered(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Count equal rows, from 0."""
    nth = pl.int_range(pl.len(), dtype=pl.UInt32)
    return frame.with_columns((nth.over(by) if by else nth).alias(_NTH))


def _same_types(left: pl.DataFrame, right: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bring columns to one type: numbers to numbers, and else to text."""
    for name in names:
        a, b = left.schema[name], right.schema[name]
        if a != b:
            to = _common(a, b)
            left, right = left.with_columns(_as(name, a, to)), right.with_columns(_as(name, b, to))
    return left, right


def _common(a: pl.DataType, b: pl.DataType) -> pl.DataType:
    if a == pl.Null:
        return b
    if b == pl.Null:
        return a
    if a.is_numeric() and b.is_numeric():
        return pl.Int64() if a.is_integer() and b.is_integer() else pl.Float64()
    return pl.String()


def _as(name: str, dtype: pl.DataType, to: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype.is_nested() and to == pl.String:
        return _nested_text(column, dtype, {}).alias(name)
    return column.cast(to, strict=False)


@dataclass(frozen=True, slots=True)
class _States:
    count: int
    states: list[DiffState]


def _state_changes(sides: tuple[_Side, _Side], matched: pl.DataFrame, limit: int | None) -> _States:
    joined = matched
    for own, side in zip((_A, _B), sides, strict=True):
        frame = _states(side)
        if frame is None:
            return _States(0, [])  # an older run kept none
        joined = joined.join(frame.rename({_SORT: own, "state": f"state{own}"}), on=own, how="left")
    pending = State.PENDING.value
    joined = joined.with_columns(pl.col(f"state{_A}", f"state{_B}").fill_null(pending))
    changed = joined.filter(pl.col(f"state{_A}") != pl.col(f"state{_B}")).sort(_A)
    shown = changed if limit is None else changed.head(limit)
    return _States(
        changed.height,
        [
            DiffState(row_a=row[_A], row_b=row[_B], old=State(row[f"state{_A}"]), new=State(row[f"state{_B}"]))
            for row in shown.iter_rows(named=True)
        ],
    )


def _states(side: _Side) -> pl.DataFrame | None:
    manifest = side.run.manifest
    if manifest is None or manifest.n_specs is None:
        return None
    with Ledger.open(side.run.storage, side.run.layout) as ledger:
        return effective_outcomes(ledger.outcomes()).select(_SORT, "state")


@dataclass(slots=True)
class _Found:
    """What was found to differ in the tables."""

    limit: int | None
    cells: list[DiffCell] = field(default_factory=list[DiffCell])
    columns: list[DiffColumn] = field(default_factory=list[DiffColumn])
    changed: set[int] = field(default_factory=set[int])
    only_a: list[str] = field(default_factory=list[str])
    only_b: list[str] = field(default_factory=list[str])
    rows_only_a: int = 0
    rows_only_b: int = 0

    def room(self) -> int | None:
        return None if self.limit is None else max(self.limit - len(self.cells), 0)


def _compare_table(
    found: _Found,
    sides: tuple[_Side, _Side],
    name: str,
    matched: pl.DataFrame,
    inputs: Sequence[str],
    ignore: Sequence[str],
    rtol: float,
    atol: float,
) -> set[str]:
    """Compare a table, row by row of each spec.

    Returns:
        The columns that it has.
    """
    frames = [side.frame(name) for side in sides]
    # which columns are values: all but ids and inputs; features are, in the one table where they stand by themselves
    all_inputs = {*inputs, *sides[0].inputs, *sides[1].inputs, *META_COLUMNS, _SUB}
    of_spec = _spec_levels(sides) if name != _SCALARS else set[str]()
    values = [[c for c in frame.columns if c not in all_inputs and c not in of_spec] for frame in frames]
    levels = [[c for c in side.levels(name) if c in own] for side, own in zip(sides, values, strict=True)]
    key = [c for c in levels[0] if c in levels[1]] if name not in (_SCALARS, _FILES) else []
    known = {*values[0], *values[1]} - set(key)
    found.only_a += [f"{name}.{c}" for c in values[0] if c not in values[1] and c not in ignore]
    found.only_b += [f"{name}.{c}" for c in values[1] if c not in values[0] and c not in ignore]
    common = [c for c in values[0] if c in values[1] and c not in key]
    left, right = _rows_of_pairs(frames, matched, [*key, *common])
    left, right = _same_types(left, right, key)
    on = [_PAIR, *key, _NTH]
    left, right = (_numbered(frame, [_PAIR, *key]) for frame in (left, right))
    joined = left.join(right, on=on, how="full", nulls_equal=True, suffix=_B, coalesce=False)
    found.rows_only_a += joined.filter(pl.col(f"{_PAIR}{_B}").is_null()).height
    found.rows_only_b += joined.filter(pl.col(_PAIR).is_null()).height
    both = joined.filter(pl.col(_PAIR).is_not_null() & pl.col(f"{_PAIR}{_B}").is_not_null())
    both = both.sort(_PAIR, _NTH, maintain_order=True)
    both = both.join(matched.with_row_index(_PAIR), on=_PAIR, how="left", maintain_order="left")
    if not key and name not in (_SCALARS, _FILES):
        # nothing but their order tells the rows of a spec apart
        key = [_SUB]
        both = both.rename({_NTH: _SUB})
    for column in common:
        if column not in ignore:
            _compare_column(found, name, column, key, both, rtol, atol, as_file=name == _FILES)
    return known


def _spec_levels(sides: tuple[_Side, _Side]) -> set[str]:
    """The levels that say which spec a row belongs to: those of the scalars."""
    return {level for side in sides if _SCALARS in side.keys for level in side.levels(_SCALARS)}


def _rows_of_pairs(
    frames: Sequence[pl.DataFrame], matched: pl.DataFrame, columns: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of specs that have rows in both, in their order, with the number of the pair."""
    pairs = matched.with_row_index(_PAIR)
    for own, frame in zip((_A, _B), frames, strict=True):
        pairs = pairs.join(frame.select(pl.col(_SORT).unique().alias(own)), on=own, how="semi")
    sides = [
        frame.join(pairs.select(_PAIR, pl.col(own).alias(_SORT)), on=_SORT, how="inner", maintain_order="left").select(
            _PAIR, *columns
        )
        for own, frame in zip((_A, _B), frames, strict=True)
    ]
    return sides[0], sides[1]


def _compare_column(
    found: _Found,
    table: str,
    column: str,
    key: Sequence[str],
    both: pl.DataFrame,
    rtol: float,
    atol: float,
    *,
    as_file: bool,
) -> None:
    pair = both.select(
        _A, _B, *(pl.col(k) for k in key), pl.col(column).alias("old"), pl.col(f"{column}{_B}").alias("new")
    )
    if as_file:
        # where a file lies differs from run to run: only whether there is one is compared
        there = [pl.when(pl.col(c).is_not_null()).then(pl.lit("a file")).alias(c) for c in ("old", "new")]
        pair = pair.with_columns(there)
    old, new = pair.schema["old"], pair.schema["new"]
    numeric = old.is_numeric() and new.is_numeric()
    if not numeric and (old != new or old.is_nested()):
        to = _common(old, new) if old != new else pl.String()
        pair = pair.with_columns(_as("old", old, to), _as("new", new, to))
    same = _numbers_equal(old, new, rtol, atol) if numeric else pl.col("old").eq_missing(pl.col("new"))
    changed = pair.filter(~same)
    if not changed.height:
        return
    found.changed.update(changed[_A].to_list())
    if numeric:
        a, b = pl.col("old").cast(pl.Float64), pl.col("new").cast(pl.Float64)
        changed = changed.with_columns(
            (b - a).abs().alias(":abs"), pl.when(a != 0).then((b - a) / a.abs()).alias(":rel")
        )
    else:
        changed = changed.with_columns(*(pl.lit(None, pl.Float64).alias(name) for name in (":abs", ":rel")))
    found.columns.append(
        DiffColumn(
            table=table,
            column=column,
            n_compared=both.height,
            n_changed=changed.height,
            max_absolute=_largest(changed[":abs"]),
            max_relative=_largest(changed[":rel"]),
        )
    )
    room = found.room()
    for row in (changed if room is None else changed.head(room)).iter_rows(named=True):
        found.cells.append(
            DiffCell(
                table=table,
                row_a=row[_A],
                row_b=row[_B],
                levels={k: row[k] for k in key},
                column=column,
                old=row["old"],
                new=row["new"],
                absolute=_finite(row[":abs"]),
                relative=_finite(row[":rel"]),
            )
        )


def _numbers_equal(old: pl.DataType, new: pl.DataType, rtol: float, atol: float) -> pl.Expr:
    """Whether two numbers are the same: NaN is NaN, empty is empty, infinity is itself."""
    a, b = pl.col("old"), pl.col("new")
    if not (old.is_integer() and new.is_integer()) or rtol or atol:
        a, b = a.cast(pl.Float64), b.cast(pl.Float64)
        close = ((b - a).abs() <= atol + rtol * a.abs()) & a.is_finite() & b.is_finite()
        return (a.eq_missing(b) | close).fill_null(False)
    return a.eq_missing(b)


def _largest(values: pl.Series) -> float | None:
    finite = values.filter(values.is_finite().fill_null(False)).abs()
    return float(finite.max()) if finite.len() else None  # pyright: ignore[reportArgumentType] - a number, as it is not empty


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _spec_values(side: _Side, inputs: Sequence[str], rows: set[int]) -> dict[int, dict[str, Any]]:
    chosen = side.specs.filter(pl.col(_SORT).is_in(list(rows)))
    return {row[_SORT]: {name: row[name] for name in inputs} for row in chosen.iter_rows(named=True)}


def _specs_of(side: _Side, rows: pl.Series, limit: int | None) -> list[DiffSpec]:
    shown = rows if limit is None else rows.head(limit)
    values = _spec_values(side, side.inputs, set(shown.to_list()))
    return [DiffSpec(row=row, spec=values.get(row, {})) for row in shown.to_list()]
