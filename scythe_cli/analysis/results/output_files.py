"""Output files of specs, copied beside the tables that refer to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from scythe_cli.analysis.records import FetchedFile
from scythe_cli.analysis.results.fetch_folder import FetchFolder, FetchJob, ProgressOfFetch, Source, as_is
from scythe_cli.analysis.results.tables import META_COLUMNS, index_levels, reading
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError, StorageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.stored_run import StoredRun
from scythe_cli.storage.base import FileInfo, ForeignKeyError, Storage, check_key

__all__ = ["fetch_output_files", "key_in_run", "result_key"]


def fetch_output_files(
    run: StoredRun,
    refs: Path,
    folder: FetchFolder,
    fields: Sequence[str] | None,
    progress: ProgressOfFetch | None,
) -> list[FetchedFile]:
    """Copy output files to `files/<field>/`, under the names that they have in the run.

    Args:
        run: The run.
        refs: A local copy of its table `result_file_refs`.
        folder: Where they are copied to.
        fields: The fields whose files are copied; None for all.
        progress: Called for each file.

    Raises:
        NotFoundError: If no output files have such a field.
        StorageError: If some cannot be fetched; all others are.
    """
    with reading(run.storage, run.layout.table("result_file_refs")):
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
    jobs: list[FetchJob] = []
    elsewhere: list[str] = []
    for name, uris in references.items():
        jobs += _file_jobs(run, name, uris, elsewhere)
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


def _file_jobs(run: StoredRun, field_name: str, uris: Sequence[str], elsewhere: list[str]) -> Iterator[FetchJob]:
    """What to copy for one field; what does not lie among the run's results is never read."""
    infos: dict[str, dict[str, FileInfo]] = {}
    taken: set[str] = set()
    for uri in uris:
        key = result_key(run.storage, run.layout, uri)
        if key is None:
            elsewhere.append(uri)
            continue
        folder, _, name = key.rpartition("/")
        if folder not in infos:
            infos[folder] = {file.name: file for file in run.storage.list_files(folder)}
        safe = free_name(safe_name(name), taken)
        source = Source.stored(run.storage, key, infos[folder].get(name), uri)
        yield FetchJob(f"{field_name}/{safe}", f"files/{safe_name(field_name)}/{safe}", source, as_is)


def result_key(storage: Storage, run: RunLayout, uri: str) -> str | None:
    """The key of an output file; None for what is not among the results of this run."""
    return key_in_run(storage, run, uri, "results")


def key_in_run(storage: Storage, run: RunLayout, uri: str, folder: str) -> str | None:
    """The key of a file in a folder of a run; None for what is not there."""
    inside = run.key(folder) + "/"
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
    try:
        storage.local_path(key)
    except ForeignKeyError:
        return None  # a link, which could lead out of the run
    return key


_UNSAFE = re.compile(r"[^A-Za-z0-9._\-+=@ ()\u00a1-\ud7ff]")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


def safe_name(name: str) -> str:
    """A name for a file that every system takes, and that leads nowhere else."""
    plain = _UNSAFE.sub("_", name).strip(" .") or "_"
    if plain.split(".")[0].casefold() in _DEVICES:
        plain = f"_{plain}"
    if len(plain.encode()) <= 200:
        return plain
    stem, dot, suffix = plain.rpartition(".")
    keep = suffix if dot and len(suffix) <= 16 else ""
    return (stem or plain).encode()[:180].decode(errors="ignore") + (f".{keep}" if keep else "")


def free_name(name: str, taken: set[str]) -> str:
    """The name, with a number when it is taken; some file systems tell no upper from lower case."""
    chosen, number = name, 1
    while chosen.casefold() in taken:
        number += 1
        stem, dot, suffix = name.rpartition(".")
        chosen = f"{stem}~{number}.{suffix}" if dot and stem else f"{name}~{number}"
    taken.add(chosen.casefold())
    return chosen
