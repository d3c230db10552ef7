"""The ledger of a run: parts under `outcomes/`, each a Parquet file of outcomes, written once and never changed.

A spec can have several outcomes: earlier attempts, attempts of a retry, or twice the same attempt when an engine
replayed it. `outcomes.effective` chooses the one that counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scythe_cli.arrow.checksum import UNSEALED, seal, seal_file
from scythe_cli.arrow.unify import agree, stack_tables
from scythe_cli.core.folders import owned_prefix
from scythe_cli.errors import StorageError
from scythe_cli.model.outcome_schema import FRAME, OUTCOME_SCHEMA, merged_fields, with_code
from scythe_cli.run.extension import n_specs_now
from scythe_cli.run.layout import FORMAT_KEY, RUN_FORMAT, RunLayout
from scythe_cli.run.outcomes.domain import outcomes_of_first, possible_times
from scythe_cli.run.outcomes.part_files import (
    FIRST_KEY,
    FRAME_BYTES_KEY,
    PartFile,
    RowGroup,
    check_parts,
    damaged_part,
    is_own_part,
    open_part,
    read_part,
)
from scythe_cli.run.outcomes.part_list import list_parts, note_writer, numbered
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = [
    "POLARS_ERRORS",
    "Ledger",
    "LedgerWriter",
    "PartFile",
    "RowGroup",
    "check_parts",
    "damaged_part",
    "merge_outcomes",
    "read_part",
    "write_part",
]


POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What Polars raises when it cannot read a file; at some that are damaged its own code panics."""

_MAX_PART_BYTES = 64_000_000
_MAX_PART_ROWS = 500_000
_MAX_GROUP_ROWS = 100_000
_MAX_APART = 8
_GROUP_FRAME_BYTES = 8_000_000
_LARGE_BYTES = 16_000_000


@dataclass(slots=True)
class LedgerWriter:
    """Collects outcomes and writes them as parts.

    A part is written when a second has passed since the last, later a hundredth of the run's time but at most 30 s,
    so that a run of days does not make a part a second; or when the outcomes at hand are many.

    Attributes:
        storage: Where the run is kept.
        run: The run.
        prefix: What the names of the parts begin with; unique to this writer.
        code: See `with_code`.
        is_alone: Whether nobody else writes to the ledger meanwhile; then it is noted which parts there are.
    """

    storage: Storage
    run: RunLayout
    prefix: str
    code: str | None = None
    is_alone: bool = True
    _tables: list[pa.Table] = field(default_factory=list[pa.Table])
    _rows: int = 0
    _bytes: int = 0
    _parts: int = 0
    _started: float = field(default_factory=time.monotonic)
    _flushed: float = field(default_factory=time.monotonic)

    def add(self, outcomes: pa.Table) -> None:
        """Take outcomes; write a part when it is time."""
        outcomes = with_code(outcomes, self.code)
        self._tables.append(outcomes)
        self._rows += outcomes.num_rows
        self._bytes += outcomes.nbytes
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write a part when it is time."""
        now = time.monotonic()
        interval_s = min(30.0, max(1.0, (now - self._started) / 100))
        full = self._rows >= _MAX_PART_ROWS or self._bytes >= _MAX_PART_BYTES
        if self._tables and (full or now - self._flushed >= interval_s):
            self.flush()

    def flush(self) -> None:
        """Write what is at hand."""
        for table in merge_outcomes(self._tables):
            if not self._parts and self.is_alone:
                note_writer(self.storage, self.run, self.prefix)
            self._parts += 1
            write_part(self.storage, self.run, numbered(self.prefix, self._parts), table)
        self._tables.clear()
        if self._bytes >= _MAX_PART_BYTES:
            pa.default_memory_pool().release_unused()  # what comes next does not allocate in the same place
        self._rows = self._bytes = 0
        self._flushed = time.monotonic()


def merge_outcomes(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Stack tables of outcomes whose columns differ.

    Tables whose columns contradict each other stay apart, as they are, until there are too many of them.
    """
    groups: list[list[pa.Table]] = []
    for table in tables:
        if not table.num_rows:
            continue
        for group in groups:
            if len(groups) >= _MAX_APART or agree(group[0].schema, table.schema):
                group.append(table)
                break
        else:
            groups.append([table])
    return [_stacked(group) for group in groups]


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    first = tables[0].schema
    if all(table.schema.equals(first, check_metadata=True) for table in tables):
        return pa.concat_tables(tables)
    stacked = stack_tables(tables)
    described = merged_fields(table.schema for table in tables)
    fields = [described[f.name].with_type(f.type) for f in stacked.schema]
    return pa.Table.from_arrays(stacked.columns, schema=pa.schema(fields))


def write_part(storage: Storage, run: RunLayout, name: str, outcomes: pa.Table) -> None:
    """Write one part under a name; a part of that name is replaced."""
    frame_bytes = sum(outcomes.column(c).nbytes for c in outcomes.column_names if c.startswith(FRAME))
    first: Any = pc.min(outcomes.column("sort_index"))
    metadata = {
        **(outcomes.schema.metadata or {}),
        FRAME_BYTES_KEY: str(frame_bytes).encode(),
        FIRST_KEY: str(first.as_py() or 0).encode(),
        FORMAT_KEY: str(RUN_FORMAT).encode(),
        **UNSEALED,
    }
    write = partial(
        pq.write_table,
        outcomes.replace_schema_metadata(metadata),
        compression="zstd",
        # who reads them needs not have all dataframes of a part in memory
        row_group_size=max(1, min(_MAX_GROUP_ROWS, _GROUP_FRAME_BYTES * outcomes.num_rows // max(frame_bytes, 1))),
        write_page_checksum=True,  # what is read of a part is checked by the way; `seal` covers the rest
        use_dictionary=cast("Any", [c for c in outcomes.column_names if c in {"state", "worker", "error_type"}]),
    )
    if frame_bytes > _LARGE_BYTES:
        # one outcome may hold a table of hundreds of megabytes, which is in memory as it is
        with TemporaryDirectory(prefix=owned_prefix("part")) as folder:
            path = Path(folder) / "part.pq"
            write(path)
            seal_file(path)
            storage.take_file(path, run.outcome_part(name))
        return
    buffer = pa.BufferOutputStream()
    write(buffer)
    part = bytearray(buffer.getvalue())
    seal(memoryview(part))
    storage.write_bytes(run.outcome_part(name), bytes(part))


@dataclass(frozen=True, slots=True)
class Ledger:
    """The parts of a run as they are at one moment, on this machine.

    Attributes:
        parts: The readable parts, by name.
        damaged: The names of parts that cannot be read; the specs in them count as pending. `outcomes` adds those
            that turn out to be damaged further inside. What was never a part, such as a link, is among them.
    """

    parts: list[PartFile]
    damaged: list[str]
    _paths: dict[str, Path] = field(default_factory=dict[str, Path])
    _n_specs_now: Callable[[], int | None] = lambda: None

    @classmethod
    @contextmanager
    def open(
        cls,
        storage: Storage,
        run: RunLayout,
        *,
        thorough: bool = False,
        names: Sequence[str] | None = None,
        known: Collection[str] = (),
    ) -> Generator[Ledger]:
        """Read the ledger of a run; parts that lie elsewhere are copied here while it is open.

        Args:
            storage: Where the run is kept.
            run: The run.
            thorough: Whether every byte of every part is checked, and not only how it ends; those that lie elsewhere
                always are, when they have been copied.
            names: Only these parts; all unless given.
            known: Parts that there are, whether they are listed or not.

        Raises:
            StorageError: If the storage refuses to let a part be read, which does not mean that it is damaged.
        """
        with TemporaryDirectory(prefix=owned_prefix("ledger")) as folder:
            parts: list[PartFile] = []
            others = [name for name in storage.list_others(run.outcomes) if name.endswith(".pq")]
            damaged = [name for name in others if names is None or name in names]
            paths: dict[str, Path] = {}
            ours: pa.Schema | None = None
            if names is None:
                names = sorted({part.name for part in list_parts(storage, run)}.union(known))
            for name, path in _local_parts(storage, run, Path(folder), names):
                paths[name] = path
                part = open_part(name, path, whole=thorough or path.parent == Path(folder), ours=ours)
                if part is None:
                    damaged.append(name)
                elif part.n_rows:
                    parts.append(part)
                    ours = part.schema
            yield cls(parts, damaged, paths, cache(partial(n_specs_now, storage, run)))

    @property
    def names(self) -> list[str]:
        """The names of all parts that are there, damaged ones and those without rows included."""
        return list(self._paths)

    def own_and_foreign(self) -> tuple[list[str], list[str]]:
        """The names of damaged parts, apart: files that were written here, as name and content tell, and others.

        Raises:
            StorageError: If one cannot be read.
        """
        own = [name for name in self.damaged if name in self._paths and is_own_part(name, self._paths[name])]
        return own, [name for name in self.damaged if name not in own]

    def outcomes(self, n_specs: int | None = None) -> pl.DataFrame:
        """The columns that tell what became of each spec, of all outcomes; for many, see `standings_of`.

        Args:
            n_specs: The number of specs that are known of; a part with outcomes that no spec can have is damaged.

        Returns:
            A frame with `sort_index`, `state`, `attempt`, `final`, `started_at`, `duration_s`, and where each comes
            from: `part` (position in `parts`, uint32) and `row` (position in the part, uint32).
        """
        frames = [frame for _, frame in self.pieces(n_specs)]
        if frames:
            return pl.concat(frames)
        columns = ["sort_index", "state", "attempt", "final", "started_at", "duration_s"]
        empty = pl.DataFrame(pa.table({name: pa.array([], OUTCOME_SCHEMA.field(name).type) for name in columns}))
        return empty.with_columns(part=pl.lit(0, pl.UInt32), row=pl.lit(0, pl.UInt32))

    def pieces(self, n_specs: int | None = None) -> Iterator[tuple[PartFile, pl.DataFrame]]:
        """The same, part by part; one that turns out to be damaged is passed over, and noted."""
        columns = ["sort_index", "state", "attempt", "final", "started_at", "duration_s"]
        for position, part in enumerate(self.parts):
            if part.name in self.damaged:
                continue
            try:
                read = read_part(part, columns)
            except StorageError:
                self.damaged.append(part.name)
                continue
            # without the metadata of a schema, whose text may be damaged as well
            schema = pa.schema([OUTCOME_SCHEMA.field(name) for name in columns])
            plain: Any = pl.from_arrow(pa.Table.from_arrays(read.columns, schema=schema))
            table = possible_times(cast("pl.DataFrame", plain)).with_columns(
                pl.lit(position, pl.UInt32).alias("part"),
                pl.int_range(0, pl.len(), dtype=pl.UInt32).alias("row"),
            )
            known = outcomes_of_first(table, n_specs, self._n_specs_now)
            if known is None:
                self.damaged.append(part.name)
            else:
                yield part, known


def _local_parts(storage: Storage, run: RunLayout, folder: Path, names: Sequence[str]) -> Iterable[tuple[str, Path]]:
    here = storage.local_path(run.outcomes)
    if here is not None:
        yield from ((name, here / name) for name in names if storage.exists(run.key("outcomes", name)))
        return

    def bring(name: str) -> tuple[str, Path] | None:
        try:
            storage.get_file(run.key("outcomes", name), folder / name)
        except MissingKeyError:
            return None  # a damaged part that a retry has removed since the listing
        return name, folder / name

    with ThreadPoolExecutor(max_workers=8) as pool:
        yield from (found for found in pool.map(bring, names) if found is not None)
