"""From the ledger to the final tables: streaming, in ranges of `sort_index`, so that memory stays flat.

Final tables are Parquet with pandas' own metadata, so that `pandas.read_parquet` gives them their MultiIndex
(https://pandas.pydata.org/docs/development/developer.html describes the format); other readers see plain columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from scythe_cli.layout import RunLayout
from scythe_cli.ledger import Ledger, PartFile, counts_of, damaged_part, effective_outcomes, read_part
from scythe_cli.outcomes import FEATURE, FILE, FRAME, LEVELS_KEY, OUTCOME_SCHEMA, SCALAR, State
from scythe_cli.records import StateCounts
from scythe_cli.specfile import SpecFile
from scythe_cli.storage import Storage

# the types that pyarrow's stubs give to compute functions refuse plain numbers, which the functions take
pc: Any = pyarrow.compute

__all__ = ["GatherResult", "gather"]

_ROWS_AT_ONCE = 500_000
_FRAME_BYTES_AT_ONCE = 128_000_000
_ERROR_COLUMNS = ("sort_index", "state", "attempt", "error_type", "message", "traceback", "duration_s")
_META_LEVELS = ("experiment_id", "sort_index", "workflow_run_id", "root_workflow_run_id")


@dataclass(frozen=True, slots=True)
class GatherResult:
    """What a gather made.

    Attributes:
        tables: Where each final table is: name to path or URI.
        counts: Specs by state at that moment.
        damaged: Parts of the ledger that could not be read.
    """

    tables: dict[str, str]
    counts: StateCounts
    damaged: list[str]


def gather(
    storage: Storage, run: RunLayout, into: Path | None = None, on_rows: Callable[[int], None] | None = None
) -> GatherResult:
    """Make the final tables from the specs and the ledger.

    Args:
        storage: Where the run is kept.
        run: The run.
        into: A folder to write the tables to, instead of the run's `final/`.
        on_rows: Called with the number of specs that have just been gathered.

    Returns:
        The tables, and the counts they were made from. The tables appear in `final/` one by one, each whole.

    Raises:
        StorageError: If the run cannot be read or the tables cannot be written.
    """
    with (
        SpecFile.open(storage, run) as specs,
        Ledger.open(storage, run) as ledger,
        TemporaryDirectory(prefix="scythe-gather-") as scratch,
    ):
        folder = into or Path(scratch)
        effective = effective_outcomes(ledger.outcomes())
        plan = _Plan.of(specs, ledger.parts)
        with _Tables(folder, plan) as tables:
            for start, stop in _ranges(specs.n_specs, effective, ledger.parts):
                _gather_range(tables, plan, specs, ledger.parts, effective, start, stop)
                if on_rows:
                    on_rows(stop - start)
        paths = tables.finish()
        if into is not None:
            return GatherResult(
                {name: str(path) for name, path in paths.items()}, counts_of(effective, specs.n_specs), ledger.damaged
            )
        # scalars come last: where they are, and not older than the ledger, the other tables are as well
        for name in sorted(paths, key=lambda name: name == "scalars"):
            storage.put_file(paths[name], run.table(name))
        return GatherResult(
            {name: storage.uri(run.table(name)) for name in paths},
            counts_of(effective, specs.n_specs),
            ledger.damaged,
        )


def _ranges(n_specs: int, effective: pl.DataFrame, parts: Sequence[PartFile]) -> Iterator[tuple[int, int]]:
    """Cut 0…n into ranges that fit in memory; an empty run is one empty range, so that its tables get a schema."""
    frame_bytes = sum(part.frame_bytes for part in parts)
    per_spec_bytes = frame_bytes / max(1, effective.height)
    size = _ROWS_AT_ONCE if not per_spec_bytes else min(_ROWS_AT_ONCE, int(_FRAME_BYTES_AT_ONCE / per_spec_bytes) + 1)
    yield from ((start, min(start + size, n_specs)) for start in range(0, max(n_specs, 1), size))


@dataclass(frozen=True, slots=True)
class _Frame:
    """A user dataframe over all parts: its own levels, its columns, and their types."""

    levels: list[str]
    struct: pa.StructType


@dataclass(frozen=True, slots=True)
class _Plan:
    """The schemas of the final tables."""

    index: pa.Schema  # the spec's levels: meta, input fields, features
    features: pa.Schema
    scalars: pa.Schema
    files: pa.Schema
    frames: dict[str, _Frame]
    errors: pa.Schema
    inputs: dict[str, str]  # column of specs.pq → its name in errors.pq

    @classmethod
    def of(cls, specs: SpecFile, parts: Sequence[PartFile]) -> _Plan:
        features = pa.schema(_unify(parts, FEATURE).values())
        index_fields = [_META_FIELDS[name] for name in _META_LEVELS]
        index_fields += [specs.schema.field(name).remove_metadata() for name in specs.index_names]
        index_fields += list(features)
        outputs = [f.remove_metadata() for f in specs.output_schema if f.name not in OUTCOME_SCHEMA.names]
        inputs: dict[str, str] = {}
        for name in specs.input_names:
            inputs[name] = f"input_{name}" if name in _ERROR_COLUMNS else name
        return cls(
            index=pa.schema(index_fields),
            features=features,
            scalars=_stripped(outputs, SCALAR),
            files=_stripped(outputs, FILE),
            frames={name: _frame(f, parts) for name, f in _unify(parts, FRAME).items()},
            errors=pa.schema(
                [OUTCOME_SCHEMA.field(name).with_nullable(True) for name in _ERROR_COLUMNS]
                + [specs.schema.field(name).remove_metadata().with_name(to) for name, to in inputs.items()]
            ),
            inputs=inputs,
        )


_META_FIELDS = {
    "experiment_id": pa.field("experiment_id", pa.string()),
    "sort_index": pa.field("sort_index", pa.int64()),
    "workflow_run_id": pa.field("workflow_run_id", pa.string()),
    "root_workflow_run_id": pa.field("root_workflow_run_id", pa.string()),
}


def _stripped(fields: Sequence[pa.Field[Any]], prefix: str) -> pa.Schema:
    return pa.schema([f.with_name(f.name.removeprefix(prefix)) for f in fields if f.name.startswith(prefix)])


def _unify(parts: Sequence[PartFile], prefix: str) -> dict[str, pa.Field[Any]]:
    """The fields of all parts whose name begins with a prefix, by the name without it, each of one type for all."""
    unified: dict[str, pa.Field[Any]] = {}
    for part in parts:
        for f in part.schema:
            if f.name.startswith(prefix):
                name = f.name.removeprefix(prefix)
                known = unified.get(name)
                type_ = f.type if known is None else _common_type(known.type, f.type)
                unified[name] = pa.field(name, type_)
    return unified


def _common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """A type that holds the values of both; text where nothing else does."""
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        fields = {f.name: f.type for f in a}
        for f in b:
            fields[f.name] = _common_type(fields[f.name], f.type) if f.name in fields else f.type
        return pa.struct(list(fields.items()))
    if pa.types.is_list(a) and pa.types.is_list(b):
        return pa.list_(_common_type(a.value_type, b.value_type))
    try:
        merged = pa.unify_schemas([pa.schema([("x", a)]), pa.schema([("x", b)])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.string()
    return merged.field("x").type


def _frame(field_: pa.Field[Any], parts: Sequence[PartFile]) -> _Frame:
    levels: dict[str, None] = {}
    for part in parts:
        position = part.schema.get_field_index(FRAME + field_.name)
        if position >= 0:
            metadata = part.schema.field(position).metadata or {}
            levels.update(dict.fromkeys(json.loads(metadata.get(LEVELS_KEY, b"[]"))))
    struct = field_.type.value_type
    names = [f.name for f in struct]
    return _Frame([level for level in levels if level in names], struct)


@dataclass(slots=True)
class _Tables:
    """The open files of all final tables."""

    folder: Path
    plan: _Plan
    _writers: dict[str, pq.ParquetWriter] = field(default_factory=dict[str, pq.ParquetWriter])
    _schemas: dict[str, pa.Schema] = field(default_factory=dict[str, pa.Schema])
    _single_rows: dict[str, bool] = field(default_factory=dict[str, bool])

    def __enter__(self) -> _Tables:
        plan = self.plan
        levels = plan.index.names
        self._open("scalars", levels, pa.schema([*plan.index, *plan.scalars]))
        if len(plan.files):
            self._open("result_file_refs", levels, pa.schema([*plan.index, *plan.files]))
        for name, frame in plan.frames.items():
            self._single_rows[name] = True
            own = [frame.struct.field(level) for level in frame.levels]
            data = [f for f in frame.struct if f.name not in frame.levels]
            sub = pa.field("sort_subindex", pa.int64())
            self._open(name, [*levels, *frame.levels, "sort_subindex"], pa.schema([*plan.index, *own, sub, *data]))
        self._open("errors", [], plan.errors)
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pq"

    def _open(self, name: str, levels: Sequence[str], schema: pa.Schema) -> None:
        self._schemas[name] = schema.with_metadata({"pandas": _pandas_metadata(schema, levels)})
        self._writers[name] = pq.ParquetWriter(self._path(name), self._schemas[name], compression="zstd")

    def write(self, name: str, table: pa.Table) -> None:
        writer = self._writers[name]
        if table.num_rows:
            writer.write_table(_cast(table, self._schemas[name]))

    def write_frame(self, name: str, table: pa.Table, *, single_rows: bool) -> None:
        self._single_rows[name] &= single_rows
        self.write(name, table)

    def finish(self) -> dict[str, Path]:
        """Close the files; drop `sort_subindex` from frames in which every spec has at most one row."""
        for name, single in self._single_rows.items():
            if single:
                self._drop_subindex(name)
        return {name: self._path(name) for name in self._writers}

    def _drop_subindex(self, name: str) -> None:
        old, new = self._path(name), self.folder / f".{name}.pq"
        with pq.ParquetFile(old) as source:
            schema = source.schema_arrow
            levels = [n for n in json.loads(schema.metadata[b"pandas"])["index_columns"] if n != "sort_subindex"]
            schema = schema.remove(schema.get_field_index("sort_subindex"))
            schema = schema.with_metadata({"pandas": _pandas_metadata(schema, levels)})
            with pq.ParquetWriter(new, schema, compression="zstd") as writer:
                # a file without any row cannot be iterated with every release of pyarrow
                for batch in source.iter_batches() if source.num_row_groups else ():
                    writer.write_batch(batch.select(schema.names).cast(schema))
        new.replace(old)


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring a table to a schema: missing columns are null, and types are converted."""
    columns: list[Any] = []
    for f in schema:
        position = table.schema.get_field_index(f.name)
        if position < 0:
            columns.append(pa.nulls(table.num_rows, f.type))
        else:
            columns.append(_convert(table.column(position), f.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _convert(column: Any, type_: pa.DataType) -> Any:
    if column.type == type_:
        return column
    try:
        return column.cast(type_)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        cells: list[Any] = column.to_pylist()
        if pa.types.is_string(type_):
            # contradicting types of the same column end as text
            cells = [None if v is None else str(v) for v in cells]
        return pa.array(cells, type_)


def _gather_range(
    tables: _Tables,
    plan: _Plan,
    specs: SpecFile,
    parts: Sequence[PartFile],
    effective: pl.DataFrame,
    start: int,
    stop: int,
) -> None:
    here = effective.filter(pl.col("sort_index").is_between(start, stop - 1))
    inputs = specs.read(start, stop)
    succeeded = pl.col("state") == State.SUCCEEDED.value
    good = here.filter(succeeded)
    if good.height:
        rows = _rows_of(parts, good, keep=lambda name: name.startswith((SCALAR, FILE, FEATURE, FRAME)))
        index = _index_of(plan, inputs, rows, start)
        scalars = {f.name: rows.column(SCALAR + f.name) for f in plan.scalars}
        tables.write("scalars", _beside(index, scalars))
        if len(plan.files):
            tables.write("result_file_refs", _beside(index, {f.name: rows.column(FILE + f.name) for f in plan.files}))
        for name, frame in plan.frames.items():
            if FRAME + name in rows.column_names:
                _write_frame(tables, name, frame, index, rows.column(FRAME + name))
    _write_errors(tables, plan, inputs, parts, here.filter(~succeeded), good, start, stop)


def _rows_of(parts: Sequence[PartFile], chosen: pl.DataFrame, keep: Callable[[str], bool]) -> pa.Table:
    """Read chosen outcomes, whole rows, sorted by `sort_index`."""
    tables: list[pa.Table] = []
    for (position,), group in chosen.group_by("part", maintain_order=True):
        part = parts[int(position)]  # pyright: ignore[reportArgumentType]
        columns = ["sort_index", "workflow_run_id", *(name for name in part.schema.names if keep(name))]
        wanted = pa.array(group["row"].sort().to_arrow(), pa.int64())
        if len(wanted) == part.n_rows:
            tables.append(read_part(part, columns))
        else:
            tables.append(_read_rows(part, columns, wanted))
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    schema = pa.schema(
        [
            pa.field(name, _fold_types([t.schema.field(name).type for t in tables if name in t.column_names]))
            for name in names
        ]
    )
    return pa.concat_tables([_cast(table, schema) for table in tables]).sort_by("sort_index")


def _read_rows(part: PartFile, columns: list[str], wanted: pa.Array[Any]) -> pa.Table:
    """Read some rows of a part, by position, touching only the row groups that hold them."""
    picked: list[pa.Table] = []
    with pq.ParquetFile(part.path, page_checksum_verification=True) as file:
        metadata: Any = file.metadata
        first = 0
        for group in range(metadata.num_row_groups):
            size = metadata.row_group(group).num_rows
            inside = pc.and_(pc.greater_equal(wanted, first), pc.less(wanted, first + size))
            here = pc.subtract(wanted.filter(inside), first)
            if len(here):
                try:
                    picked.append(file.read_row_group(group, columns=columns).take(here))
                except (pa.ArrowException, OSError, ValueError) as error:
                    raise damaged_part(part, error) from error
            first += size
    return pa.concat_tables(picked)


def _fold_types(types: Sequence[pa.DataType]) -> pa.DataType:
    common = types[0]
    for type_ in types[1:]:
        common = _common_type(common, type_)
    return common


def _index_of(plan: _Plan, inputs: pa.Table, rows: pa.Table, start: int) -> pa.Table:
    """The index of the rows: one line for each, with the spec's levels."""
    at = pc.subtract(rows.column("sort_index"), start)
    columns: dict[str, Any] = {}
    for f in plan.index:
        if f.name == "workflow_run_id" or f.name == "sort_index":
            columns[f.name] = rows.column(f.name)
        elif f.name in plan.features.names and f.name not in inputs.column_names:
            name = FEATURE + f.name
            columns[f.name] = rows.column(name) if name in rows.column_names else pa.nulls(rows.num_rows, f.type)
        else:
            columns[f.name] = inputs.column(f.name).take(at)
    return _cast(pa.table(columns), plan.index)


def _beside(index: pa.Table, more: dict[str, Any]) -> pa.Table:
    for name, column in more.items():
        index = index.append_column(name, column)
    return index


def _write_frame(tables: _Tables, name: str, frame: _Frame, index: pa.Table, column: Any) -> None:
    lists: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks)
    parents = pc.list_parent_indices(lists)
    structs: Any = pc.list_flatten(lists)
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    if not len(structs):
        return
    # position in its own frame = position in all rows − rows of the frames before
    before = pc.subtract(pc.cumulative_sum(pc.cast(lengths, pa.int64())), pc.cast(lengths, pa.int64()))
    subindex = pc.subtract(pa.array(range(len(structs)), pa.int64()), before.take(parents))
    table = index.take(parents)
    for f, values in zip(structs.type, structs.flatten(), strict=True):
        table = table.append_column(f.name, values)
    table = table.append_column("sort_subindex", subindex)
    tables.write_frame(name, table, single_rows=bool(pc.max(lengths).as_py() <= 1))


def _write_errors(
    tables: _Tables,
    plan: _Plan,
    inputs: pa.Table,
    parts: Sequence[PartFile],
    bad: pl.DataFrame,
    good: pl.DataFrame,
    start: int,
    stop: int,
) -> None:
    """Write a row for each spec of the range that did not succeed, those without an outcome included."""
    if good.height == stop - start:
        return
    rest = pl.DataFrame({"sort_index": pl.int_range(start, stop, eager=True)}).join(good, on="sort_index", how="anti")
    columns = [name for name in _ERROR_COLUMNS if name != "sort_index"]
    if bad.height:
        rows = _rows_of(parts, bad, keep=lambda name: name in columns)
        known: Any = pl.from_arrow(rows.select(["sort_index", *columns]))
        rest = rest.join(known, on="sort_index", how="left", maintain_order="left")
    else:
        rest = rest.with_columns(pl.lit(None, pl.String).alias("state"))
    # a spec without an outcome had no attempt that counts
    filled = [pl.col("state").fill_null(State.PENDING.value)]
    filled += [pl.col("attempt").fill_null(0)] if "attempt" in rest.columns else [pl.lit(0, pl.Int32).alias("attempt")]
    rest = rest.with_columns(filled).sort("sort_index")
    table = rest.to_arrow()
    at = pc.subtract(table.column("sort_index"), start)
    for name, to in plan.inputs.items():
        table = table.append_column(to, inputs.column(name).take(at))
    tables.write("errors", table)


def _pandas_metadata(schema: pa.Schema, levels: Sequence[str]) -> str:
    """What pandas reads to restore an index; see the module's docstring for the format."""
    columns: list[dict[str, Any]] = [
        {
            "name": f.name,
            "field_name": f.name,
            "pandas_type": _pandas_type(f.type),
            "numpy_type": _numpy_type(f.type),
            "metadata": {"timezone": f.type.tz} if pa.types.is_timestamp(f.type) and f.type.tz else None,
        }
        for f in schema
    ]
    return json.dumps(
        {
            "index_columns": list(levels),
            "column_indexes": [],
            "columns": columns,
            "creator": {"library": "scythe-cli", "version": "0"},
            "pandas_version": "2.2.0",
        }
    )


def _pandas_type(type_: pa.DataType) -> str:
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "unicode"
    if pa.types.is_timestamp(type_):
        return "datetimetz" if type_.tz else "datetime"
    if pa.types.is_floating(type_):
        return _numpy_type(type_)
    if pa.types.is_date(type_):
        return "date"
    if pa.types.is_nested(type_):
        return "object"
    return str(type_)


def _numpy_type(type_: pa.DataType) -> str:
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_):
        return str(type_)
    if pa.types.is_floating(type_):
        return {"double": "float64", "float": "float32"}.get(str(type_), "float16")
    if pa.types.is_timestamp(type_):
        return "datetime64[us]"
    return "object"
