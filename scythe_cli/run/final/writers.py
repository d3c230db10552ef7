"""The final tables of a run as files: their schemas, and writers that take them range by range.

They are Parquet with pandas' own metadata, so that `pandas.read_parquet` gives them their MultiIndex; other readers see
plain columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scythe_cli.arrow.build import integer_cells, numbers
from scythe_cli.errors import first_line
from scythe_cli.model.outcome_schema import FrameTraits
from scythe_cli.run.final.table_file import RUN_LEVELS, SUBINDEX, ReferencesFile, TableFile

__all__ = ["FinalPlan", "FinalTables", "FramePlan", "FrameRows"]


_PIECE_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class FramePlan:
    """A user dataframe over all parts.

    Attributes:
        traits: Its own levels, and what else it is.
        struct: Its columns, levels included, and their types.
        names: What the final table calls those whose name it has already.
    """

    traits: FrameTraits
    struct: pa.StructType
    names: dict[str, str]


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
        self._files: dict[str, TableFile] = {}
        self._frames: dict[str, _FrameFile] = {}
        self._references: ReferencesFile | None = None
        self.failed: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scythe-gather")
        self._jobs: deque[Future[None]] = deque()
        levels = plan.index.names
        # an output may have the name of an input, which keeps it
        scalars, files = (_renamed(fields, plan.names) for fields in (plan.scalars, plan.files))
        self._open("scalars", levels, pa.schema([*plan.index, *scalars]), RUN_LEVELS)
        if len(plan.files):
            path, schema = folder / "result_file_refs.pq", pa.schema([*plan.index, *files])
            self._references = ReferencesFile(path, schema, levels, plan.gather, RUN_LEVELS)
            self._files["result_file_refs"] = self._references
        self._open("errors", [], plan.errors)
        for name, frame in plan.frames.items():
            self._frames[name] = _FrameFile(folder / f"{name}.pq", plan.index, frame, plan.gather)

    def _open(self, name: str, levels: Sequence[str], schema: pa.Schema, repeats: frozenset[str] = frozenset()) -> None:
        self._files[name] = TableFile(self._folder / f"{name}.pq", schema, levels, self._plan.gather, repeats)

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
                    if name == "warnings" and self._references is not None:
                        self._references.keep(added.column("field"))  # what is null as its file was not there was set
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


class _FrameFile:
    """A user dataframe: `sort_subindex` is a level of its index only if a spec has more than one row to be counted.

    Whether one has is not known before all have been seen, but nearly always from the first: so the file is begun
    without, and made anew in the rare case that the first rows told nothing.
    """

    def __init__(self, path: Path, index: pa.Schema, plan: FramePlan, gather: str) -> None:
        self._path = path
        self._gather = gather
        self._index = index
        self._plan = plan
        self._repeats = frozenset(f.name for f in index if pa.types.is_string(f.type))
        self._file: TableFile | None = None
        self._has_subindex = False
        self._categories = {
            name: pa.array(each.values or (), pa.string()) for name, each in plan.traits.categories.items()
        }

    def _new(self, path: Path) -> TableFile:
        plan = self._plan
        fields = {f.name: self._coded_field(f) for f in plan.struct}
        own = _renamed([fields.pop(level) for level in plan.traits.levels], plan.names)
        data = _renamed(fields.values(), plan.names)
        sub = [pa.field(SUBINDEX, pa.int64())] if self._has_subindex else []
        levels = [*self._index.names, *own.names, *(f.name for f in sub)]
        schema = pa.schema([*self._index, *own, *sub, *data])
        return TableFile(path, schema, levels, self._gather, self._repeats, plan.traits.labels)

    def _coded_field(self, f: pa.Field[Any]) -> pa.Field[Any]:
        """The field of a column, that of a categorical one as a dictionary."""
        categories = self._plan.traits.categories.get(f.name)
        if categories is None:
            return f
        coded: Any = pa.dictionary(pa.int32(), pa.string(), ordered=bool(categories.ordered))  # pyright: ignore[reportArgumentType]
        return f.with_type(coded)

    def write(self, rows: FrameRows) -> None:
        index = rows.index
        for chunk in rows.lists.chunks:
            self._write_chunk(index.slice(0, len(chunk)), chunk)
            index = index.slice(len(chunk))

    def _write_chunk(self, index: pa.Table, lists: Any) -> None:
        structs = lists.flatten()
        n_rows = len(structs)
        if not n_rows:
            return
        lengths = integer_cells(lists.value_lengths())
        if self._plan.traits.counts_rows and not self._has_subindex and int(lengths.max()) > 1:
            self._add_subindex()
        if self._file is None:
            self._file = self._new(self._path)
        file = self._file
        codes = {f.name: column.combine_chunks() for f, column in zip(index.schema, index.columns, strict=True)}
        for f in index.schema:
            if f.name in self._repeats and not pa.types.is_dictionary(f.type):
                # not the values themselves as the dictionary: in one with nulls or repetitions they are not written so
                codes[f.name] = codes[f.name].dictionary_encode()
        parents = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        # one spec may have a table of hundreds of megabytes, and beside it each of its rows has all levels
        at_once = max(1, _PIECE_BYTES * n_rows // max(structs.nbytes, 1))
        for start in range(0, n_rows, at_once):
            piece = slice(start, start + at_once)
            of = parents[piece]
            subindex = np.arange(start, start + len(of), dtype=np.int64) - starts[of]
            file.write(self._rows_of(codes, of, subindex, structs[piece]))

    def _rows_of(
        self, index: Mapping[str, Any], parents: npt.NDArray[np.int32], subindices: npt.NDArray[np.int64], structs: Any
    ) -> pa.Table:
        """Rows as they are written, each with the levels of the spec that it is of.

        Args:
            index: The levels of specs.
            parents: By row, the position of its spec.
            subindices: By row, its position among those of its spec.
            structs: The rows.
        """
        at: Any = numbers(parents, pa.int32())
        subindex: Any = numbers(subindices, pa.int64())
        arrays: dict[str, Any] = {name: values.take(at) for name, values in index.items()}
        for f, values in zip(structs.type, structs.flatten(), strict=True):
            if f.name == "index" in self._plan.traits.levels and values.null_count and values.type == pa.int64():
                # tables whose rows pandas numbers, among others from which rows were taken
                values = pc.coalesce(values, subindex)
            if f.name in self._categories and pa.types.is_string(values.type):
                values = self._coded(f.name, values)
            arrays[str(self._plan.names.get(f.name, f.name))] = values
        if self._has_subindex:
            arrays[SUBINDEX] = subindex
        return pa.table(arrays)

    def _coded(self, name: str, values: Any) -> Any:
        """The texts of a categorical column as numbers of its categories."""
        codes = pc.index_in(values, value_set=self._categories[name])
        if codes.null_count > values.null_count:
            there: Any = self._categories[name]
            self._categories[name] = pc.unique(pa.concat_arrays([there, values.drop_null()]))
            codes = pc.index_in(values, value_set=self._categories[name])
        ordered = self._plan.traits.categories[name].ordered
        return pa.DictionaryArray.from_arrays(codes, self._categories[name], ordered=ordered)

    def _add_subindex(self) -> None:
        """From now on the table has one; rows that are written already are each the only one of their spec."""
        self._has_subindex = True
        if self._file is None:
            return
        self._file.close()
        old = self._path.with_name(f".{self._path.name}")
        self._path.replace(old)
        self._file = self._new(self._path)
        with pq.ParquetFile(old, pre_buffer=False) as source:
            for batch in source.iter_batches():
                zeros = numbers(np.zeros(batch.num_rows, np.int64), pa.int64())
                self._file.write(pa.Table.from_batches([batch]).append_column(SUBINDEX, zeros))
        old.unlink()

    def finish(self) -> TableFile:
        if self._file is None:
            self._file = self._new(self._path)
        return self._file

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()
