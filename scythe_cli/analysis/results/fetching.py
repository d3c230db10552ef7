"""Copying final tables and output files of a run into a folder, in the format that is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any, Literal

import polars as pl
import pyarrow as pa
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
from scythe_cli.run.final.table_file import GATHER_KEY
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.run.stored_run import StoredRun
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = ["FetchProgress", "ProgressOfFetch", "TableFormat", "fetch_run"]


TableFormat = Literal["pq", "csv", "xlsx"]

_WORKBOOK = "results"
_REFERENCES = "result_file_refs"
_GATHERS = "gathers"
_TRIES = 4
_WAIT_S = 0.5  # between tries: as long as a gather takes to put its tables in place


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
        made = gather(run.storage, run.layout, into=Path(scratch)).tables if partial else None
        folder = FetchFolder.open(dest, overwrite=overwrite)
        references = Path(scratch) / "references.pq"
        for n_try in range(_TRIES):
            sleep(_WAIT_S if n_try else 0)
            if made is None:
                sources = {name: _stored(run.storage, key) for name, key in run.table_keys().items()}
            else:
                sources = {name: Source(path, "", _copier(Path(path))) for name, path in made.items()}
            chosen = {name: sources[name] for name in choose_tables(tables, sources, run)}
            if files is not False and _REFERENCES not in sources:
                raise NotFoundError(f"{run.experiment_id} has no output files")
            fetched, gathers = _fetch_tables(run, folder, chosen, format, raw_cells, progress)
            if files is not False:
                _noting(sources[_REFERENCES], gathers).get(references)
            # all are made from the same outcomes, and none came or went meanwhile
            if made is not None or (len(set(gathers)) < 2 and run.table_keys().keys() == sources.keys()):
                break
        else:
            raise StorageError(
                f"the tables of {run.experiment_id} do not belong together: they were made from different outcomes",
                hint="They are being replaced: run the command again. If it fails again, `scythe retry` rebuilds them.",
            )
        if folder.missing:
            raise MissingKeyError(f"{folder.missing[0]} is no longer there", hint="Run the command again.")
        if files is not False:
            fields = None if isinstance(files, bool) else files
            fetched += fetch_output_files(run, references, folder, fields, progress)
        return fetched


def _fetch_tables(
    run: StoredRun,
    folder: FetchFolder,
    sources: Mapping[str, Source],
    format: TableFormat,  # noqa: A002 - as above
    raw_cells: bool,
    progress: ProgressOfFetch | None,
) -> tuple[list[FetchedFile], list[str]]:
    """Bring tables to the folder; returns the files, and which gathers they are of."""
    if format == "xlsx":
        job, notices = _workbook_job(run, sources, raw_cells, progress)
        jobs = [job]
        fetched = [file.model_copy(update={"notices": notices}) for file in folder.fetch(jobs, None)]
    else:
        jobs: list[FetchJob] = []
        for name, source in sources.items():
            gathers: list[str] = []
            marked = source.marked("raw cells") if format == "csv" and raw_cells else source
            facts = {_GATHERS: gathers}
            convert = _converter(run, name, format, raw_cells)
            jobs.append(FetchJob(name, f"{name}.{format}", _noting(marked, gathers), convert, facts))
        fetched = folder.fetch(jobs, progress)
    return fetched, [gather for job in jobs for gather in folder.remembered(job, _GATHERS) or ()]


def _noting(source: Source, gathers: list[str]) -> Source:
    """The same table, which adds the gather that it is of when it is brought."""

    def get(path: Path) -> None:
        source.get(path)
        try:
            metadata: Any = pq.read_metadata(path)
        except (pa.ArrowException, OSError, ValueError):
            return  # whoever reads the table says that it is damaged
        gather_id = (metadata.metadata or {}).get(GATHER_KEY)
        if gather_id is not None:  # tables of older versions do not say
            gathers.append(gather_id.decode(errors="replace"))

    return replace(source, get=get)


def _copier(source: Path) -> Callable[[Path], None]:
    def copy(path: Path) -> None:
        shutil.copyfile(source, path)

    return copy


def _stored(storage: Storage, key: str) -> Source:
    try:
        info = storage.info(key)
    except MissingKeyError:
        info = None  # told when it is brought
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


def _workbook_job(
    run: StoredRun, sources: Mapping[str, Source], raw_cells: bool, progress: ProgressOfFetch | None
) -> tuple[FetchJob, list[str]]:
    """Write all tables to one workbook: what is opened in Excel is one file. Notices come as it is written."""
    name = next(iter(sources)) if len(sources) == 1 else _WORKBOOK
    names = list(sources)
    notices: list[str] = []
    gathers: list[str] = []

    def make(path: Path) -> None:
        with TemporaryDirectory(prefix=".tables-", dir=path.parent) as scratch:
            frames: dict[str, pl.LazyFrame] = {}
            for position, (table, source) in enumerate(sources.items()):
                parquet = Path(scratch) / f"{position}.pq"
                _noting(source, gathers).get(parquet)
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
    return FetchJob(name, f"{name}.xlsx", source, as_is, {_GATHERS: gathers}), notices
