"""`specs.pq`: written once when a run is allocated, read by ranges of rows afterwards."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scythe_cli.arrow.build import integer_cells, numbers
from scythe_cli.arrow.checksum import (
    UNSEALED,
    has_seal,
    seal_footer,
    whole_footer,
)
from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.core.files import open_regular
from scythe_cli.core.folders import owned_prefix
from scythe_cli.errors import StorageError
from scythe_cli.model.columns import REPLICATE
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import META_SCHEMA, NOT_INPUT, with_meta
from scythe_cli.run.layout import FORMAT_KEY, RUN_FORMAT, RunLayout, check_format
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = ["SpecFile", "input_file_names", "positions_in", "specs_hash", "write_new_specs", "write_specs"]


_INDEX_KEY = b"scythe:index"
_FILES_KEY = b"scythe:files"
_OUTPUTS_KEY = b"scythe:outputs"
_EXTENSION_KEY = b"scythe:extension"
_ROW_GROUP_ROWS = 65_536


def write_specs(
    path: Path, specs: pa.Table, index_names: Sequence[str], outputs: pa.Schema, file_names: Sequence[str] = ()
) -> None:
    """Write a local `specs.pq`.

    Args:
        path: Where to.
        specs: `META_SCHEMA` and the input columns.
        index_names: The inputs that are levels of the index of final tables; those inside of a column of structs have
            dotted names.
        outputs: The schema of outcomes, kept here so that the tables of a run have the right schema without the
            experiment's code, and with no outcome at all.
        file_names: The input columns that refer to files.
    """
    _write(path, specs.schema, _pieces(specs), index_names, outputs, file_names)


def write_new_specs(
    path: Path,
    inputs: pa.Table,
    experiment_id: str,
    root_workflow_run_id: str,
    index_names: Sequence[str],
    outputs: pa.Schema,
    file_names: Sequence[str] = (),
    *,
    extension: bytes = b"",
) -> None:
    """Write a local `specs.pq` from input columns alone.

    The columns of `META_SCHEMA` are made as they are written: for a row, they take more memory than many inputs.

    Args:
        path: Where to.
        inputs: The input columns.
        experiment_id: The run.
        root_workflow_run_id: The id of the execution of the whole run.
        index_names: See `write_specs`.
        outputs: See `write_specs`.
        file_names: See `write_specs`.
        extension: How it got longer than it was, as `SpecFile.extension` gives it; nothing for a new one.
    """

    def specs() -> Iterator[pa.Table]:
        first_row = 0
        for piece in _pieces(inputs):
            yield with_meta(piece, experiment_id, root_workflow_run_id, first_row=first_row)
            first_row += piece.num_rows

    schema = with_meta(inputs.slice(0, 0), experiment_id, root_workflow_run_id).schema
    _write(path, schema, specs(), index_names, outputs, file_names, extension)


def _write(
    path: Path,
    schema: pa.Schema,
    specs: Iterable[pa.Table],
    index_names: Sequence[str],
    outputs: pa.Schema,
    file_names: Sequence[str],
    extension: bytes = b"",
) -> None:
    metadata = {
        **(schema.metadata or {}),
        _INDEX_KEY: json.dumps(list(index_names)).encode(),
        _FILES_KEY: json.dumps(list(file_names)).encode(),
        _OUTPUTS_KEY: base64.b64encode(outputs.serialize().to_pybytes()),
        **({_EXTENSION_KEY: extension} if extension else {}),
        FORMAT_KEY: str(RUN_FORMAT).encode(),
        **UNSEALED,
    }
    schema = schema.with_metadata(metadata)
    options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    if "sort_index" in schema.names:  # it counts, and what is counted is small as differences
        options["column_encoding"] = {"sort_index": "DELTA_BINARY_PACKED"}
    # of numbers that differ from row to row, a dictionary would be made for nothing
    options["use_dictionary"] = [path for field in schema for path in _repeating(field)]
    with pq.ParquetWriter(path, schema, **options) as writer:
        for piece in specs:
            writer.write_table(piece.replace_schema_metadata(metadata), row_group_size=_ROW_GROUP_ROWS)
    seal_footer(path)


def _repeating(field: pa.Field[Any], above: str = "") -> Iterator[str]:
    """The paths, as Parquet has them, of columns whose values can be expected to come again and again."""
    path = f"{above}{field.name}"
    if pa.types.is_struct(field.type):
        for inner in field.type:
            yield from _repeating(inner, f"{path}.")
    elif isinstance(field.type, (pa.ListType, pa.LargeListType)):
        yield from _repeating(field.type.value_field.with_name("element"), f"{path}.list.")
    elif not pa.types.is_floating(field.type) and path != "sort_index":
        yield path


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    """The rows of each row group."""
    for start in range(0, table.num_rows, _ROW_GROUP_ROWS):
        yield table.slice(start, _ROW_GROUP_ROWS)


def specs_hash(specs: pa.Table) -> str:
    """A hash of what the specs say: the input columns, as Arrow IPC, without what belongs to the run."""
    digest = hashlib.sha256()
    inputs = specs.drop_columns([name for name in specs.column_names if name in NOT_INPUT])
    digest.update(repr([(f.name, str(f.type)) for f in inputs.schema]).encode())
    for piece in _pieces(inputs):
        # taken, and not cut: what IPC writes of a part of an array ends with bytes of the next part
        rows = numbers(np.arange(piece.num_rows, dtype=np.int64), pa.int64())
        for batch in piece.combine_chunks().take(rows).to_batches():
            digest.update(batch.serialize())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class SpecFile:
    """The specs of a run, on this machine while it is open.

    Attributes:
        path: A local file.
        schema: Its columns.
        n_specs: Its number of specs.
    """

    path: Path
    schema: pa.Schema
    n_specs: int

    @classmethod
    @contextmanager
    def open(cls, storage: Storage, run: RunLayout) -> Generator[SpecFile]:
        """Open `specs.pq`; it is copied here when it lies elsewhere.

        Raises:
            StorageError: If there is none, or it cannot be read.
        """
        with TemporaryDirectory(prefix=owned_prefix("specs")) as folder:
            local = storage.local_path(run.specs)
            try:
                if local is None:
                    local = Path(folder) / "specs.pq"
                    storage.get_file(run.specs, local)
                # that of an older program has no seal
                if has_seal(local) and whole_footer(local) is None:
                    raise pa.ArrowInvalid("its description of the columns was changed")
                with open_regular(local) as source, pq.ParquetFile(source) as file:
                    opened = cls(local, file.schema_arrow, int(file.metadata.num_rows))
                check_format((opened.schema.metadata or {}).get(FORMAT_KEY), storage.uri(run.specs))
                _check_columns(opened.schema)
            except (FileNotFoundError, MissingKeyError):
                raise StorageError(
                    f"{run.experiment_id} has no specs.pq", hint="Its allocation did not finish; allocate it again."
                ) from None
            except (pa.ArrowException, OSError, ValueError) as error:
                raise _unreadable(storage.uri(run.specs), error) from error
            yield opened

    @property
    def has_replicates(self) -> bool:
        """Whether final tables tell which replicate of its case a row is."""
        return REPLICATE in [field.name for field in self.index_fields] and REPETITION in self.schema.names

    @property
    def index_fields(self) -> list[pa.Field[Any]]:
        """The inputs that are levels of the index of final tables; those inside of structs have dotted names."""
        with self._reading():
            names: Any = json.loads((self.schema.metadata or {}).get(_INDEX_KEY, b"[]"))
            if not isinstance(names, list) or not all(isinstance(name, str) for name in cast("list[Any]", names)):
                raise ValueError("its index has levels that are not names")
            return [self._inner_field(name) for name in cast("list[str]", names)]

    def _inner_field(self, name: str) -> pa.Field[Any]:
        if name == REPLICATE and name not in self.schema.names and REPETITION in self.schema.names:
            return pa.field(REPLICATE, pa.int32())
        column, *path = _path_to(name, self.input_names)
        if column not in self.input_names:
            raise ValueError("its index has levels that are not columns")
        field = self.schema.field(column)
        for part in path:
            struct: Any = field.type
            if not pa.types.is_struct(struct) or struct.get_field_index(part) < 0:
                raise ValueError("its index has levels that are not columns")
            field = struct.field(part)
        return field.remove_metadata().with_name(name)

    def index_column(self, specs: pa.Table, name: str) -> pa.ChunkedArray[Any]:
        """A level of the index, from some of the specs."""
        if name == REPLICATE and name not in specs.column_names:
            return specs.column(REPETITION)
        column, *path = _path_to(name, specs.column_names)
        return cast("Any", pc).struct_field(specs.column(column), path) if path else specs.column(column)

    @property
    def input_names(self) -> list[str]:
        """All input columns."""
        return [name for name in self.schema.names if name not in NOT_INPUT]

    @property
    def extension(self) -> bytes:
        """How the file got longer than it was, for `run.extension`; empty where it is as it was allocated."""
        return (self.schema.metadata or {}).get(_EXTENSION_KEY, b"")

    @property
    def output_schema(self) -> pa.Schema:
        """The schema of outcomes."""
        stored = (self.schema.metadata or {}).get(_OUTPUTS_KEY)
        with self._reading():
            schema = OUTCOME_SCHEMA if stored is None else pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored)))
            if len(set(schema.names)) < len(schema.names):
                raise ValueError("its outputs have a name twice")
            return schema

    def read(
        self, start: int, stop: int, *, repeats: Sequence[str] = (), columns: Sequence[str] | None = None
    ) -> pa.Table:
        """The specs `start` … `stop − 1`, reading only the row groups that hold them.

        Args:
            start: The first.
            stop: The one after the last.
            repeats: Columns of text that hold the same in many rows: they come as dictionaries.
            columns: Only these; all unless given.

        Raises:
            StorageError: If they cannot be read.
        """
        with (
            self._reading(),
            pq.ParquetFile(self.path, read_dictionary=list(repeats), page_checksum_verification=True) as file,
        ):
            metadata: Any = file.metadata
            groups: list[int] = []
            first = offset = 0
            for group in range(metadata.num_row_groups):
                size = metadata.row_group(group).num_rows
                if first < stop and first + size > start:
                    if not groups:
                        offset = first
                    groups.append(group)
                first += size
            read = file.read_row_groups(groups, columns=None if columns is None else list(columns))
            return read.slice(start - offset, stop - start)

    def batches(self, wanted: pa.Array[Any] | None = None) -> Iterator[pa.RecordBatch]:
        """All specs, or those whose `sort_index` is wanted (sorted), in batches, in order.

        Raises:
            StorageError: If they cannot be read.
        """
        # what is read ahead is kept until the file is closed: in the end, all of it would be in memory
        with pq.ParquetFile(self.path, page_checksum_verification=True, pre_buffer=False) as file:
            groups = None if wanted is None else _groups_of(file, wanted)
            batches = file.iter_batches(batch_size=_ROW_GROUP_ROWS, row_groups=groups)
            while True:
                # what the caller's own code raises between two of them is not about this file
                with self._reading():
                    batch = next(batches, None)
                if batch is None:
                    return
                if wanted is None:
                    yield batch
                    continue
                at = positions_in(wanted, batch.column("sort_index"))
                if len(at):
                    yield batch if len(at) == batch.num_rows else batch.take(numbers(at, pa.int64()))

    @contextmanager
    def _reading(self) -> Generator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, TypeError, RecursionError) as error:
            raise _unreadable(str(self.path), error) from error


def positions_in(wanted: pa.Array[Any], rows: pa.Array[Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where wanted numbers are among some: both ascending, and however many are wanted, few are looked at."""
    there, all_wanted = integer_cells(rows), integer_cells(wanted)
    if not len(there):
        return np.empty(0, np.int64)
    start, stop = np.searchsorted(all_wanted, there[0]), np.searchsorted(all_wanted, there[-1], "right")
    some = all_wanted[start:stop]
    at = np.searchsorted(there, some).astype(np.int64, copy=False)
    return at[there[at] == some]


def _groups_of(file: pq.ParquetFile, wanted: pa.Array[Any]) -> list[int]:
    """The row groups that hold wanted rows: rows lie in the order of their `sort_index`, from 0."""
    metadata: Any = file.metadata
    ends = np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)])
    wanted_before = np.searchsorted(wanted.to_numpy(), ends)
    return [int(group) for group in np.flatnonzero(np.diff(wanted_before, prepend=0))]


def input_file_names(schema: pa.Schema) -> list[str]:
    """The columns of `specs.pq` that refer to files; none where an older program wrote it."""
    try:
        names: Any = json.loads((schema.metadata or {}).get(_FILES_KEY, b"[]"))
    except (ValueError, RecursionError):
        return []
    return [name for name in names if name in schema.names] if isinstance(names, list) else []


def _path_to(name: str, columns: Sequence[str]) -> list[str]:
    """A column, and what is inside of it."""
    return [name] if name in columns else name.split(".")


def _check_columns(schema: pa.Schema) -> None:
    """Refuse what is Parquet, and no specs."""
    missing = [field.name for field in META_SCHEMA if schema.get_all_field_indices(field.name) == []]
    if missing:
        raise pa.ArrowInvalid(f"it has no column {missing[0]}")
    if len(set(schema.names)) < len(schema.names):
        raise pa.ArrowInvalid("it has a column twice")
    if schema.field("sort_index").type != pa.int64():
        raise pa.ArrowInvalid("its column sort_index holds no int64")


def _unreadable(place: str, error: Exception) -> StorageError:
    said = str(error).splitlines()
    return StorageError(f"{place} cannot be read: {said[0] if said else type(error).__name__}")
