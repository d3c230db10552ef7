"""Final tables: described, summarised and copied."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from scythe_cli.columns import unit_of
from scythe_cli.errors import NotFoundError, StorageError, UsageError
from scythe_cli.gather import gather
from scythe_cli.layout import RunLayout
from scythe_cli.manifest import load_yaml
from scythe_cli.records import FetchedFile, TableColumn, TableRecord, TableSummary
from scythe_cli.storage import MissingKeyError, Storage

__all__ = ["describe_tables", "fetch_tables", "local_table", "summarise_table"]


@contextmanager
def local_table(storage: Storage, key: str) -> Generator[Path]:
    """A local file with the content of a key; a copy that is removed again when it lies elsewhere."""
    path = storage.local_path(key)
    if path is not None:
        yield path
        return
    with TemporaryDirectory(prefix="scythe-table-") as folder:
        path = Path(folder) / key.rsplit("/", 1)[1]
        storage.get_file(key, path)
        yield path


def describe_tables(storage: Storage, keys: Mapping[str, str]) -> list[TableRecord]:
    """Size and shape of some tables, by name; the shape is None for files that are not Parquet."""
    records: list[TableRecord] = []
    for name, key in sorted(keys.items()):
        n_rows = n_columns = None
        with local_table(storage, key) as path:
            try:
                metadata: Any = pq.read_metadata(path)
                n_rows, n_columns = int(metadata.num_rows), int(metadata.num_columns)
            except (pa.ArrowException, OSError):
                pass
            size_bytes = path.stat().st_size
        records.append(
            TableRecord(name=name, uri=storage.uri(key), size_bytes=size_bytes, n_rows=n_rows, n_columns=n_columns)
        )
    return records


@dataclass(frozen=True, slots=True)
class _FieldText:
    unit: str | None
    description: str | None


def _field_texts(storage: Storage, run: RunLayout) -> dict[str, _FieldText]:
    """Descriptions and units of input and output fields, from the run's own schema."""
    try:
        document = load_yaml(storage.read_bytes(run.io_spec), run.io_spec)
    except MissingKeyError:
        return {}
    texts: dict[str, _FieldText] = {}
    definitions: dict[str, Any] = document.get("$defs") or {}
    for side in ("input", "output"):
        schema: dict[str, Any] = (document.get("properties") or {}).get(side) or {}
        reference = schema.get("$ref") or next((part.get("$ref") for part in schema.get("allOf") or []), None)
        model: dict[str, Any] = definitions.get(str(reference).rsplit("/", 1)[-1]) or schema
        for name, details in (model.get("properties") or {}).items():
            text = details.get("description") if isinstance(details, dict) else None
            if text:
                texts[str(name)] = _FieldText(unit_of(str(text)), str(text))
    return texts


def summarise_table(storage: Storage, run: RunLayout, name: str, key: str, rows: int) -> TableSummary:
    """The head of a table, and a summary of each column.

    Raises:
        StorageError: If the table cannot be read.
    """
    texts = _field_texts(storage, run)
    with local_table(storage, key) as path:
        try:
            schema = pq.read_schema(path)
            frame = pl.scan_parquet(path, glob=False)
            n_rows = int(frame.select(pl.len()).collect().item())
            head = frame.head(rows).collect()
            index = _index_levels(schema)
            columns = [_summarise_column(frame, c, t, c in index, texts) for c, t in head.schema.items()]
        except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
            raise StorageError(f"{storage.uri(key)} cannot be read: {str(error).splitlines()[0]}") from error
    return TableSummary(
        experiment_id=run.experiment_id,
        name=name,
        uri=storage.uri(key),
        n_rows=n_rows,
        columns=columns,
        head=head.to_dicts(),
    )


def _index_levels(schema: pa.Schema) -> set[str]:
    stored = (schema.metadata or {}).get(b"pandas")
    levels = json.loads(stored).get("index_columns", []) if stored else []
    return {level for level in levels if isinstance(level, str)}


def _summarise_column(
    frame: pl.LazyFrame, name: str, dtype: pl.DataType, is_index: bool, texts: Mapping[str, _FieldText]
) -> TableColumn:
    column = pl.col(name)
    wanted = [column.null_count().alias("n_null")]
    if dtype.is_numeric():
        finite = column.filter(column.is_finite()) if dtype.is_float() else column
        wanted += [finite.min().alias("min"), finite.mean().alias("mean"), finite.max().alias("max")]
    elif dtype.is_temporal():
        wanted += [column.min().alias("min"), column.max().alias("max")]
    if not dtype.is_nested():
        wanted.append(column.n_unique().alias("n_unique"))
    values = frame.select(wanted).collect(engine="streaming").row(0, named=True)
    text = texts.get(name, _FieldText(None, None))
    return TableColumn(
        name=name, dtype=str(dtype), is_index=is_index, unit=text.unit, description=text.description, **values
    )


def fetch_tables(
    storage: Storage,
    run: RunLayout,
    keys: Mapping[str, str],
    dest: Path,
    *,
    names: Sequence[str] | None,
    as_csv: bool,
    partial: bool,
    overwrite: bool,
) -> list[FetchedFile]:
    """Copy tables into a folder; see `Run.fetch`."""
    if dest.exists() and not dest.is_dir():
        raise UsageError(f"{dest} is not a folder")
    with TemporaryDirectory(prefix="scythe-fetch-") as scratch:
        if partial:
            made = gather(storage, run, into=Path(scratch)).tables
            sources: dict[str, Callable[[Path], None]] = {name: _copier(Path(path)) for name, path in made.items()}
        else:
            sources = {name: _fetcher(storage, key) for name, key in keys.items()}
        chosen = _choose(sources, names, run)
        suffix = ".csv" if as_csv else ".pq"
        taken = [name for name in chosen if os.path.lexists(dest / f"{name}{suffix}")]
        if taken and not overwrite:
            files = ", ".join(f"{name}{suffix}" for name in taken[:5])
            raise UsageError(f"{dest} has {files} already", hint="Choose another folder, or give --overwrite.")
        try:
            dest.mkdir(parents=True, exist_ok=True)
            return [_place(sources[name], name, dest / f"{name}{suffix}", as_csv) for name in chosen]
        except OSError as error:
            raise StorageError(f"{dest} cannot be written: {error.strerror or error}") from error


def _copier(source: Path) -> Callable[[Path], None]:
    def copy(path: Path) -> None:
        shutil.copyfile(source, path)

    return copy


def _fetcher(storage: Storage, key: str) -> Callable[[Path], None]:
    return lambda path: storage.get_file(key, path)


def _choose(sources: Mapping[str, Any], names: Sequence[str] | None, run: RunLayout) -> list[str]:
    if not sources:
        raise NotFoundError(
            f"{run.experiment_id} has no final tables yet",
            hint="`scythe results fetch --partial` makes them from what has finished.",
        )
    missing = [name for name in names or () if name not in sources]
    if missing:
        raise NotFoundError(
            f"{run.experiment_id} has no table {missing[0]!r}", hint=f"There are: {', '.join(sorted(sources))}."
        )
    return list(dict.fromkeys(names)) if names else sorted(sources)


def _place(get: Callable[[Path], None], name: str, target: Path, as_csv: bool) -> FetchedFile:
    """Bring one table to its place, whole or not at all; what is there by that name, a link too, is replaced."""
    # a folder that is made for this, in which nobody can have put a link that leads elsewhere
    with TemporaryDirectory(prefix=".scythe-", dir=target.parent) as folder:
        unfinished = Path(folder) / target.name
        if as_csv:
            parquet = Path(folder) / f"{name}.pq"
            get(parquet)
            _write_csv(parquet, unfinished)
        else:
            get(unfinished)
        unfinished.replace(target)
    return FetchedFile(name=name, path=str(target), size_bytes=target.stat().st_size)


_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def _write_csv(parquet: Path, target: Path) -> None:
    """Write a table as CSV; nested cells become JSON, and text that a spreadsheet would run gets a quote before it."""
    frame = pl.scan_parquet(parquet, glob=False)
    columns: list[pl.Expr] = []
    for name, dtype in frame.collect_schema().items():
        column = pl.col(name)
        if isinstance(dtype, pl.Struct):
            column = column.struct.json_encode()
        elif dtype.is_nested():
            column = column.map_elements(_json, return_dtype=pl.String)
        elif isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
            column = column.cast(pl.String)
            starts = pl.any_horizontal(*(column.str.starts_with(start) for start in _FORMULA_STARTS))
            # a number is none, whatever sign it begins with
            starts &= ~column.str.contains(_NUMBER)
            column = pl.when(starts).then(pl.lit("'") + column).otherwise(column)
        elif dtype == pl.Binary:
            column = column.bin.encode("base64")
        elif dtype == pl.Duration:
            column = column.dt.total_seconds(fractional=True)
        columns.append(column.alias(f"'{name}" if name.startswith(_FORMULA_STARTS) else name))
    frame.select(columns).sink_csv(target)


def _json(value: Any) -> str:
    return json.dumps(value.to_list() if isinstance(value, pl.Series) else value, default=str)
