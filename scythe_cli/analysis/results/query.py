"""SQL over the tables of runs, by DuckDB; the query sees these tables and nothing else of the machine.

The tables are handed to DuckDB as Arrow datasets, and then everything that leads out is shut and locked: files,
network, extensions, secrets, Python variables and settings
(https://duckdb.org/docs/stable/operations_manual/securing_duckdb). Giving DuckDB the paths instead, as allowed ones,
would let `COPY` overwrite the tables of the run.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import TYPE_CHECKING, Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from scythe_cli.analysis.records import FetchedFile, QueryColumn, QueryResult
from scythe_cli.analysis.results.source_names import SourceNames, shown_columns, source_names
from scythe_cli.analysis.results.tables import index_levels, local_copy
from scythe_cli.core.cores import usable_cores
from scythe_cli.core.distribution import needs_extra
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.text import hint_for
from scythe_cli.errors import (
    NotFoundError,
    StorageError,
    UsageError,
    first_line,
)

if TYPE_CHECKING:
    import duckdb

    from scythe_cli.run.stored_run import StoredRun


__all__ = ["query_file", "query_frame", "query_head"]


_SPECS = "specs"
_ROWS_AT_ONCE = 50_000
_BUFFER_BYTES = 1 << 20
_MEMORY_SHARE = 0.5
_MAX_MEMORY_BYTES = 8_000_000_000


def query_frame(runs: Sequence[StoredRun], sql: str) -> pl.DataFrame:
    """The whole answer of a query, in memory.

    Args:
        runs: The runs whose tables the query sees; see `Run.query`.
        sql: One `SELECT`.

    Raises:
        UsageError: If it is no query, or DuckDB refuses it.
        StorageError: If a table cannot be read.
    """
    with _answer(runs, sql) as answer:
        return cast("pl.DataFrame", pl.from_arrow(answer.read_all()))


def query_head(runs: Sequence[StoredRun], sql: str, rows: int | None, *, timeout_s: float | None = None) -> QueryResult:
    """The first rows of the answer of a query, and how many there are; memory does not grow with the answer.

    Args:
        runs: The runs whose tables the query sees.
        sql: One `SELECT`.
        rows: How many rows to keep; None for all.
        timeout_s: How long it may take; as long as it takes unless given.

    Raises:
        UsageError: If it is no query, DuckDB refuses it, or it takes longer.
        StorageError: If a table cannot be read.
    """
    with _answer(runs, sql, timeout_s) as answer:
        kept: list[pa.RecordBatch] = []
        n_rows = 0
        for batch in answer:
            n_kept = batch.num_rows if rows is None else max(rows - n_rows, 0)
            if n_kept:
                kept.append(batch.slice(0, n_kept))
            n_rows += batch.num_rows
        table: Any = pl.from_arrow(pa.Table.from_batches(kept, answer.schema))
    return QueryResult(
        experiment_ids=[run.experiment_id for run in runs],
        sql=sql,
        columns=[QueryColumn(name=name, dtype=str(dtype)) for name, dtype in table.schema.items()],
        n_rows=n_rows,
        rows=table.to_dicts(),
    )


def query_file(
    runs: Sequence[StoredRun], sql: str, target: Path, *, overwrite: bool = False, raw_cells: bool = False
) -> FetchedFile:
    """Write the whole answer of a query to a file, whose ending says the format: .pq, .parquet, .csv or .xlsx.

    Raises:
        UsageError: If it is no query, DuckDB refuses it, the ending is another, or the file is there already.
        StorageError: If a table cannot be read or the file cannot be written.
    """
    from scythe_cli.analysis.results.exporting import write_frame

    with TemporaryDirectory(prefix=owned_prefix("query")) as folder, _answer(runs, sql) as answer:
        path = Path(folder) / "answer.pq"
        with pq.ParquetWriter(path, answer.schema, compression="zstd") as writer:
            for batch in answer:
                writer.write_batch(batch)
        return write_frame(
            pl.scan_parquet(path, glob=False), target, name="answer", overwrite=overwrite, raw_cells=raw_cells
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """The table of one run."""

    run: StoredRun
    path: Path


def _keys(run: StoredRun) -> dict[str, str]:
    """Name to key: the final tables, and `specs` unless a final table has that name."""
    keys = run.table_keys()
    if _SPECS not in keys and run.storage.exists(run.layout.specs):
        keys[_SPECS] = run.layout.specs
    return keys


def _parts(runs: Sequence[StoredRun], sql: str) -> tuple[dict[str, list[_Part]], list[str]]:
    """The tables that the query can mean, and the names of all that there are."""
    keys = {run.experiment_id: _keys(run) for run in runs}
    names = sorted({name for each in keys.values() for name in each})
    if not names:
        raise NotFoundError(f"{runs[0].experiment_id} has no tables yet")
    # a table whose name does not occur is not copied here; without any name, as in `show tables`, it may be about all
    words = sql.casefold()
    meant = [name for name in names if re.search(rf"\b{re.escape(name.casefold())}\b", words)] or names
    parts: dict[str, list[_Part]] = {name: [] for name in meant}
    for run in runs:
        for name in meant:
            key = keys[run.experiment_id].get(name)
            if key is not None:
                parts[name].append(_Part(run, local_copy(run.storage, key)))
    return parts, names


def _duckdb():
    with needs_extra("sql", "SQL"):
        import duckdb
    return duckdb


@contextmanager
def _answer(runs: Sequence[StoredRun], sql: str, timeout_s: float | None = None) -> Generator[pa.RecordBatchReader]:
    """Run a query; yields a reader of its answer."""
    duckdb = _duckdb()
    if not runs:
        raise UsageError("a query needs a run")
    parts, names = _parts(runs, sql)
    with TemporaryDirectory(prefix=owned_prefix("duckdb"), ignore_cleanup_errors=True) as scratch:
        connection = duckdb.connect(":memory:")
        timer = Timer(timeout_s or 0, connection.interrupt)
        try:
            with _explaining(names):
                _limit(connection, Path(scratch))
                _register(connection, parts, several=len(runs) > 1)
                _lock(connection)
                _check(connection, sql)
                if timeout_s is not None:
                    timer.start()
                yield _reader(connection, sql)
        finally:
            timer.cancel()
            connection.close()


def _limit(connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
    """Bound memory and threads; what does not fit in memory goes to a folder that is removed afterwards."""
    import psutil

    memory = min(int(psutil.virtual_memory().total * _MEMORY_SHARE), _MAX_MEMORY_BYTES)
    settings: dict[str, str] = {
        "memory_limit": f"{memory // 1_000_000}MB",
        "threads": str(usable_cores()),
        "temp_directory": str(scratch / "spill"),
        "home_directory": str(scratch),
        "secret_directory": str(scratch / "secrets"),
        "allow_persistent_secrets": "false",
        "allow_community_extensions": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "python_scan_all_frames": "false",
        "TimeZone": "UTC",
    }
    for name, value in settings.items():
        connection.execute(f"SET {name} = {_text(value)}")
    # in a notebook DuckDB shows a bar, made by ipywidgets; without these it refuses to be told anything of bars
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() != [(False,)]:
        connection.execute("SET enable_progress_bar = false")


def _lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Shut what leads out of the connection, for good."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _register(connection: duckdb.DuckDBPyConnection, parts: Mapping[str, Sequence[_Part]], *, several: bool) -> None:
    options: Any = pyarrow.dataset.ParquetFragmentScanOptions(
        use_buffered_stream=True, buffer_size=_BUFFER_BYTES, pre_buffer=False
    )
    parquet = pyarrow.dataset.ParquetFileFormat(default_fragment_scan_options=options)
    for name, of_runs in parts.items():
        selects: list[str] = []
        for position, part in enumerate(of_runs):
            dataset: Any = _dataset(part, parquet)
            inner = f"{name} {position}"
            columns = _columns(connection, part, name, inner, dataset.schema)
            if not several and columns is None:
                connection.register(name, dataset)
                continue
            connection.register(inner, dataset)
            more = f"{_of_run(part, dataset.schema)}, " if several else ""
            selects.append(f"SELECT {more}{columns or '*'} FROM {_name(inner)}")
        if selects:
            connection.execute(f"CREATE VIEW {_name(name)} AS {' UNION ALL BY NAME '.join(selects)}")


def _of_run(part: _Part, schema: pa.Schema) -> str:
    """The columns that tell of which run a row is."""
    own = {column.casefold() for column in schema.names}
    # a column of the table's own keeps its name
    version, run = ("run_version" if "version" in own else "version", "run_time" if "run" in own else "run")
    timestamp = part.run.experiment_id.rsplit("/", 1)[1]
    return f"{_text(str(part.run.layout.version))} AS {_name(version)}, {_text(timestamp)} AS {_name(run)}"


def _columns(
    connection: duckdb.DuckDBPyConnection, part: _Part, table: str, inner: str, schema: pa.Schema
) -> str | None:
    """The columns of a table with the names of input files among them; None where there are none.

    They are looked up as the rows are read: a join might change the order of the rows.
    """
    files = source_names(part.run) if table != _SPECS and "sort_index" in schema.names else SourceNames({})
    if not files.columns:
        return None
    lookups: dict[str, str] = {}
    for field, shown in shown_columns(files, table, schema.names).items():
        function = f"{field} of {inner}"
        options: Any = {"type": "arrow", "null_handling": "special"}
        connection.create_function(function, _lookup(files, field), ["BIGINT"], "VARCHAR", **options)
        lookups[shown] = f"{_name(function)}(sort_index::BIGINT) AS {_name(shown)}"
    levels = [name for name in index_levels(schema) if name in schema.names]
    rest = [name for name in schema.names if name not in levels]
    new = [lookup for shown, lookup in lookups.items() if shown not in schema.names]
    return ", ".join([*map(_name, levels), *new, *(lookups.get(name, _name(name)) for name in rest)])


def _lookup(files: SourceNames, field: str) -> Any:
    def names(sort_index: Any) -> Any:
        return files.of(field, sort_index.combine_chunks()).cast(pa.string())

    return names


def _dataset(part: _Part, parquet: Any) -> Any:
    try:
        return pyarrow.dataset.dataset(part.path, format=parquet)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StorageError(f"{part.path.name} of {part.run.experiment_id} cannot be read: {error}") from error


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Let one query through, and nothing that makes or changes anything."""
    duckdb = _duckdb()

    statements: Any = connection.extract_statements(sql)
    if len(statements) != 1:
        what = "nothing" if not statements else f"{len(statements)} statements"
        raise UsageError(f"a query is one SELECT; this is {what}")
    kind = statements[0].type
    # a PIVOT is of several: it finds the columns first
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI):
        raise UsageError(
            f"{str(kind).rpartition('.')[2]} is not allowed: a query only reads the run's tables",
            hint="Write a SELECT; -o FILE keeps its answer.",
        )


_CASTS = {"HUGEINT": "BIGINT", "UHUGEINT": "UBIGINT", "INTERVAL": "VARCHAR", "BIT": "VARCHAR"}
"""What DuckDB has and a frame has not; sums of whole numbers are such."""


def _reader(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.RecordBatchReader:
    duckdb = _duckdb()
    try:
        relation: Any = connection.sql(sql)
    except duckdb.Error:
        # a query that cannot be bound is refused again, and this time the message has the place in it
        connection.execute(sql)
        raise
    if relation is None:
        return pa.RecordBatchReader.from_batches(pa.schema([]), iter(()))
    columns: list[str] = []
    taken: set[str] = set()
    for position, (name, dtype) in enumerate(zip(relation.columns, relation.types, strict=True), 1):
        type_name = str(dtype)
        target = "DOUBLE" if type_name.startswith("DECIMAL") else _CASTS.get(type_name)
        columns.append(f"#{position}{f'::{target}' if target else ''} AS {_name(_free(name, taken))}")
    return relation.project(", ".join(columns)).to_arrow_reader(_ROWS_AT_ONCE)


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number where a column before has it, as after a join."""
    chosen, number = name, 0
    while chosen in taken:
        number += 1
        chosen = f"{name}_{number}"
    taken.add(chosen)
    return chosen


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


_MISSING_TABLE = re.compile(r'Table with name "?([^"\n]+?)"? does not exist')
_MISSING_COLUMN = re.compile(r'Referenced column "([^"\n]+)" not found')
_CANDIDATES = re.compile(r"^Candidate bindings: (.+)$", re.MULTILINE)


@contextmanager
def _explaining(tables: Iterable[str]) -> Generator[None]:
    """Turn an error of DuckDB into a short one, with the place in the query that DuckDB points at."""
    duckdb = _duckdb()
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise _explained(str(error), tables) from None
    except (RuntimeError, UnicodeDecodeError) as error:
        # what DuckDB's Python side says of names that are no text
        raise StorageError(f"a table of the run is damaged: {first_line(error)}") from error


def _explained(said: str, tables: Iterable[str]) -> UsageError | StorageError:
    kind, _, rest = said.partition(": ")
    first = rest.partition("\n")[0] or said
    # `LINE 1: select …` and, below it, `^` under the word that is meant
    place = [line for line in said.splitlines() if line.startswith("LINE ") or (line.strip() and not line.strip(" ^"))]
    where = "".join(f"\n{line.rstrip()}" for line in place[:2])
    missing = _MISSING_TABLE.search(said)
    if missing:
        name = missing.group(1)
        return UsageError(f"SQL: there is no table {name!r}{where}", hint=hint_for(name, tables))
    column, candidates = _MISSING_COLUMN.search(said), _CANDIDATES.search(said)
    if column:
        known = re.findall(r'"([^"]+)"', candidates.group(1)) if candidates else []
        return UsageError(f"SQL: there is no column {column.group(1)!r}{where}", hint=hint_for(column.group(1), known))
    if kind in ("Permission Error", "Permission Exception"):
        return UsageError(f"SQL: {first}{where}", hint="A query sees only the tables of the run.")
    if kind.startswith("INTERRUPT"):
        return UsageError("SQL: the query takes too long here", hint="`scythe results query` has no time limit.")
    if kind in ("Out of Memory Error", "IO Error"):
        return StorageError(f"SQL: {kind}: {first}")
    hint = next((line for line in said.splitlines() if line.startswith("Did you mean")), None)
    return UsageError(f"SQL: {first}{where}", hint=hint)
