"""A final table as a Parquet file, with pandas' own metadata, written piece by piece."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scythe_cli.arrow.unify import cast_table
from scythe_cli.run.final.pandas_metadata import pandas_metadata

__all__ = ["GATHER_KEY", "RUN_LEVELS", "SUBINDEX", "ReferencesFile", "TableFile"]


GATHER_KEY = b"scythe:gather"
"""Where a table's Parquet metadata say which gather it is of: tables of a run that say the same belong together."""


RUN_LEVELS = frozenset({"experiment_id", "root_workflow_run_id"})
"""The levels of the index that are the same for all specs of a run, and are handled as dictionaries of one text."""

_INDEX = "sort_index"
SUBINDEX = "sort_subindex"
_SAMPLE_ROWS = 50_000
_CODEC = "zstd"
_GROUP_ROWS = 100_000
_GROUP_BYTES = 8_000_000


class TableFile:
    """One table.

    Args:
        path: The file.
        schema: Its columns.
        levels: Those that are levels of the index in pandas.
        gather: See `FinalPlan`.
        repeats: Columns of text whose values repeat: they come as dictionaries, which are written as they are,
            so that values need not be looked for among millions of texts. Readers see plain text.
        labels: See `FrameTraits`.
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
        """Write the rows that are held back, and the end of the file."""
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


class ReferencesFile(TableFile):
    """The table of output files: what no spec has set is no column of it, unless there is no spec at all."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._unset = {*self.schema.names} - {*self.levels}
        self._has_rows = False

    def keep(self, names: Any) -> None:
        """Keep columns of these names."""
        self._unset -= {*pc.unique(names).to_pylist()}

    def write(self, table: pa.Table) -> None:
        """Write rows, and see which columns have a file."""
        self._has_rows = True
        self._unset -= {name for name in self._unset if table.column(name).null_count < table.num_rows}
        super().write(table)

    def close(self) -> None:
        """Write the rows that remain; once more without the columns that have no file, where there are such."""
        super().close()
        if not self._has_rows or not self._unset:
            return
        schema = pa.schema([f for f in self.schema if f.name not in self._unset])
        old = self.path.with_name(f".{self.path.name}")
        self.path.replace(old)
        smaller = TableFile(self.path, schema, self.levels, self._gather, RUN_LEVELS)
        with pq.ParquetFile(old, pre_buffer=False) as source:
            for batch in source.iter_batches(columns=schema.names):
                smaller.write(pa.Table.from_batches([batch]))
        smaller.close()
        old.unlink()


def _encodings(schema: pa.Schema, first: pa.Table) -> dict[str, Any]:
    """How columns are written, as the first rows suggest.

    A dictionary of values is worth its time only where values repeat, and compression only where it makes them smaller:
    numbers whose last digits are noise stay as they are. What counts up is written as differences.
    """
    if any(pa.types.is_nested(f.type) for f in schema):
        return {}  # each part of a nested column would have to be named
    without = {f.name for f in schema if pa.types.is_floating(f.type) and _is_mostly_distinct(first.column(f.name))}
    counting = {SUBINDEX} & {*schema.names}
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
