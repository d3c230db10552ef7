"""Final tables: where they are on this machine, how they are described, and what their columns are."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from scythe_cli.analysis.records import TableRecord
from scythe_cli.core.distribution import needs_extra
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.html import RecordList
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError, StorageError, first_line
from scythe_cli.model.columns import unit_of
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.run.manifest import IoSchema, read_io_schema
from scythe_cli.run.stored_run import StoredRun
from scythe_cli.storage.base import MissingKeyError, Storage

if TYPE_CHECKING:
    import pandas as pd


__all__ = [
    "META_COLUMNS",
    "FieldText",
    "choose_columns",
    "choose_tables",
    "describe_tables",
    "field_texts",
    "index_levels",
    "local_copy",
    "plain_index",
    "read_pandas",
    "reading",
    "scan_table",
    "table_key",
]


META_COLUMNS = ("experiment_id", "sort_index", "workflow_run_id", "root_workflow_run_id")
"""The first columns of every final table but `errors`: which spec of which run a row belongs to."""

_IDS = tuple(name for name in META_COLUMNS if name != "sort_index")

NO_TABLES_HINT = "`scythe status` shows its progress; `scythe results fetch --partial` takes what is there."


@cache
def _copies() -> TemporaryDirectory[str]:
    """A folder for copies of what lies elsewhere; it is removed when the process ends."""
    return TemporaryDirectory(prefix=owned_prefix("tables"), ignore_cleanup_errors=True)


def local_copy(storage: Storage, key: str) -> Path:
    """A local file with the content of a key, which stays as long as this process does.

    What lies elsewhere is copied once; again when its size or time of change is another.
    """
    path = storage.local_path(key)
    if path is not None:
        return path
    info = storage.info(key)
    state = f"{storage.uri(key)}\n{info.size_bytes}\n{info.modified}"
    path = Path(_copies().name) / f"{sha256(state.encode()).hexdigest()[:32]}.pq"
    if not path.exists():
        storage.get_file(key, path)
    return path


@contextmanager
def reading(storage: Storage, key: str) -> Generator[None]:
    """Turn what goes wrong while a table is read into a StorageError that names it."""
    try:
        yield
    except (pa.ArrowException, *POLARS_ERRORS, OSError, ValueError, ArithmeticError, RecursionError) as error:
        if isinstance(error, FileNotFoundError):
            raise MissingKeyError(f"{storage.uri(key)} is no longer there") from error
        raise StorageError(f"{storage.uri(key)} cannot be read: {first_line(error)}") from error


def scan_table(storage: Storage, key: str) -> pl.LazyFrame:
    """A final table, read when it is collected and only as far as it is needed."""
    with reading(storage, key):
        return pl.scan_parquet(local_copy(storage, key), glob=False)


def read_pandas(storage: Storage, key: str, index: Sequence[str] | None = None) -> pd.DataFrame:
    """A final table as pandas.

    Args:
        storage: Where it is.
        key: Its key.
        index: The columns that are its index, in place of its MultiIndex; ids are left out then.

    Raises:
        StorageError: If it cannot be read.
        MissingExtraError: If pandas is not installed.
    """
    with needs_extra("pandas", "a table of pandas"):
        import pandas as pd

    try:
        with reading(storage, key):
            path = local_copy(storage, key)
            return pd.read_parquet(path) if index is None else _with_index(pq.read_table(path), index)
    except (LookupError, TypeError, AttributeError) as error:
        # what the table says of its index for pandas is JSON, which pandas and pyarrow take to be whole
        raise StorageError(f"{storage.uri(key)} has damaged pandas metadata") from error


def _with_index(table: pa.Table, index: Sequence[str]) -> pd.DataFrame:
    """A table as pandas, without ids: nothing is made of a million texts that are all different."""
    described: Any = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    table = table.select([name for name in table.column_names if name not in _IDS])
    if described:
        described["index_columns"] = list(index)
        described["columns"] = [column for column in described["columns"] if column["name"] not in _IDS]
        table = table.replace_schema_metadata({b"pandas": json.dumps(described).encode()})
    return table.to_pandas()


def plain_index(run: StoredRun, name: str) -> list[str]:
    """The index of a table whose inputs are columns: `sort_index`, and the levels that are the table's own.

    Raises:
        StorageError: If the table cannot be read.
    """
    keys = run.table_keys()
    levels: dict[str, list[str]] = {}
    for each in {name, "scalars"} & keys.keys():
        with reading(run.storage, keys[each]):
            levels[each] = index_levels(pq.read_schema(local_copy(run.storage, keys[each])))
    of_spec = {*META_COLUMNS, *levels.get("scalars", ())} - {"sort_index"}
    return [level for level in levels.get(name, ()) if level not in of_spec]


def table_key(run: StoredRun, name: str) -> str:
    """The key of a final table.

    Raises:
        NotFoundError: If the run has no such table.
    """
    keys = run.table_keys()
    return keys[choose_tables([name], keys, run)[0]]


def choose_tables(names: Sequence[str] | None, known: Iterable[str], run: StoredRun) -> list[str]:
    """The tables that are asked for, all without names; each once.

    Raises:
        NotFoundError: If there is no such table, or none at all.
    """
    there = sorted(known)
    if not there:
        raise NotFoundError(f"{run.experiment_id} has no final tables yet", hint=NO_TABLES_HINT)
    for name in names or ():
        if name not in there:
            raise NotFoundError(f"{run.experiment_id} has no table {name!r}", hint=hint_for(name, there))
    return list(dict.fromkeys(names)) if names else there


def choose_columns(names: Sequence[str], known: Sequence[str], table: str) -> list[str]:
    """The columns that are asked for; each once.

    Raises:
        NotFoundError: If there is no such column.
    """
    for name in names:
        if name not in known:
            raise NotFoundError(f"{table} has no column {name!r}", hint=hint_for(name, known))
    return list(dict.fromkeys(names))


def describe_tables(run: StoredRun) -> RecordList[TableRecord]:
    """Size and shape of the final tables, by name; the shape is None for files that are not Parquet."""
    records = RecordList[TableRecord]()
    for name, key in sorted(run.table_keys().items()):
        n_rows = n_columns = None
        path = local_copy(run.storage, key)
        try:
            metadata: Any = pq.read_metadata(path)
            n_rows, n_columns = int(metadata.num_rows), int(metadata.num_columns)
        except (pa.ArrowException, OSError, ValueError):  # names that are no text
            pass
        with reading(run.storage, key):
            size_bytes = path.stat().st_size
        records.append(
            TableRecord(name=name, uri=run.storage.uri(key), size_bytes=size_bytes, n_rows=n_rows, n_columns=n_columns)
        )
    return records


def index_levels(schema: pa.Schema) -> list[str]:
    """The columns that are levels of the table's index when pandas reads it."""
    stored = (schema.metadata or {}).get(b"pandas")
    try:
        described: Any = json.loads(stored or b"{}")
    except (ValueError, RecursionError):
        return []
    levels: Any = described.get("index_columns") if isinstance(described, dict) else None
    return [level for level in levels if isinstance(level, str)] if isinstance(levels, list) else []


@dataclass(frozen=True, slots=True)
class FieldText:
    """What a model says about a field.

    Attributes:
        unit: Its unit, such as `deg`.
        description: What it is.
        is_input: Whether it is an input; an output otherwise.
    """

    unit: str | None
    description: str | None
    is_input: bool


def field_texts(run: StoredRun) -> dict[str, FieldText]:
    """Units and descriptions of input and output fields, from the run's own schema; nested ones with dotted names."""
    document = read_io_schema(run.storage, run.layout)
    texts: dict[str, FieldText] = {}
    for side in ("input", "output"):
        model = document.resolved(document.sides.get(side, {}))
        _add_texts(texts, model, document, is_input=side == "input", prefix="", depth=0)
    return texts


_DEEPEST = 5
_MAX_TEXTS = 100_000


def _add_texts(
    texts: dict[str, FieldText],
    model: dict[str, Any],
    document: IoSchema,
    *,
    is_input: bool,
    prefix: str,
    depth: int,
) -> None:
    for name, details in document.properties_of(model).items():
        text: Any = details.get("description")
        known = str(text) if text else None
        texts.setdefault(f"{prefix}{name}", FieldText(unit_of(known), known, is_input))
        nested = document.resolved(details)
        # definitions can refer to each other without end
        if nested is not details and depth < _DEEPEST and len(texts) < _MAX_TEXTS:
            _add_texts(texts, nested, document, is_input=is_input, prefix=f"{prefix}{name}.", depth=depth + 1)
