"""The final tables of a run as files: their schemas, and writers that take them range by range.

They are Parquet with pandas' own metadata, so that `pandas.read_parquet` gives them their MultiIndex; other readers see
plain columns.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scythe_cli.arrow.build import integer_cells, numbers
from scythe_cli.arrow.unify import cast_table
from scythe_cli.errors import first_line
from scythe_cli.run.final.pandas_metadata import pandas_metadata

__all__ = ["GATHER_KEY", "RUN_LEVELS", "FinalPlan", "FinalTables", "FramePlan", "FrameRows"]


GATHER_KEY = b"scythe:gather"
"""Where a table's Parquet metadata say which gather it is of: tables of a run that say the same belong together."""


RUN_LEVELS = frozenset({"experiment_id", "root_workflow_run_id"})
"""The levels of the index that are the same for all specs of a run, and are handled as dictionaries of one text."""

_INDEX = "sort_index"
_SUBINDEX = "sort_subindex"
_SAMPLE_ROWS = 50_000
_CODEC = "zstd"
_GROUP_ROWS = 100_000
_GROUP_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class FramePlan:
    """A user dataframe over all parts.

    Attributes:
        levels: Its own levels.
        struct: Its columns, levels included, and their types.
        names: What the final table calls those whose name it has already.
        labels: What pandas' metadata say of the labels of its columns; None for plain text.
    """

    levels: list[str]
    struct: pa.StructType
    names: dict[str, str]
    labels: str | None = None


@dataclass(frozen=True, slots=True)
class FinalPlan:
    """The schemas of the final tables.

    Attributes:
        index: The spec's levels: meta, input fields, features.
        features: The levels that are features.
        scalars: The scalar outputs.
        files: The output files.
        frames: The user dataframes by name.
        errors: The table of what did not succeed.
        inputs: From columns of specs.pq to their names in the table of errors.
        names: From scalar outputs and output files to their names in the tables.
        gather: The same for all tables that are made from the same outcomes.
    """

    index: pa.Schema
    features: pa.Schema
    scalars: pa.Schema
    files: pa.Schema
    frames: dict[str, FramePlan]
    errors: pa.Schema
    inputs: dict[str, str]
    names: dict[str, str]
    gather: str = ""


@dataclass(frozen=True, slots=True)
class FrameRows:
    """Rows of a user dataframe.

    Attributes:
        index: The levels of the specs, one row each; those of `RUN_LEVELS` are dictionaries.
        lists: A list of structs for each spec, null where it made none.
    """

    index: pa.Table
    lists: pa.ChunkedArray[Any]


class FinalTables:
    """The files of all final tables, written in a thread of their own while the next rows are read.

    Each is made by itself: one that cannot be made is left out, and `failed` says why.

    Args:
        folder: Where they go, as `<name>.pq`.
        plan: Their schemas.
    """

    def __init__(self, folder: Path, plan: FinalPlan) -> None:
        self._folder = folder
        self._plan = plan
        self._files: dict[str, _File] = {}
        self._frames: dict[str, _FrameFile] = {}
        self.failed: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scythe-gather")
        self._jobs: deque[Future[None]] = deque()
        levels = plan.index.names
        # an output may have the name of an input, which keeps it
        scalars, files = (_renamed(fields, plan.names) for fields in (plan.scalars, plan.files))
        self._open("scalars", levels, pa.schema([*plan.index, *scalars]), RUN_LEVELS)
        if len(plan.files):
            self._open("result_file_refs", levels, pa.schema([*plan.index, *files]), RUN_LEVELS)
        self._open("errors", [], plan.errors)
        for name, frame in plan.frames.items():
            self._frames[name] = _FrameFile(folder / f"{name}.pq", plan.index, frame, plan.gather)

    def _open(self, name: str, levels: Sequence[str], schema: pa.Schema, repeats: frozenset[str] = frozenset()) -> None:
        self._files[name] = _File(self._folder / f"{name}.pq", schema, levels, self._plan.gather, repeats)

    def write(self, rows: Mapping[str, pa.Table | FrameRows]) -> None:
        """Write the next rows of each table; returns at once, unless earlier rows are still not begun.

        Raises:
            Exception: What became of earlier rows.
        """
        self._jobs.append(self._pool.submit(self._write, rows))
        while len(self._jobs) > 1:
            self._jobs.popleft().result()

    def _write(self, rows: Mapping[str, pa.Table | FrameRows]) -> None:
        for name, added in rows.items():
            if name in self.failed:
                continue
            with self._alone(name):
                if isinstance(added, FrameRows):
                    self._frames[name].write(added)
                elif added.num_rows:
                    if name not in self._files:
                        self._open(name, [], added.schema)
                    self._files[name].write(added)

    @contextmanager
    def _alone(self, name: str) -> Generator[None]:
        """Keep what goes wrong with one table from the others, unless it is the disk."""
        try:
            yield
        except (OSError, MemoryError) as error:
            if getattr(error, "errno", None) is not None or isinstance(error, MemoryError):
                raise
            self.failed[name] = first_line(error)
        except Exception as error:  # noqa: BLE001 - whatever a table is like, the others are made
            self.failed[name] = first_line(error)

    def finish(self) -> dict[str, Path]:
        """Write the rows that remain, and close the files.

        Returns:
            The tables by name.

        Raises:
            Exception: What a job raised.
        """
        while self._jobs:
            self._jobs.popleft().result()
        for name, frame in self._frames.items():
            with self._alone(name):
                self._files[name] = frame.finish()
        for name, file in self._files.items():
            if name not in self.failed:
                with self._alone(name):
                    file.close()
        order = ["scalars", "result_file_refs", *self._frames, "errors", "warnings"]
        return {name: self._files[name].path for name in order if name in self._files and name not in self.failed}

    def __enter__(self) -> FinalTables:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for frame in self._frames.values():
            frame.abandon()
        for file in self._files.values():
            file.abandon()


def _renamed(fields: Iterable[pa.Field[Any]], names: Mapping[str, str]) -> pa.Schema:
    return pa.schema([f.with_name(names.get(f.name, f.name)) for f in fields])


class _File:
    """One table.

    Args:
        path: The file.
        schema: Its columns.
        levels: Those that are levels of the index in pandas.
        gather: See `FinalPlan`.
        repeats: Columns of text whose values repeat: they come as dictionaries, which are written as they are,
            so that values need not be looked for among millions of texts. Readers see plain text.
        labels: See `FramePlan`.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        levels: Sequence[str],
        gather: str,
        repeats: frozenset[str] = frozenset(),
        labels: str | None = None,
    ) -> None:
        self.path = path
        self._gather = gather
        self._labels = labels
        self.schema = schema
        self.levels = list(levels)
        self._taken = pa.schema(
            [f.with_type(pa.dictionary(pa.int32(), f.type)) if f.name in repeats else f for f in schema]
        )
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        """Write rows; few are held back, so that ranges of few specs do not become as many small row groups."""
        self._held.append(cast_table(table, self._taken))
        n_rows = sum(held.num_rows for held in self._held)
        if n_rows >= _GROUP_ROWS or sum(held.nbytes for held in self._held) >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held)
        self._held.clear()
        if self._writer is None:
            self._writer = self._open(_encodings(self.schema, table))
        self._writer.write_table(table.unify_dictionaries())

    def _open(self, encodings: dict[str, Any]) -> pq.ParquetWriter:
        options: dict[str, Any] = {"compression": _CODEC, "store_schema": False, **encodings}
        writer = pq.ParquetWriter(self.path, self._taken, **options)
        # what the writer would store itself, but for the schema that readers are to see
        metadata = {"pandas": pandas_metadata(self.schema, self.levels, self._labels)}
        stored = self.schema.with_metadata(metadata).serialize().to_pybytes()
        schema = base64.b64encode(stored).decode()
        writer.add_key_value_metadata({**metadata, GATHER_KEY.decode(): self._gather, "ARROW:schema": schema})
        return writer

    def close(self) -> None:
        self._flush()
        if self._writer is None:
            self._writer = self._open({})  # a table without rows has its columns
        self._writer.close()

    def abandon(self) -> None:
        """Close the file, if it is still open, whatever is in it."""
        self._held.clear()
        if self._writer is not None:
            with suppress(pa.ArrowException, OSError):
                self._writer.close()


def _encodings(schema: pa.Schema, first: pa.Table) -> dict[str, Any]:
    """How columns are written, as the first rows suggest.

    A dictionary of values is worth its time only where values repeat, and compression only where it makes them smaller:
    numbers whose last digits are noise stay as they are. What counts up is written as differences.
    """
    if any(pa.types.is_nested(f.type) for f in schema):
        return {}  # each part of a nested column would have to be named
    without = {f.name for f in schema if pa.types.is_floating(f.type) and _is_mostly_distinct(first.column(f.name))}
    counting = {_SUBINDEX} & {*schema.names}
    if _INDEX in schema.names and _is_mostly_distinct(first.column(_INDEX)):
        counting.add(_INDEX)
    noise = {name for name in without if not _shrinks(first.column(name))}
    return {
        "compression": {name: "NONE" if name in noise else _CODEC for name in schema.names},
        "use_dictionary": [name for name in schema.names if name not in without | counting],
        "column_encoding": dict.fromkeys(counting, "DELTA_BINARY_PACKED"),
    }


def _is_mostly_distinct(column: pa.ChunkedArray[Any]) -> bool:
    sample = column.slice(0, _SAMPLE_ROWS)
    return len(sample.unique()) > 0.95 * len(sample)


def _shrinks(column: pa.ChunkedArray[Any]) -> bool:
    """Whether compression makes numbers with a point smaller by a tenth at least."""
    sample = column.slice(0, _SAMPLE_ROWS).combine_chunks()
    cells: Any = sample.buffers()[1]
    width = sample.type.bit_width // 8
    cells = cells.slice(sample.offset * width, len(sample) * width)
    return len(pa.compress(cells, codec=_CODEC)) < 0.9 * len(cells)


class _FrameFile:
    """A user dataframe: `sort_subindex` is a level of its index only if a spec has more than one row of it.

    Whether one has is not known before all have been seen, but nearly always from the first: so the file is begun
    without, and made anew in the rare case that the first rows told nothing.
    """

    def __init__(self, path: Path, index: pa.Schema, plan: FramePlan, gather: str) -> None:
        self._path = path
        self._gather = gather
        self._index = index
        self._plan = plan
        self._repeats = frozenset(f.name for f in index if pa.types.is_string(f.type))
        self._file: _File | None = None
        self._has_subindex = False

    def _new(self, path: Path) -> _File:
        plan = self._plan
        own = _renamed([plan.struct.field(level) for level in plan.levels], plan.names)
        data = _renamed([f for f in plan.struct if f.name not in plan.levels], plan.names)
        sub = [pa.field(_SUBINDEX, pa.int64())] if self._has_subindex else []
        levels = [*self._index.names, *own.names, *(f.name for f in sub)]
        schema = pa.schema([*self._index, *own, *sub, *data])
        return _File(path, schema, levels, self._gather, self._repeats, plan.labels)

    def write(self, rows: FrameRows) -> None:
        index = rows.index
        for chunk in rows.lists.chunks:
            self._write_chunk(index.slice(0, len(chunk)), chunk)
            index = index.slice(len(chunk))

    def _write_chunk(self, index: pa.Table, lists: Any) -> None:
        structs = lists.flatten()
        if not len(structs):
            return
        lengths = integer_cells(lists.value_lengths())
        if not self._has_subindex and int(lengths.max()) > 1:
            self._add_subindex()
        if self._file is None:
            self._file = self._new(self._path)
        parents = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        arrays: dict[str, Any] = {}
        at: Any = numbers(parents, pa.int32())
        for f, column in zip(index.schema, index.columns, strict=True):
            values = column.combine_chunks()
            if f.name in self._repeats and not pa.types.is_dictionary(f.type):
                # not the values themselves as the dictionary: in one with nulls or repetitions they are not written so
                values = values.dictionary_encode()
            arrays[f.name] = values.take(at)
        before = np.cumsum(lengths, dtype=np.int64) - lengths
        subindex: Any = numbers(np.arange(len(structs), dtype=np.int64) - np.repeat(before, lengths), pa.int64())
        for f, values in zip(structs.type, structs.flatten(), strict=True):
            if f.name == "index" in self._plan.levels and values.null_count and values.type == pa.int64():
                # tables whose rows pandas numbers, among others from which rows were taken
                values = pc.coalesce(values, subindex)
            arrays[str(self._plan.names.get(f.name, f.name))] = values
        if self._has_subindex:
            arrays[_SUBINDEX] = subindex
        self._file.write(pa.table(arrays))

    def _add_subindex(self) -> None:
        """From now on the table has one; rows that are written already are each the only one of their spec."""
        self._has_subindex = True
        if self._file is None:
            return
        self._file.close()
        old = self._path.with_name(f".{self._path.name}")
        self._path.replace(old)
        self._file = self._new(self._path)
        with pq.ParquetFile(old) as source:
            for batch in source.iter_batches():
                zeros = numbers(np.zeros(batch.num_rows, np.int64), pa.int64())
                self._file.write(pa.Table.from_batches([batch]).append_column(_SUBINDEX, zeros))
        old.unlink()

    def finish(self) -> _File:
        if self._file is None:
            self._file = self._new(self._path)
        return self._file

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()
