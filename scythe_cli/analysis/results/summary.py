"""A table in brief: its first rows, and what each column holds, in time and memory that do not grow with the table.

Extremes, empty cells and columns of one value are told from the statistics that Parquet keeps for each row group. What
these do not tell is computed from all rows of a table of moderate size, and estimated from row groups that are spread
over a large one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from scythe_cli.analysis.records import TableColumn, TableSummary
from scythe_cli.analysis.results.source_names import SourceNames, shown_columns, source_names
from scythe_cli.analysis.results.tables import (
    FieldText,
    field_texts,
    index_levels,
    local_copy,
    reading,
    table_key,
)
from scythe_cli.run.stored_run import StoredRun

__all__ = ["summarise_table"]


_EXACT_ROWS = 500_000
"""Up to here every column is read as a whole, and what is told is exact."""

_READ_CELLS = 30_000_000
"""How many numbers are read for the means of a larger table."""

_PAGE_BYTES = 1 << 18
_DISTINCT_ROWS = 100_000
_DISTINCT_GROUPS = 16
"""How many rows, of how many row groups, the numbers of distinct values are estimated from."""


def summarise_table(run: StoredRun, name: str = "scalars", rows: int = 10) -> TableSummary:
    """The head of a table, and a summary of each column.

    Args:
        run: The run.
        name: The table's name.
        rows: How many rows the head has.

    Raises:
        NotFoundError: If there is no such table.
        StorageError: If the table cannot be read.
    """
    key = table_key(run, name)
    texts = field_texts(run)
    with reading(run.storage, key):
        path = local_copy(run.storage, key)
        frame = pl.scan_parquet(path, glob=False)
        head = frame.head(rows).collect()
        with pq.ParquetFile(path) as file:
            levels = set(index_levels(file.schema_arrow))
            n_rows = int(cast("Any", file.metadata).num_rows)
            facts = _facts(file, head.schema)
            exact = n_rows <= _EXACT_ROWS
            values = _exact(frame, head.schema) if exact else _estimated(path, file, head.schema, facts)
        columns = [_column(c, t, facts[c], values.get(c, {}), c in levels, texts) for c, t in head.schema.items()]
        head, columns = _with_files(run, name, path, head, columns, texts)
    return TableSummary(
        experiment_id=run.experiment_id,
        name=name,
        uri=run.storage.uri(key),
        n_rows=n_rows,
        columns=columns,
        head=head.to_dicts(),
    )


def _with_files(
    run: StoredRun,
    table: str,
    path: Path,
    head: pl.DataFrame,
    columns: list[TableColumn],
    texts: Mapping[str, FieldText],
) -> tuple[pl.DataFrame, list[TableColumn]]:
    """The head and the columns with the names of input files, behind the levels of the index."""
    files = source_names(run) if "sort_index" in head.columns else SourceNames({})
    if not files.columns:
        return head, columns
    of_rows: Any = pq.read_table(path, columns=["sort_index"]).column(0).combine_chunks()
    by_name = {column.name: column for column in columns}
    new: list[str] = []
    for field, shown in shown_columns(files, table, head.columns).items():
        if shown not in by_name:
            new.append(shown)
        cells: Any = pl.from_arrow(files.of(field, head["sort_index"].to_arrow()))
        head = head.with_columns(cells.cast(pl.String).alias(shown))
        names: Any = files.of(field, of_rows)
        n_unique = len(names.indices.unique())
        values = {"n_null": names.null_count, "n_unique": n_unique}
        by_name[shown] = _column(shown, pl.String(), _Facts(None), values, False, texts)
    levels = [column.name for column in columns if column.is_index]
    order = [*levels, *new, *(name for name in by_name if name not in levels and name not in new)]
    return head.select(order), [by_name[name] for name in order]


@dataclass(slots=True)
class _Facts:
    """What the statistics of all row groups say about a column; None where they do not say it."""

    n_null: int | None
    low: Any = None
    high: Any = None

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same value; NaN is in no statistics, so that numbers with a point never say it."""
        return self.n_null == 0 and self.low is not None and not isinstance(self.low, float) and self.low == self.high


def _facts(file: pq.ParquetFile, schema: pl.Schema) -> dict[str, _Facts]:
    metadata: Any = file.metadata
    facts: dict[str, _Facts] = {}
    # a nested column is several columns of the file, and none of their statistics is that of its cells
    positions = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    for name in schema:
        position = positions.get(name)
        if position is None or "." in name:
            facts[name] = _Facts(None)
            continue
        groups = [metadata.row_group(g).column(position).statistics for g in range(metadata.num_row_groups)]
        facts[name] = _merged(groups)
    return facts


def _merged(groups: Sequence[Any]) -> _Facts:
    if not groups or any(stats is None or not stats.has_null_count for stats in groups):
        return _Facts(None)
    n_null = sum(int(stats.null_count) for stats in groups)
    full = [stats for stats in groups if stats.num_values]
    if not full or any(not stats.has_min_max for stats in full):
        return _Facts(n_null)
    lows, highs = [stats.min for stats in full], [stats.max for stats in full]
    if not all(_is_ordered(value) for value in (*lows, *highs)):
        return _Facts(n_null)
    return _Facts(n_null, min(lows), max(highs))


def _is_ordered(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int | str | date | datetime | time | timedelta)


def _exact(frame: pl.LazyFrame, schema: pl.Schema) -> dict[str, dict[str, Any]]:
    """Everything about every column, in one pass."""
    columns: list[pl.Expr] = []
    for position, (name, dtype) in enumerate(schema.items()):
        column = pl.col(name)
        columns.append(column.null_count().alias(f"n_null:{position}"))
        if dtype.is_numeric():
            finite = column.filter(column.is_finite()) if dtype.is_float() else column
            columns.append(finite.min().alias(f"min:{position}"))
            columns.append(finite.mean().alias(f"mean:{position}"))
            columns.append(finite.max().alias(f"max:{position}"))
        elif dtype.is_temporal():
            columns += [column.min().alias(f"min:{position}"), column.max().alias(f"max:{position}")]
        if not dtype.is_nested():
            columns.append(column.n_unique().alias(f"n_unique:{position}"))
    row = frame.select(columns).collect(engine="streaming").row(0, named=True) if columns else {}
    values: dict[str, dict[str, Any]] = {name: {} for name in schema}
    names = list(schema)
    for label, value in row.items():
        what, _, position = label.rpartition(":")
        values[names[int(position)]][what] = value
    return values


def _estimated(
    path: Path, file: pq.ParquetFile, schema: pl.Schema, facts: Mapping[str, _Facts]
) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {name: {} for name in schema}
    varying = [name for name in schema if not facts[name].is_constant]
    for name in schema:
        if facts[name].is_constant:
            low = facts[name].low
            values[name] = {"n_unique": 1} | ({"mean": float(low)} if schema[name].is_numeric() else {})
    _add_distinct(values, path, [name for name in varying if not schema[name].is_nested()], facts)
    _add_means(values, path, file, schema, facts, varying)
    return values


def _spread(count: int, most: int) -> list[int]:
    """Some of `count` positions, at equal distances and symmetric, so that what grows steadily keeps its mean."""
    if most >= count:
        return list(range(count))
    half = {int((i + 0.5) * count / most) for i in range(most // 2)}
    chosen = half | {count - 1 - position for position in half}
    return sorted(chosen or {count // 2})


def _add_means(
    values: dict[str, dict[str, Any]],
    path: Path,
    file: pq.ParquetFile,
    schema: pl.Schema,
    facts: Mapping[str, _Facts],
    varying: Sequence[str],
) -> None:
    """Means, and whatever of extremes and empty cells the statistics do not tell."""
    columns: list[pl.Expr] = []
    names = list(schema)
    for name in varying:
        dtype, column, position = schema[name], pl.col(name), names.index(name)
        if facts[name].n_null is None:
            columns.append(column.null_count().alias(f"n_null:{position}"))
        if dtype.is_numeric():
            finite = column.filter(column.is_finite()) if dtype.is_float() else column
            columns.append(finite.mean().alias(f"mean:{position}"))
            if facts[name].low is None:
                columns += [finite.min().alias(f"min:{position}"), finite.max().alias(f"max:{position}")]
        elif dtype.is_temporal() and facts[name].low is None:
            columns += [column.min().alias(f"min:{position}"), column.max().alias(f"max:{position}")]
    if not columns:
        return
    metadata: Any = file.metadata
    n_columns = len({int(e.meta.output_name().rpartition(":")[2]) for e in columns})
    groups = _spread(metadata.num_row_groups, _READ_CELLS * metadata.num_row_groups // (metadata.num_rows * n_columns))
    sizes = [int(metadata.row_group(g).num_rows) for g in range(metadata.num_row_groups)]
    starts = [sum(sizes[:g]) for g in range(len(sizes))]
    frame = pl.scan_parquet(path, glob=False)
    whole = len(groups) == len(sizes)
    parts = [frame] if whole else [frame.slice(starts[g], sizes[g]) for g in groups]
    rows = [part.select(columns).collect(engine="streaming").row(0, named=True) for part in parts]
    for label in rows[0]:
        what, _, position = label.rpartition(":")
        name = names[int(position)]
        known = [(row[label], sizes[g]) for row, g in zip(rows, groups, strict=False) if row[label] is not None]
        if not known:
            continue
        if what == "mean":
            values[name]["mean"] = sum(value * size for value, size in known) / sum(size for _, size in known)
        elif what == "n_null":
            share = sum(value for value, _ in known) / sum(size for _, size in known)
            values[name]["n_null"] = round(share * metadata.num_rows)
        else:
            values[name][what] = (min if what == "min" else max)(value for value, _ in known)
        if not whole:
            values[name].setdefault("estimated", set()).add(what)


def _add_distinct(
    values: dict[str, dict[str, Any]], path: Path, names: Sequence[str], facts: Mapping[str, _Facts]
) -> None:
    """Estimate how many values differ, from rows of several places of the table.

    The estimator is Duj1 of Haas and Stokes, "Estimating the number of classes in a finite population", Journal of the
    American Statistical Association 93 (1998): a value that occurs once among the rows stands for others unseen.
    """
    batches: list[pa.RecordBatch] = []
    # with a small buffer only the first pages of a row group are read, and not the whole of it
    with pq.ParquetFile(path, buffer_size=_PAGE_BYTES, pre_buffer=False) as file:
        metadata: Any = file.metadata
        groups = _spread(metadata.num_row_groups, _DISTINCT_GROUPS)
        size = math.ceil(_DISTINCT_ROWS / len(groups))
        for group in groups:
            batches += islice(file.iter_batches(batch_size=size, row_groups=[group], columns=list(names)), 1)
    sample: Any = pl.from_arrow(pa.Table.from_batches(batches))
    n = sample.height
    for name in names:
        if name not in sample.columns:
            continue
        filled = sample[name].drop_nulls()
        seen = filled.len()
        n_null = facts[name].n_null
        n_all = metadata.num_rows - n_null if n_null is not None else round(metadata.num_rows * seen / n)
        counts = filled.value_counts(name="times")["times"]
        once = int((counts == 1).sum())
        distinct = counts.len() / (1 - (1 - seen / n_all) * once / seen) if seen else 0.0
        low, high = facts[name].low, facts[name].high
        if isinstance(low, int) and isinstance(high, int) and not isinstance(low, bool):
            distinct = min(distinct, high - low + 1)  # there are not more integers than that
        values[name]["n_unique"] = min(round(distinct), n_all)
        values[name].setdefault("estimated", set()).add("n_unique")


def _column(
    name: str,
    dtype: pl.DataType,
    facts: _Facts,
    values: Mapping[str, Any],
    is_index: bool,
    texts: Mapping[str, FieldText],
) -> TableColumn:
    text = texts.get(name)
    ranged = dtype.is_numeric() or dtype.is_temporal()
    return TableColumn(
        name=name,
        dtype=str(dtype),
        is_index=is_index,
        n_null=values.get("n_null", facts.n_null or 0),
        n_unique=values.get("n_unique"),
        min=values.get("min", facts.low if ranged else None),
        mean=values.get("mean"),
        max=values.get("max", facts.high if ranged else None),
        unit=text.unit if text else None,
        description=text.description if text else None,
        estimated=sorted(values.get("estimated", ())),
    )
