"""One tidy frame of a run: a row for each spec that succeeded, its inputs and its outputs as plain columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq

from scythe_cli.analysis.results.source_names import shown_columns, source_names
from scythe_cli.analysis.results.tables import (
    META_COLUMNS,
    index_levels,
    local_copy,
    reading,
    scan_table,
    table_key,
)
from scythe_cli.errors import UsageError
from scythe_cli.model.spec_rows import NOT_INPUT

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun


__all__ = ["TidyFrame", "input_frame", "tidy_frame"]


_SORT = "sort_index"
_SUB = "sort_subindex"
_NOT_JOINED = ("errors", "result_file_refs", "scalars", "warnings")
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class TidyFrame:
    """A run's specs as one frame.

    Attributes:
        frame: `sort_index`, then the columns below in this order; nested models are dotted columns (`wall.u_value`).
        inputs: The input fields.
        features: The computed features.
        levels: The own index levels of the table that was joined.
        values: The columns of the table that was joined.
        outputs: The scalar outputs.
    """

    frame: pl.LazyFrame
    inputs: list[str]
    features: list[str]
    levels: list[str]
    values: list[str]
    outputs: list[str]

    @property
    def columns(self) -> list[str]:
        """All columns but `sort_index` and ids."""
        return [*self.inputs, *self.features, *self.levels, *self.values, *self.outputs]


def tidy_frame(run: StoredRun, table: str | None = None, *, ids: bool = False) -> TidyFrame:
    """Inputs, features and outputs of a run's specs, or of the rows of one of its tables.

    Args:
        run: The run.
        table: A table of the experiment's own to join: its rows, each with the inputs and outputs of its spec.
        ids: Whether `experiment_id`, `workflow_run_id` and `root_workflow_run_id` come first.

    Returns:
        The frame, lazy, in the order of `sort_index`.

    Raises:
        NotFoundError: If the run has no such table.
        UsageError: If the table is no table of the experiment's own.
        StorageError: If a table cannot be read.
    """
    if table in _NOT_JOINED:
        raise UsageError(f"{table} is not a table of the experiment's own", hint="Leave --table out.")
    key = table_key(run, "scalars")
    with reading(run.storage, key):
        levels = index_levels(pq.read_schema(local_copy(run.storage, key)))
        frame = scan_table(run.storage, key)
        outputs = [name for name in frame.collect_schema() if name not in levels and name not in META_COLUMNS]
    spec_inputs, specs = _specs(run, [*levels, *outputs])
    all_own = [name for name in levels if name not in META_COLUMNS]
    # those of nested models, which come with these
    candidates = all_own if levels else outputs  # a table that somebody has rewritten may not tell its levels
    inner = [name for name in candidates if name not in spec_inputs and name.partition(".")[0] in spec_inputs]
    frame, outputs = frame.drop(inner), [name for name in outputs if name not in inner]
    own = [name for name in all_own if name not in inner]
    inputs = [name for name in spec_inputs if name in own] if spec_inputs else own
    features = [name for name in own if name not in inputs]
    # lists and nested models are no levels of an index, and so in no final table
    missing = [name for name in spec_inputs if name not in own and name not in outputs]
    if specs is not None and missing:
        frame = frame.join(specs.select(_SORT, *missing), on=_SORT, how="left", maintain_order="left")
        inputs = [name for name in spec_inputs if name in own or name in missing]
    frame_levels: list[str] = []
    values: list[str] = []
    if table is not None:
        frame, frame_levels, values = _joined(run, table, table_key(run, table), frame, all_own)
    meta = [name for name in META_COLUMNS if ids or name == _SORT]
    there = frame.collect_schema()
    frame = frame.select(
        [name for name in (*meta, *inputs, *features, *frame_levels, *values, *outputs) if name in there]
    )
    frame, parts = _flattened(frame)
    return TidyFrame(
        frame=frame,
        inputs=_flat(inputs, parts),
        features=_flat(features, parts),
        levels=_flat(frame_levels, parts),
        values=_flat(values, parts),
        outputs=_flat(outputs, parts),
    )


def input_frame(run: StoredRun, others: list[str]) -> tuple[pl.LazyFrame | None, list[str]]:
    """The inputs of all specs of a run, whatever became of them.

    Args:
        run: The run.
        others: Columns that it is to be joined with; a file input that has the name of one is called otherwise.

    Returns:
        `sort_index` and the inputs, nested models as dotted columns, lazy; None where there are no specs that can be
        read like that. And the names of the inputs.

    Raises:
        StorageError: If the specs cannot be read.
    """
    names, specs = _specs(run, others)
    if specs is None:
        return None, []
    frame, parts = _flattened(specs.select(_SORT, *names))
    return frame, _flat(names, parts)


def _specs(run: StoredRun, scalars: list[str]) -> tuple[list[str], pl.LazyFrame | None]:
    """The input columns, and the specs; a run of an older program may have none that can be read like that.

    A file input that has the name of a column of `scalars` is called otherwise.
    """
    if not run.storage.exists(run.layout.specs):
        return [], None
    specs = scan_table(run.storage, run.layout.specs)
    with reading(run.storage, run.layout.specs):
        names = list(specs.collect_schema())
    if _SORT not in names:
        return [], None
    files = source_names(run)
    if files.columns:
        shown = shown_columns(files, "scalars", scalars)
        names = [shown.get(name, name) for name in names]
        named = files.frame().rename(shown).lazy()
        specs = specs.drop(files.columns).join(named, on=_SORT, how="left", maintain_order="left")
    return [name for name in names if name not in NOT_INPUT], specs


def _joined(
    run: StoredRun, table: str, key: str, scalars: pl.LazyFrame, own: list[str]
) -> tuple[pl.LazyFrame, list[str], list[str]]:
    """The rows of a table, each with what is known of its spec.

    Returns:
        The frame, the table's own levels, and its other columns; one whose name a spec's column has is dotted.
    """
    with reading(run.storage, key):
        levels = index_levels(pq.read_schema(local_copy(run.storage, key)))
        frame = scan_table(run.storage, key)
        names = list(frame.collect_schema())
    taken = set(scalars.collect_schema())
    of_spec = {*META_COLUMNS, *own}
    own_levels = [name for name in levels if name not in of_spec]
    data = [name for name in names if name not in levels and name not in of_spec]
    new = {name: f"{table}.{name}" if name in taken else name for name in (*own_levels, *data)}
    frame = frame.select(_SORT, *(pl.col(name).alias(to) for name, to in new.items()))
    frame = frame.join(scalars, on=_SORT, how="left", maintain_order="left")
    return frame, [new[name] for name in own_levels], [new[name] for name in data]


def _flattened(frame: pl.LazyFrame) -> tuple[pl.LazyFrame, dict[str, list[str]]]:
    """Nested models as dotted columns.

    Returns:
        The frame, and which columns each column has become.
    """
    columns: list[pl.Expr] = []
    parts: dict[str, list[str]] = {}
    for name, dtype in frame.collect_schema().items():
        flat = list(_leaves(pl.col(name), name, dtype, 0))
        parts[name] = [leaf for leaf, _ in flat]
        columns += [column.alias(leaf) for leaf, column in flat]
    return frame.select(columns), parts


def _leaves(column: pl.Expr, name: str, dtype: pl.DataType, depth: int) -> list[tuple[str, pl.Expr]]:
    if not isinstance(dtype, pl.Struct) or depth >= _DEEPEST or not dtype.fields:
        return [(name, column)]
    leaves: list[tuple[str, pl.Expr]] = []
    for field in dtype.fields:
        inner: pl.DataType = field.dtype() if isinstance(field.dtype, type) else field.dtype
        leaves += _leaves(column.struct.field(field.name), f"{name}.{field.name}", inner, depth + 1)
    return leaves


def _flat(names: list[str], parts: dict[str, list[str]]) -> list[str]:
    return [leaf for name in names for leaf in parts.get(name, [])]
