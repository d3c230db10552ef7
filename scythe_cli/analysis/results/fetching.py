"""Copying final tables and output files of a run into a folder, in the format that is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import polars as pl
import pyarrow.parquet as pq

from scythe_cli.analysis.records import FetchedFile
from scythe_cli.analysis.results.fetch_folder import (
    Convert,
    FetchFolder,
    FetchJob,
    FetchProgress,
    ProgressOfFetch,
    Source,
    as_is,
)
from scythe_cli.analysis.results.output_files import fetch_output_files
from scythe_cli.analysis.results.source_names import levels_at, named_table
from scythe_cli.analysis.results.spreadsheets import check_fits_sheet, write_csv, write_workbook
from scythe_cli.analysis.results.tables import choose_tables
from scythe_cli.core.folders import owned_prefix
from scythe_cli.errors import NotFoundError, StorageError, first_line
from scythe_cli.run.final.gather import gather
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.run.stored_run import StoredRun
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = ["FetchProgress", "ProgressOfFetch", "TableFormat", "fetch_run"]


TableFormat = Literal["pq", "csv", "xlsx"]

_WORKBOOK = "results"


def fetch_run(
    run: StoredRun,
    dest: Path,
    *,
    tables: Sequence[str] | None,
    format: TableFormat,  # noqa: A002 - the name of the command's option
    files: bool | Sequence[str],
    partial: bool,
    overwrite: bool,
    raw_cells: bool,
    progress: ProgressOfFetch | None,
) -> list[FetchedFile]:
    """Copy tables and output files into a folder; see `Run.fetch`."""
    with TemporaryDirectory(prefix=owned_prefix("fetch")) as scratch:
        if partial:
            made = gather(run.storage, run.layout, into=Path(scratch)).tables
            sources = {name: Source(path, "", _copier(Path(path))) for name, path in made.items()}
        else:
            sources = {name: _stored(run.storage, key) for name, key in run.table_keys().items()}
        chosen = {name: sources[name] for name in choose_tables(tables, sources, run)}
        refs = sources.get("result_file_refs")
        if files is not False and refs is None:
            raise NotFoundError(f"{run.experiment_id} has no output files")
        folder = FetchFolder.open(dest, overwrite=overwrite)
        if format == "xlsx":
            fetched = [_fetch_workbook(run, folder, chosen, raw_cells, progress)]
        else:
            if format == "csv" and raw_cells:
                chosen = {name: source.marked("raw cells") for name, source in chosen.items()}
            jobs = [
                FetchJob(name, f"{name}.{format}", source, _converter(run, name, format, raw_cells))
                for name, source in chosen.items()
            ]
            fetched = folder.fetch(jobs, progress)
        if folder.missing:
            raise MissingKeyError(f"{folder.missing[0]} is no longer there", hint="Run the command again.")
        if files is not False and refs is not None:
            path = Path(scratch) / "references.pq"
            refs.get(path)
            fields = None if isinstance(files, bool) else files
            fetched += fetch_output_files(run, path, folder, fields, progress)
        return fetched


def _copier(source: Path) -> Callable[[Path], None]:
    def copy(path: Path) -> None:
        shutil.copyfile(source, path)

    return copy


def _stored(storage: Storage, key: str) -> Source:
    folder, _, name = key.rpartition("/")
    info = next((file for file in storage.list_files(folder) if file.name == name), None)
    return Source.stored(storage, key, info)


def _converter(run: StoredRun, table: str, format: TableFormat, raw_cells: bool) -> Convert:  # noqa: A002 - as above
    if format == "pq":
        return as_is

    def convert(get: Callable[[Path], None], target: Path) -> None:
        parquet = target.with_name(f"{target.name}.source")
        get(parquet)
        try:
            write_csv(_shown(run, table, parquet), target, raw_cells=raw_cells)
        except POLARS_ERRORS as error:
            raise StorageError(f"{target.name} cannot be made: {first_line(error)}") from error

    return convert


def _shown(run: StoredRun, table: str, parquet: Path) -> pl.LazyFrame:
    """A table for people: with the names of input files."""
    return named_table(run, table, pl.scan_parquet(parquet, glob=False), levels_at(parquet))


def _fetch_workbook(
    run: StoredRun,
    folder: FetchFolder,
    sources: Mapping[str, Source],
    raw_cells: bool,
    progress: ProgressOfFetch | None,
) -> FetchedFile:
    """Write all tables to one workbook: what is opened in Excel is one file."""
    name = next(iter(sources)) if len(sources) == 1 else _WORKBOOK
    names = list(sources)
    notices: list[str] = []

    def make(path: Path) -> None:
        with TemporaryDirectory(prefix=".tables-", dir=path.parent) as scratch:
            frames: dict[str, pl.LazyFrame] = {}
            for position, (table, source) in enumerate(sources.items()):
                parquet = Path(scratch) / f"{position}.pq"
                source.get(parquet)
                metadata: Any = pq.read_metadata(parquet)
                check_fits_sheet(table, metadata.num_rows, metadata.num_columns)
                frames[table] = _shown(run, table, parquet)

            def tell(table: str) -> None:
                if progress:
                    progress(FetchProgress(names.index(table), len(names), table))

            try:
                notices.extend(write_workbook(frames, path, raw_cells=raw_cells, on_table=tell))
            except POLARS_ERRORS as error:
                raise StorageError(f"{path.name} cannot be made: {first_line(error)}") from error

    state = json.dumps([[table, source.uri, source.state, raw_cells] for table, source in sources.items()])
    known = all(source.state for source in sources.values())
    source = Source(json.dumps([source.uri for source in sources.values()]), state if known else "", make)
    fetched = folder.fetch([FetchJob(name, f"{name}.xlsx", source, as_is)], None)[0]
    return fetched.model_copy(update={"notices": notices})
