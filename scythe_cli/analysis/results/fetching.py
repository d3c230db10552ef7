"""Copying final tables and output files of a run into a folder: each whole or not at all, and none twice.

A hidden file in the folder, `.scythe-fetched`, has a line for each file that was put there: from where, and in which
state the source was. A fetch that was interrupted is gone on with by the same command, which passes over what is there
already; a file that somebody else put there, or that was changed since, is never replaced unasked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Literal

import polars as pl
import pyarrow.parquet as pq

from scythe_cli.analysis.records import FetchedFile
from scythe_cli.analysis.results.spreadsheets import check_fits_sheet, write_csv, write_workbook
from scythe_cli.analysis.results.tables import (
    META_COLUMNS,
    choose_tables,
    index_levels,
    reading,
)
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.text import hint_for
from scythe_cli.errors import (
    NotFoundError,
    StorageError,
    UsageError,
    first_line,
)
from scythe_cli.run.final.gather import gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.storage.base import FileInfo, MissingKeyError, Storage, check_key

__all__ = ["FetchProgress", "ProgressOfFetch", "TableFormat", "fetch", "placing"]


TableFormat = Literal["pq", "csv", "xlsx"]

_RECEIPTS = ".scythe-fetched"
_THREADS = 8
_WORKBOOK = "results"


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch is.

    Attributes:
        done: Files that are in place.
        total: Files that are fetched in all.
        name: The file that was dealt with last.
    """

    done: int
    total: int
    name: str


ProgressOfFetch = Callable[[FetchProgress], None]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a file comes from."""

    uri: str
    state: str  # size and time of change, as far as they are known
    get: Callable[[Path], None]

    def marked(self, how: str) -> _Source:
        """The same, of which something else is made."""
        return replace(self, state=f"{self.state}, {how}") if self.state else self


def fetch(
    storage: Storage,
    run: RunLayout,
    dest: Path,
    *,
    keys: Mapping[str, str],
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
            made = gather(storage, run, into=Path(scratch)).tables
            sources = {name: _Source(path, "", _copier(Path(path))) for name, path in made.items()}
        else:
            sources = {name: _stored(storage, key) for name, key in keys.items()}
        chosen = {name: sources[name] for name in choose_tables(tables, sources, run)}
        refs = sources.get("result_file_refs")
        if files is not False and refs is None:
            raise NotFoundError(f"{run.experiment_id} has no output files")
        folder = _Folder.open(dest, overwrite=overwrite)
        if format == "xlsx":
            fetched = [_fetch_workbook(folder, chosen, raw_cells, progress)]
        else:
            convert = _converter(format, raw_cells)
            if format == "csv" and raw_cells:
                chosen = {name: source.marked("raw cells") for name, source in chosen.items()}
            jobs = [_Job(name, f"{name}.{format}", source, convert) for name, source in chosen.items()]
            fetched = folder.fetch(jobs, progress)
        if folder.missing:
            raise MissingKeyError(f"{folder.missing[0]} is no longer there", hint="Run the command again.")
        if files is not False and refs is not None:
            path = Path(scratch) / "references.pq"
            refs.get(path)
            fetched += _fetch_files(storage, run, path, folder, None if isinstance(files, bool) else files, progress)
        return fetched


def _copier(source: Path) -> Callable[[Path], None]:
    def copy(path: Path) -> None:
        shutil.copyfile(source, path)

    return copy


def _stored(storage: Storage, key: str) -> _Source:
    folder, _, name = key.rpartition("/")
    info = next((file for file in storage.list_files(folder) if file.name == name), None)
    return _Source(storage.uri(key), _state(info), lambda path: storage.get_file(key, path))


def _state(info: FileInfo | None) -> str:
    return f"{info.size_bytes} {info.modified.isoformat()}" if info else ""


Convert = Callable[[Callable[[Path], None], Path], None]
"""From what brings a source to a path, and a path, to a file there."""


def _as_is(get: Callable[[Path], None], target: Path) -> None:
    get(target)


def _converter(format: TableFormat, raw_cells: bool) -> Convert:  # noqa: A002 - as above
    if format == "pq":
        return _as_is

    def convert(get: Callable[[Path], None], target: Path) -> None:
        parquet = target.with_name(f"{target.name}.source")
        get(parquet)
        try:
            write_csv(pl.scan_parquet(parquet, glob=False), target, raw_cells=raw_cells)
        except POLARS_ERRORS as error:
            raise StorageError(f"{target.name} cannot be made: {first_line(error)}") from error

    return convert


def _fetch_workbook(
    folder: _Folder, sources: Mapping[str, _Source], raw_cells: bool, progress: ProgressOfFetch | None
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
                frames[table] = pl.scan_parquet(parquet, glob=False)

            def tell(table: str) -> None:
                if progress:
                    progress(FetchProgress(names.index(table), len(names), table))

            try:
                notices.extend(write_workbook(frames, path, raw_cells=raw_cells, on_table=tell))
            except POLARS_ERRORS as error:
                raise StorageError(f"{path.name} cannot be made: {first_line(error)}") from error

    state = json.dumps([[table, source.uri, source.state, raw_cells] for table, source in sources.items()])
    known = all(source.state for source in sources.values())
    source = _Source(json.dumps([source.uri for source in sources.values()]), state if known else "", make)
    fetched = folder.fetch([_Job(name, f"{name}.xlsx", source, _as_is)], None)[0]
    return fetched.model_copy(update={"notices": notices})


def _fetch_files(
    storage: Storage,
    run: RunLayout,
    refs: Path,
    folder: _Folder,
    fields: Sequence[str] | None,
    progress: ProgressOfFetch | None,
) -> list[FetchedFile]:
    """Copy output files to `files/<field>/`, under the names that they have in the run."""
    with reading(storage, run.table("result_file_refs")):
        levels = {*index_levels(pq.read_schema(refs)), *META_COLUMNS}
        frame = pl.scan_parquet(refs, glob=False)
        there = [name for name in frame.collect_schema() if name not in levels]
        for name in fields or ():
            if name not in there:
                raise NotFoundError(f"{run.experiment_id} has no output files {name!r}", hint=hint_for(name, there))
        chosen = list(dict.fromkeys(fields)) if fields else there
        references = {
            name: frame.select(pl.col(name).cast(pl.String).drop_nulls().unique(maintain_order=True))
            .collect(engine="streaming")[name]
            .to_list()
            for name in chosen
        }
    jobs: list[_Job] = []
    elsewhere: list[str] = []
    for name, uris in references.items():
        jobs += _file_jobs(storage, run, name, uris, elsewhere)
    fetched = folder.fetch(jobs, progress)
    missing = [*folder.missing, *elsewhere]
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        files = "1 output file" if len(missing) == 1 else f"{len(missing):,} output files"
        raise StorageError(
            f"{files} of {run.experiment_id} cannot be fetched: {shown}",
            hint=f"They are no longer there, or not in the run's folder. {len(fetched):,} others are in {folder.path}.",
        )
    return fetched


def _file_jobs(
    storage: Storage, run: RunLayout, field_name: str, uris: Sequence[str], elsewhere: list[str]
) -> Iterator[_Job]:
    """What to copy for one field; what does not lie among the run's results is never read."""
    infos: dict[str, dict[str, FileInfo]] = {}
    taken: set[str] = set()
    for uri in uris:
        key = _result_key(storage, run, uri)
        if key is None:
            elsewhere.append(uri)
            continue
        folder, _, name = key.rpartition("/")
        if folder not in infos:
            infos[folder] = {file.name: file for file in storage.list_files(folder)}
        safe = _free(_safe(name), taken)
        source = _Source(uri, _state(infos[folder].get(name)), _getter(storage, key))
        yield _Job(f"{field_name}/{safe}", f"files/{_safe(field_name)}/{safe}", source, _as_is)


def _getter(storage: Storage, key: str) -> Callable[[Path], None]:
    return lambda path: storage.get_file(key, path)


def _result_key(storage: Storage, run: RunLayout, uri: str) -> str | None:
    """The key of an output file; None for what is not among the results of this run."""
    inside = run.key("results") + "/"
    key = storage.key_of(uri)
    if key is None and f"/{inside}" in uri:
        # the run was copied here from elsewhere, and its table still names the old place
        key = inside + uri.rpartition(f"/{inside}")[2]
    if key is None or not key.startswith(inside):
        return None
    try:
        check_key(key)
    except StorageError:
        return None
    path = storage.local_path(key)
    if path is not None:
        root = storage.local_path(run.key("results"))
        if root is None or not path.resolve().is_relative_to(root.resolve()):
            return None  # a link that leads out of the run
    return key


_UNSAFE = re.compile(r"[^A-Za-z0-9._\-+=@ ()\u00a1-\ud7ff]")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


def _safe(name: str) -> str:
    """A name for a file that every system takes, and that leads nowhere else."""
    plain = _UNSAFE.sub("_", name).strip(" .") or "_"
    if plain.split(".")[0].casefold() in _DEVICES:
        plain = f"_{plain}"
    if len(plain.encode()) <= 200:
        return plain
    stem, dot, suffix = plain.rpartition(".")
    keep = suffix if dot and len(suffix) <= 16 else ""
    return (stem or plain).encode()[:180].decode(errors="ignore") + (f".{keep}" if keep else "")


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number when it is taken; some file systems tell no upper from lower case."""
    chosen, number = name, 1
    while chosen.casefold() in taken:
        number += 1
        stem, dot, suffix = name.rpartition(".")
        chosen = f"{stem}~{number}.{suffix}" if dot and stem else f"{name}~{number}"
    taken.add(chosen.casefold())
    return chosen


@dataclass(frozen=True, slots=True)
class _Job:
    """One file that is to be in the folder."""

    name: str
    file: str  # relative to the folder
    source: _Source
    convert: Convert


@contextmanager
def placing(target: Path) -> Generator[Path]:
    """A path to write to; what is there at the end takes the target's place in one step, and nothing on an error."""
    with TemporaryDirectory(prefix=".scythe-", dir=target.parent, ignore_cleanup_errors=True) as folder:
        # a folder that is made for this, in which nobody can have put a link that leads elsewhere
        unfinished = Path(folder) / target.name
        yield unfinished
        unfinished.replace(target)


@dataclass(slots=True)
class _Folder:
    """A folder that files are fetched into."""

    path: Path
    overwrite: bool
    receipts: dict[str, dict[str, Any]]
    missing: list[str] = field(default_factory=list[str])
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def open(cls, path: Path, *, overwrite: bool) -> _Folder:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is not a folder")
        receipts: dict[str, dict[str, Any]] = {}
        try:
            lines = (path / _RECEIPTS).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        for line in lines:
            try:
                receipt = json.loads(line)
                receipts[str(receipt["file"])] = receipt
            except (ValueError, TypeError, KeyError):
                continue  # cut when an earlier fetch was killed: the file is fetched again
        return cls(path, overwrite, receipts)

    def fetch(self, jobs: Iterable[_Job], progress: ProgressOfFetch | None) -> list[FetchedFile]:
        """Bring files to their places; those that are there in the same state are passed over."""
        all_jobs = list(jobs)
        there = {job.file for job in all_jobs if self._is_there(job)}
        todo = [job for job in all_jobs if job.file not in there]
        taken = [job.file for job in todo if os.path.lexists(self.path / job.file)]
        if taken and not self.overwrite:
            files = ", ".join(taken[:5]) + (f" and {len(taken) - 5:,} more" if len(taken) > 5 else "")
            raise UsageError(
                f"{self.path} has {files} already, from elsewhere or changed since",
                hint="Choose another folder, or give --overwrite.",
            )
        done = len(there)
        results: dict[str, FetchedFile] = {
            job.file: self._record(job, skipped=True) for job in all_jobs if job.file in there
        }
        try:
            for parent in {(self.path / job.file).parent for job in todo} | {self.path}:
                self._make_folder(parent)
            with ThreadPoolExecutor(min(_THREADS, max(len(todo), 1)), thread_name_prefix="scythe-fetch") as pool:
                try:
                    for job, found in zip(todo, pool.map(self._place, todo), strict=True):
                        done += 1
                        if found is not None:
                            results[job.file] = found
                        if progress:
                            progress(FetchProgress(done, len(all_jobs), job.file))
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror or error}") from error
        return [results[job.file] for job in all_jobs if job.file in results]

    def _make_folder(self, parent: Path) -> None:
        """Make a folder below this one; a link in its place could lead elsewhere."""
        parent.mkdir(parents=True, exist_ok=True)
        if parent != self.path and not parent.resolve().is_relative_to(self.path.resolve()):
            raise UsageError(f"{parent} leads out of {self.path}", hint="Choose another folder.")

    def _is_there(self, job: _Job) -> bool:
        receipt = self.receipts.get(job.file)
        if receipt is None or not job.source.state:
            return False
        if (receipt.get("source"), receipt.get("state")) != (job.source.uri, job.source.state):
            return False
        try:
            stat = (self.path / job.file).lstat()
        except OSError:
            return False
        return [stat.st_size, stat.st_mtime_ns] == receipt.get("placed")

    def _place(self, job: _Job) -> FetchedFile | None:
        """Bring one file to its place, whole or not at all; what is there by that name, a link too, is replaced."""
        target = self.path / job.file
        try:
            with placing(target) as unfinished:
                job.convert(job.source.get, unfinished)
                # before the file is there: a receipt without its file only means that it is fetched again
                self._write_receipt(job, unfinished)
        except MissingKeyError:
            with self._lock:
                self.missing.append(job.source.uri)
            return None
        return self._record(job, skipped=False)

    def _write_receipt(self, job: _Job, file: Path) -> None:
        stat = file.lstat()
        receipt = {
            "file": job.file,
            "source": job.source.uri,
            "state": job.source.state,
            "placed": [stat.st_size, stat.st_mtime_ns],
        }
        # the new line comes first: what was cut when an earlier fetch was killed ends there
        line = "\n" + json.dumps(receipt)
        with self._lock, (self.path / _RECEIPTS).open("a", encoding="utf-8") as receipts:
            receipts.write(line)

    def _record(self, job: _Job, *, skipped: bool) -> FetchedFile:
        target = self.path / job.file
        return FetchedFile(name=job.name, path=str(target), size_bytes=target.stat().st_size, skipped=skipped)
