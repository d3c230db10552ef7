"""`specs.pq`: written once when a run is allocated, read by ranges of rows afterwards."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scythe_cli.errors import StorageError
from scythe_cli.layout import RunLayout
from scythe_cli.outcomes import OUTCOME_SCHEMA
from scythe_cli.specs import META_SCHEMA
from scythe_cli.storage import MissingKeyError, Storage

__all__ = ["SpecFile", "specs_hash", "write_specs"]

_INDEX_KEY = b"scythe:index"
_OUTPUTS_KEY = b"scythe:outputs"
_ROW_GROUP_ROWS = 65_536


def write_specs(path: Path, specs: pa.Table, index_names: Sequence[str], outputs: pa.Schema) -> None:
    """Write a local `specs.pq`.

    Args:
        path: Where to.
        specs: `META_SCHEMA` and the input columns.
        index_names: The input columns that are levels of the index of final tables.
        outputs: The schema of outcomes, kept here so that the tables of a run have the right schema without the
            experiment's code, and with no outcome at all.
    """
    metadata = {
        **(specs.schema.metadata or {}),
        _INDEX_KEY: json.dumps(list(index_names)).encode(),
        _OUTPUTS_KEY: base64.b64encode(outputs.serialize().to_pybytes()),
    }
    pq.write_table(specs.replace_schema_metadata(metadata), path, compression="zstd", row_group_size=_ROW_GROUP_ROWS)


def specs_hash(specs: pa.Table) -> str:
    """A hash of what the specs say: the input columns, as Arrow IPC, without what belongs to the run."""
    digest = hashlib.sha256()
    inputs = specs.drop_columns([name for name in META_SCHEMA.names if name in specs.column_names])
    digest.update(repr([(f.name, str(f.type)) for f in inputs.schema]).encode())
    for batch in inputs.combine_chunks().to_batches(max_chunksize=_ROW_GROUP_ROWS):
        # a slice shares its parent's buffers, so its own bytes are what IPC makes of it
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
        with TemporaryDirectory(prefix="scythe-specs-") as folder:
            local = storage.local_path(run.specs)
            try:
                if local is None:
                    local = Path(folder) / "specs.pq"
                    storage.get_file(run.specs, local)
                with pq.ParquetFile(local) as file:
                    opened = cls(local, file.schema_arrow, int(file.metadata.num_rows))
            except (FileNotFoundError, MissingKeyError):
                raise StorageError(
                    f"{run.experiment_id} has no specs.pq", hint="Its allocation did not finish; allocate it again."
                ) from None
            except (pa.ArrowException, OSError) as error:
                raise StorageError(f"{storage.uri(run.specs)} cannot be read: {str(error).splitlines()[0]}") from error
            yield opened

    @property
    def index_names(self) -> list[str]:
        """The input columns that are levels of the index of final tables."""
        return json.loads((self.schema.metadata or {}).get(_INDEX_KEY, b"[]"))

    @property
    def input_names(self) -> list[str]:
        """All input columns."""
        return [name for name in self.schema.names if name not in META_SCHEMA.names]

    @property
    def output_schema(self) -> pa.Schema:
        """The schema of outcomes."""
        stored = (self.schema.metadata or {}).get(_OUTPUTS_KEY)
        return OUTCOME_SCHEMA if stored is None else pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored)))

    def read(self, start: int, stop: int) -> pa.Table:
        """The specs `start` … `stop − 1`, reading only the row groups that hold them."""
        with pq.ParquetFile(self.path) as file:
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
            return file.read_row_groups(groups).slice(start - offset, stop - start)

    def batches(self, wanted: pa.Array[Any] | None = None) -> Iterator[pa.RecordBatch]:
        """All specs, or those whose `sort_index` is wanted (sorted), in batches, in order."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=_ROW_GROUP_ROWS):
                if wanted is None:
                    yield batch
                    continue
                chosen = batch.filter(pc.is_in(batch.column("sort_index"), value_set=wanted))
                if chosen.num_rows:
                    yield chosen
