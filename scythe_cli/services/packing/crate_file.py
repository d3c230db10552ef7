"""A packed run as a file: what is in it is checked before anything of it is used."""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

from scythe_cli.analysis.packing.archive import (
    CRATE_FORMAT,
    METADATA_NAME,
    PROJECT_FOLDER,
    README_NAME,
    RUNS_FOLDER,
    SUMS_NAME,
    ProgressOfFiles,
    read_sums,
)
from scythe_cli.core.files import open_regular
from scythe_cli.errors import MissingFileError, PackedRunError, StorageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import check_key

__all__ = ["CrateFile"]


_T = TypeVar("_T")

_CHUNK_BYTES = 1 << 20
_MAX_FILES = 10_000_000
_MAX_SUMS_BYTES = 2_000_000_000
_FREE_BYTES = 1_000_000_000
_MAX_RATIO = 100
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_ROOT_FILES = {README_NAME, METADATA_NAME, SUMS_NAME}
_NOT_CHECKED = {METADATA_NAME, SUMS_NAME}
# what the library raises at archives that are damaged in one way or another
_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class CrateFile:
    """An open packed run, whose names were checked; its contents are checked as they are read.

    Attributes:
        path: The file.
        run: The run that it holds.
        sums: The checksum of each file, by name.
    """

    path: Path
    run: RunLayout
    sums: dict[str, str]
    _zip: zipfile.ZipFile

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Generator[CrateFile]:
        """Open a packed run.

        Raises:
            MissingFileError: If there is no such file.
            PackedRunError: If it is no packed run, holds names that lead elsewhere, or is of a newer format.
        """
        with _opened(path) as source:
            archive = _reading(path, "the list of its files", lambda: zipfile.ZipFile(source))
            with archive:
                _check_entries(path, archive.infolist())
                sums = _read_sums(path, archive)
                _check_names(path, archive.namelist(), sums)
                yield cls(path, _run_of(path, sums), sums, archive)

    def check(self, progress: ProgressOfFiles | None = None) -> None:
        """Compare every file with its checksum.

        Raises:
            PackedRunError: If one differs, which is named.
        """
        names = [*_NOT_CHECKED, *self.sums]
        for number, name in enumerate(sorted(names), 1):
            if progress is not None:
                progress("checking", name, number, len(names))
            for _ in self.chunks(name):
                pass

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file; at its end it is known whether it was right.

        Raises:
            PackedRunError: If it is damaged.
        """
        digest, size = hashlib.sha256(), 0
        info = self._zip.getinfo(name)
        with _reading(self.path, name, lambda: self._zip.open(info)) as entry:
            while chunk := _reading(self.path, name, lambda: entry.read(_CHUNK_BYTES)):
                digest.update(chunk)
                size += len(chunk)
                yield chunk
        if size != info.file_size or (name not in _NOT_CHECKED and digest.hexdigest() != self.sums[name]):
            raise _damaged(self.path, name)

    def read(self, name: str) -> bytes:
        """A small file."""
        return b"".join(self.chunks(name))

    def extract(self, name: str, target: Path) -> None:
        """Write a file to a path where there is nothing yet; its folder is made.

        Raises:
            PackedRunError: If it is damaged.
            StorageError: If it cannot be written.
        """
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                for chunk in self.chunks(name):
                    file.write(chunk)
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error

    def names_below(self, folder: str) -> list[str]:
        """The names of the files in a folder."""
        return [name for name in self.sums if name.startswith(f"{folder}/")]

    @property
    def run_names(self) -> list[str]:
        """The names of the run's files."""
        return self.names_below(f"{RUNS_FOLDER}/{self.run.experiment_id}")


@contextmanager
def _opened(path: Path) -> Generator[BinaryIO]:
    try:
        file = open_regular(path, follow=True)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise PackedRunError(f"{path} cannot be read: {error.strerror or error}") from error
    with file:
        yield file


def _reading(path: Path, name: str, call: Callable[[], _T]) -> _T:
    """What a call of the library gives; whatever it raises says that the file is damaged."""
    try:
        return call()
    except _ERRORS as error:
        if name == "the list of its files":
            raise PackedRunError(f"{path} is no packed run, or it is damaged: {error}") from error
        raise _damaged(path, name) from error
    except OSError as error:
        raise PackedRunError(f"{path} cannot be read: {error.strerror or error}") from error


def _damaged(path: Path, name: str) -> PackedRunError:
    return PackedRunError(f"{path} is damaged: {name} is not what was packed", hint="Get the file once more.")


def _refused(path: Path, what: str) -> PackedRunError:
    return PackedRunError(f"{path} is no packed run: {what}")


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse what no packed run has: links, what leads elsewhere, and little that becomes very much.

    Raises:
        PackedRunError: If there is such a thing.
    """
    if len(entries) > _MAX_FILES:
        raise _refused(path, f"it holds {len(entries):,} files")
    seen: set[str] = set()
    packed = unpacked = 0
    for entry in entries:
        # the library has cut names at a NUL, and made `/` of other separators
        if entry.filename != entry.orig_filename:
            raise _refused(path, f"{entry.orig_filename!r} is no name of a file")
        mode = entry.external_attr >> 16
        if (mode and stat.S_IFMT(mode) not in {0, stat.S_IFREG}) or entry.is_dir():
            if entry.is_dir() and entry.file_size == 0 and stat.S_IFMT(mode) in {0, stat.S_IFDIR}:
                continue  # programs that pack it once more list folders
            raise _refused(path, f"{entry.filename!r} is a link, or no file")
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise _refused(path, f"{entry.filename!r} is encrypted, or compressed in an unknown way")
        if entry.filename in seen:
            raise _refused(path, f"{entry.filename!r} is in it twice")
        seen.add(entry.filename)
        packed += entry.compress_size
        unpacked += entry.file_size
    if unpacked > max(_FREE_BYTES, _MAX_RATIO * packed):
        raise PackedRunError(
            f"{path} is refused: its {packed:,} bytes would become {unpacked:,}",
            hint="If you trust it, unzip it yourself: the folder `runs` in it is a storage.",
        )


def _read_sums(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    if SUMS_NAME not in archive.namelist():
        raise _refused(path, f"it has no {SUMS_NAME}")
    if archive.getinfo(SUMS_NAME).file_size > _MAX_SUMS_BYTES:
        raise _refused(path, f"its {SUMS_NAME} is too large")
    try:
        form, sums = read_sums(_reading(path, SUMS_NAME, lambda: archive.read(SUMS_NAME)).decode())
    except ValueError as error:
        raise _refused(path, f"{SUMS_NAME}: {error}") from error
    if form > CRATE_FORMAT:
        raise PackedRunError(
            f"{path} is of format {form}; this version of scythe reads up to {CRATE_FORMAT}",
            hint="Install a newer version: `pip install --upgrade scythe-experiments`.",
        )
    return sums


def _check_names(path: Path, names: list[str], sums: dict[str, str]) -> None:
    """See that there is a checksum for each file and a file for each checksum, and that each is in its place."""
    there = {name for name in names if not name.endswith("/")}
    for name in sorted(there ^ {*sums, *_NOT_CHECKED}):
        what = "is not in it" if name not in there else f"has no checksum in {SUMS_NAME}"
        raise PackedRunError(f"{path} is damaged: {name} {what}", hint="Get the file once more.")
    for name in there:
        try:
            check_key(name)
        except StorageError:
            raise _refused(path, f"{name!r} leads elsewhere") from None
        if name not in _ROOT_FILES and not name.startswith((f"{PROJECT_FOLDER}/", f"{RUNS_FOLDER}/")):
            raise _refused(path, f"{name!r} does not belong to one")


def _run_of(path: Path, sums: dict[str, str]) -> RunLayout:
    """The run, by the places of its files; runs inside of it belong to it."""
    inside = [PurePosixPath(name) for name in sums if name.startswith(f"{RUNS_FOLDER}/")]
    manifests = sorted((len(name.parts), name) for name in inside if name.name == "manifest.yml")
    run = None
    if manifests:
        run = RunLayout.from_experiment_id(manifests[0][1].parent.as_posix().removeprefix(f"{RUNS_FOLDER}/"))
    if run is None:
        raise _refused(path, "it holds no run")
    outside = [name for name in inside if not name.as_posix().startswith(f"{RUNS_FOLDER}/{run.experiment_id}/")]
    if outside:
        raise _refused(path, f"'{outside[0]}' is of another run")
    return run
