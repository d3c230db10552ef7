"""A folder that files of a run are fetched into: each whole or not at all, and none twice.

A hidden file in the folder, `.scythe-fetched`, has a line for each file that was put there: from where, and in which
state the source was. A fetch that was interrupted is gone on with by the same command, which passes over what is there
already; a file that somebody else put there, or that was changed since, is never replaced unasked. After a loss of
power a file may be there, whole, and its line not: one that is byte for byte what would be brought is nobody else's.
"""

from __future__ import annotations

import filecmp
import json
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from scythe_cli.analysis.files import placing
from scythe_cli.analysis.records import FetchedFile
from scythe_cli.core.files import (
    ForeignFileError,
    append_regular,
    make_folder,
    read_regular,
    sync_file,
    sync_names,
)
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.storage.base import FileInfo, MissingKeyError, Storage

__all__ = ["Convert", "FetchFolder", "FetchJob", "FetchProgress", "ProgressOfFetch", "Source", "as_is"]


_RECEIPTS = ".scythe-fetched"
_MAX_RECEIPT_BYTES = 500_000_000
_THREADS = 8


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
class Source:
    """Where a file comes from."""

    uri: str
    state: str  # size and time of change, as far as they are known
    get: Callable[[Path], None]

    @classmethod
    def stored(cls, storage: Storage, key: str, info: FileInfo | None, uri: str | None = None) -> Source:
        """A file of a storage.

        Args:
            storage: The storage.
            key: Its key.
            info: What a listing says of it; None for a file that is not listed, which has no known state.
            uri: The name by which it is remembered; its URI unless there is another.
        """
        state = f"{info.size_bytes} {info.modified.isoformat()}" if info else ""
        return cls(uri or storage.uri(key), state, lambda path: storage.get_file(key, path))

    def marked(self, how: str) -> Source:
        """The same, of which something else is made."""
        return replace(self, state=f"{self.state}, {how}") if self.state else self


Convert = Callable[[Callable[[Path], None], Path], None]
"""From what brings a source to a path, and a path, to a file there."""


def as_is(get: Callable[[Path], None], target: Path) -> None:
    """Make nothing of a source but a copy."""
    get(target)


@dataclass(frozen=True, slots=True)
class FetchJob:
    """One file that is to be in the folder."""

    name: str
    file: str  # relative to the folder
    source: Source
    convert: Convert
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """What is remembered of it besides; it can be filled while the file is brought."""


@dataclass(slots=True)
class FetchFolder:
    """A folder that files are fetched into."""

    path: Path
    overwrite: bool
    receipts: dict[str, dict[str, Any]]
    missing: list[str] = field(default_factory=list[str])
    _own: set[str] = field(default_factory=set[str])  # what has been put there, or seen to be there, by this object
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def open(cls, path: Path, *, overwrite: bool) -> FetchFolder:
        """Read what earlier fetches put into a folder, which need not exist.

        Raises:
            UsageError: If a file of that name is there.
        """
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is not a folder")
        receipts: dict[str, dict[str, Any]] = {}
        try:
            lines = read_regular(path / _RECEIPTS, max_bytes=_MAX_RECEIPT_BYTES).decode().splitlines()
        except (ForeignFileError, IsADirectoryError) as error:
            raise UsageError(
                f"{path / _RECEIPTS} was not written by an earlier fetch: {error}",
                hint="Remove it, or choose another folder.",
            ) from None
        except (OSError, UnicodeDecodeError):
            lines = []
        for line in lines:
            try:
                receipt = json.loads(line)
                receipts[str(receipt["file"])] = receipt
            except (ValueError, TypeError, LookupError, RecursionError):
                continue  # cut when an earlier fetch was killed: the file is fetched again
        return cls(path, overwrite, receipts)

    def fetch(self, jobs: Iterable[FetchJob], progress: ProgressOfFetch | None) -> list[FetchedFile]:
        """Bring files to their places; those that are there in the same state are passed over.

        When it is called again, it replaces what it has brought itself, whatever `overwrite` says.
        """
        all_jobs = list(jobs)
        self.missing.clear()
        there = {job.file for job in all_jobs if self._is_there(job)}
        todo = [job for job in all_jobs if job.file not in there]
        taken = [job for job in todo if job.file not in self._own and os.path.lexists(self.path / job.file)]
        if not self.overwrite and not all(self._is_same(job) for job in taken):
            files = ", ".join(job.file for job in taken[:5]) + (f" and {len(taken) - 5:,} more" if taken[5:] else "")
            raise UsageError(
                f"{self.path} already has {files}, from elsewhere or changed since",
                hint="Choose another folder, or give --overwrite.",
            )
        done = len(there)
        results: dict[str, FetchedFile] = {
            job.file: self._record(job, skipped=True) for job in all_jobs if job.file in there
        }
        try:
            parents = {(self.path / job.file).parent for job in todo} | {self.path}
            for parent in parents:
                self._make_folder(parent)
            with ThreadPoolExecutor(min(_THREADS, max(len(todo), 1)), thread_name_prefix="scythe-fetch") as pool:
                try:
                    for job, placed in zip(todo, pool.map(self._place, todo), strict=True):
                        done += 1
                        if placed is not None:
                            results[job.file] = placed
                        if progress:
                            progress(FetchProgress(done, len(all_jobs), job.file))
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
            if len(results) > len(there):
                with (self.path / _RECEIPTS).open("rb") as file:
                    sync_file(file.fileno())
                for parent in parents:
                    sync_names(parent)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror or error}") from error
        self._own.update(results)
        return [results[job.file] for job in all_jobs if job.file in results]

    def remembered(self, job: FetchJob, fact: str) -> Any:
        """What is known of a file that was fetched, now or before; None where nothing is."""
        return job.facts.get(fact) or self.receipts.get(job.file, {}).get(fact)

    def _make_folder(self, parent: Path) -> None:
        """Make a folder below this one; a link in its place could lead elsewhere."""
        make_folder(parent)
        if parent != self.path and not parent.resolve().is_relative_to(self.path.resolve()):
            raise UsageError(f"{parent} leads outside {self.path}", hint="Choose another folder.")

    def _is_there(self, job: FetchJob) -> bool:
        receipt = self.receipts.get(job.file)
        if receipt is None or not job.source.state:
            return False
        if (receipt.get("source"), receipt.get("state")) != (job.source.uri, job.source.state):
            return False
        try:
            there = (self.path / job.file).lstat()
        except OSError:
            return False
        return [there.st_size, there.st_mtime_ns] == receipt.get("placed")

    def _is_same(self, job: FetchJob) -> bool:
        """Whether a file that is there, and not noted as it is, is what would be brought."""
        target = self.path / job.file
        if not stat.S_ISREG(target.lstat().st_mode):
            return False
        try:
            with TemporaryDirectory(prefix=".scythe-", dir=self.path, ignore_cleanup_errors=True) as folder:
                brought = Path(folder) / target.name
                job.convert(job.source.get, brought)
                return filecmp.cmp(brought, target, shallow=False)
        except (MissingKeyError, OSError):
            return False  # it cannot be told here; what is there is not touched

    def _place(self, job: FetchJob) -> FetchedFile | None:
        """Bring one file to its place, whole or not at all; what is there by that name, a link too, is replaced."""
        target = self.path / job.file
        try:
            with placing(target, names_later=True) as unfinished:
                job.convert(job.source.get, unfinished)
                # before the file is there: a receipt without its file only means that it is fetched again
                self._write_receipt(job, unfinished)
        except MissingKeyError:
            with self._lock:
                self.missing.append(job.source.uri)
            return None
        return self._record(job, skipped=False)

    def _write_receipt(self, job: FetchJob, file: Path) -> None:
        made = file.lstat()
        receipt = {
            "file": job.file,
            "source": job.source.uri,
            "state": job.source.state,
            "placed": [made.st_size, made.st_mtime_ns],
            **job.facts,
        }
        # the new line comes first: what was cut when an earlier fetch was killed ends there
        line = "\n" + json.dumps(receipt)
        with self._lock:
            append_regular(self.path / _RECEIPTS, line)
            self.receipts[job.file] = receipt

    def _record(self, job: FetchJob, *, skipped: bool) -> FetchedFile:
        target = self.path / job.file
        return FetchedFile(name=job.name, path=str(target), size_bytes=target.stat().st_size, skipped=skipped)
