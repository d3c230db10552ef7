"""A storage in a local folder."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from scythe_cli.core.files import ForeignFileError, open_below, open_regular, read_all, sync_file, sync_folder
from scythe_cli.core.states import Durability
from scythe_cli.errors import StorageError
from scythe_cli.storage.atomic_files import (
    NO_LINKS,
    TEMP_PREFIX,
    atomic_file,
    atomic_file_in,
    create_in,
    storage_errors,
)
from scythe_cli.storage.base import (
    MAX_READ_BYTES,
    FileInfo,
    MissingKeyError,
    StorageCheck,
    check_key,
    check_prefix,
    key_or_none,
)
from scythe_cli.storage.checks import run_checks

__all__ = ["LocalStorage", "OpenLocalFile"]


_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class OpenLocalFile:
    """A local file that is being read."""

    file: BinaryIO
    name: str
    size_bytes: int | None
    version: str | None

    @classmethod
    def of(cls, file: BinaryIO, name: str) -> OpenLocalFile:
        """An open file, with its name for messages."""
        status = os.fstat(file.fileno())
        return cls(file, name, status.st_size, f"{status.st_mtime_ns}")

    def read(self) -> bytes:
        """The next chunk; empty at the end."""
        with storage_errors("read", self.name):
            return self.file.read(_CHUNK_BYTES)


@dataclass(frozen=True, slots=True)
class _Inside:
    """A name in an open folder of the storage, which was reached through no link."""

    folder: int
    name: str

    def open(self) -> BinaryIO:
        return open_regular(self.name, dir_fd=self.folder)

    def status(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """A storage in a folder, which is made on the first write.

    Each key is reached from the root, one open folder after the other, so that no link that somebody puts there, at
    whatever moment, leads elsewhere. The root itself may be reached through links.

    Attributes:
        root: The absolute path of the folder.
        durability: Whether what was written survives a loss of power, or only the death of processes.
    """

    root: Path
    durability: Durability = field(default="power", compare=False)
    _synced: set[Path] = field(default_factory=set[Path], init=False, repr=False, compare=False)

    @property
    def location(self) -> str:
        """The absolute path of the folder."""
        return str(self.root)

    def uri(self, key: str) -> str:
        """The absolute path of a key."""
        return str(self._path(key))

    def key_of(self, uri: str) -> str | None:
        """The key of an absolute path; None when it lies elsewhere."""
        root = self.location.rstrip("/") + "/"
        return key_or_none(uri.removeprefix(root)) if uri.startswith(root) else None

    def local_path(self, key: str) -> Path | None:
        """The file or folder of a key, whether it exists or not."""
        path = self._path(key)
        with storage_errors("read", path), suppress(FileNotFoundError, NotADirectoryError), self._inside(key) as inside:
            mode = os.stat(inside.name, dir_fd=inside.folder, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise ForeignFileError("it is a link" if stat.S_ISLNK(mode) else "it is not a regular file")
        return path

    def read_bytes(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """The content of a file."""
        with self._reading(self._path(key)), self._inside(key) as inside, inside.open() as file:
            return read_all(file, max_bytes)

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write or replace a file in one step."""
        with (
            self._writing(key) as inside,
            atomic_file_in(inside.folder, inside.name, syncs=self._syncs) as file,
        ):
            file.write(data)

    def create(self, key: str, data: bytes) -> bool:
        """Write a file only if there is none."""
        with self._writing(key) as inside:
            return create_in(inside.folder, inside.name, data, syncs=self._syncs)

    def put_file(self, local_path: Path, key: str, *, sha256: str | None = None) -> None:
        """Copy a local file here in one step; nobody may read the copy who may not read the file."""
        with storage_errors("read", local_path), open_regular(local_path, follow=True) as source:
            self._put(source, key, sha256)

    def take_file(self, local_path: Path, key: str) -> None:
        """Move a local file here in one step; from another file system it is copied."""
        with (
            storage_errors("read", local_path),
            open_regular(local_path) as file,
            self._writing(key) as inside,
        ):
            if self._syncs:
                sync_file(file.fileno())
            try:
                os.replace(local_path, inside.name, dst_dir_fd=inside.folder)
                if self._syncs:
                    sync_folder(inside.folder)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        self.put_file(local_path, key)

    def get_file(self, key: str, local_path: Path) -> None:
        """Copy a file to elsewhere on this machine in one step."""
        with (
            self._reading(self._path(key)),
            self._inside(key) as inside,
            inside.open() as source,
            storage_errors("write", local_path),
            atomic_file(local_path) as file,
        ):
            shutil.copyfileobj(source, file, _CHUNK_BYTES)

    @contextmanager
    def open_remote(self, key: str) -> Generator[OpenLocalFile, None, None]:
        """Read a file in chunks."""
        with self._reading(self._path(key)), self._inside(key) as inside:
            file = inside.open()
        # what the caller's own block raises is not about this file
        with file:
            yield OpenLocalFile.of(file, self.uri(key))

    def list_folders(self, prefix: str) -> list[str]:
        """Names of the folders in a folder; links to folders are somebody else's."""
        return [name for name, status in self._entries(prefix) if stat.S_ISDIR(status.st_mode)]

    def list_files(self, prefix: str, *, starting: str = "") -> list[FileInfo]:
        """The files in a folder."""
        return [
            FileInfo(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
            for name, status in self._entries(prefix, starting)
            if stat.S_ISREG(status.st_mode)
        ]

    def list_others(self, prefix: str) -> list[str]:
        """The names of what is neither a file nor a folder."""
        return [
            name
            for name, status in self._entries(prefix)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)
        ]

    def list_tree(self, prefix: str) -> list[str]:
        """The keys of all files in a folder and below."""
        keys: list[str] = []
        folders = [check_prefix(prefix)]
        while folders:
            folder = folders.pop()
            for name, status in self._entries(folder):
                key = f"{folder}/{name}" if folder else name
                if stat.S_ISDIR(status.st_mode):
                    folders.append(key)
                elif stat.S_ISREG(status.st_mode):
                    keys.append(key)
        return sorted(keys)

    def exists(self, key: str) -> bool:
        """Whether there is a file."""
        try:
            return stat.S_ISREG(self._status(key).st_mode)
        except MissingKeyError:
            return False

    def size(self, key: str) -> int:
        """The size of a file."""
        return self.info(key).size_bytes

    def info(self, key: str) -> FileInfo:
        """What is known of a file."""
        status = self._status(key)
        if not stat.S_ISREG(status.st_mode):
            raise MissingKeyError(f"cannot read {self._path(key)}: it does not exist")
        return FileInfo(key.rpartition("/")[2], status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def delete(self, key: str) -> None:
        """Remove a file."""
        path = self._path(key)
        with storage_errors("delete", path):
            try:
                with self._inside(key) as inside:
                    if not stat.S_ISDIR(inside.status().st_mode):
                        os.unlink(inside.name, dir_fd=inside.folder)
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()

    def is_listed(self, key: str) -> bool:
        """Folders of this machine are never late."""
        return self.exists(key)

    def discard(self, key: str) -> None:
        """Remove a file."""
        self.delete(key)

    def rename(self, key: str, to: str) -> None:
        """Give a file another key."""
        self._status(key)  # what is not there is said so
        with self._reading(self._path(key)), self._inside(key) as inside, self._writing(to) as target:
            try:
                # exclusively: what has appeared there meanwhile keeps its name
                os.link(
                    inside.name, target.name, src_dir_fd=inside.folder, dst_dir_fd=target.folder, follow_symlinks=False
                )
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                os.rename(inside.name, target.name, src_dir_fd=inside.folder, dst_dir_fd=target.folder)
            else:
                os.unlink(inside.name, dir_fd=inside.folder)
            if self._syncs:
                sync_folder(target.folder)

    def copy(self, key: str, to: str) -> None:
        """Copy a file to another key in one step."""
        with self._reading(self._path(key)), self._inside(key) as inside, inside.open() as source:
            self._put(source, to)

    def delete_unfinished(self, prefix: str) -> None:
        """Remove unfinished files in a folder and below."""
        with storage_errors("delete", self.root / check_prefix(prefix)):
            try:
                with open_below(self.root, prefix.split("/")) as folder:
                    for *_, names, inner in os.fwalk(dir_fd=folder, follow_symlinks=False):
                        for name in names:
                            if name.startswith(TEMP_PREFIX):
                                with suppress(OSError):  # a process that is about to die may remove its own
                                    os.unlink(name, dir_fd=inner)
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()

    def delete_tree(self, prefix: str) -> None:
        """Remove a folder; of a link, the link alone."""
        path = self._path(prefix)
        with storage_errors("delete", path):
            try:
                with self._inside(prefix) as inside:
                    mode = inside.status().st_mode
                    if stat.S_ISDIR(mode):
                        shutil.rmtree(inside.name, dir_fd=inside.folder)
                    elif stat.S_ISLNK(mode):
                        os.unlink(inside.name, dir_fd=inside.folder)
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()

    def notices(self) -> list[str]:
        """Nothing."""
        return []

    def check(self) -> list[StorageCheck]:
        """Try out what a run needs."""
        made = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        checks = run_checks(self)
        for folder in made:
            try:
                folder.rmdir()
            except OSError:
                break  # somebody uses it already, or it could not be made at all
        return checks

    @property
    def _syncs(self) -> bool:
        return self.durability == "power"

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _check_root(self) -> None:
        """Refuse a root that is a file."""
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    @contextmanager
    def _inside(self, key: str, *, make: bool = False) -> Generator[_Inside, None, None]:
        *folders, name = check_key(key).split("/")
        with open_below(self.root, folders, make=make, synced=self._synced if make and self._syncs else None) as folder:
            yield _Inside(folder, name)

    @contextmanager
    def _writing(self, key: str) -> Generator[_Inside, None, None]:
        with storage_errors("write", self._path(key)), self._inside(key, make=True) as inside:
            yield inside

    def _put(self, source: BinaryIO, key: str, sha256: str | None = None) -> None:
        digest = hashlib.sha256()
        with (
            self._writing(key) as inside,
            atomic_file_in(inside.folder, inside.name, syncs=self._syncs) as file,
        ):
            _narrow(file, source)
            while chunk := source.read(_CHUNK_BYTES):
                if sha256 is not None:
                    digest.update(chunk)
                file.write(chunk)
            if sha256 is not None and digest.hexdigest() != sha256:
                raise StorageError(f"{source.name} changed while it was copied", hint="Run the command again.")

    def _status(self, key: str) -> os.stat_result:
        with self._reading(self._path(key)), self._inside(key) as inside:
            return inside.status()

    def _entries(self, prefix: str, starting: str = "") -> list[tuple[str, os.stat_result]]:
        """What is in a folder, sorted, with what each is."""
        path = self.root / check_prefix(prefix)
        with storage_errors("list", path):
            try:
                with open_below(self.root, prefix.split("/") if prefix else []) as folder:
                    return _listed(folder, starting)
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()
                return []

    @contextmanager
    def _reading(self, path: Path) -> Generator[None, None, None]:
        with storage_errors("read", path):
            try:
                yield
            except OSError as error:
                if not isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
                    raise
                self._check_root()
                raise MissingKeyError(f"cannot read {path}: it does not exist") from error


def _listed(folder: int, starting: str) -> list[tuple[str, os.stat_result]]:
    found: list[tuple[str, os.stat_result]] = []
    fd = os.open(".", os.O_RDONLY, dir_fd=folder)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.name.startswith(starting) and not entry.name.startswith(TEMP_PREFIX):
                    with suppress(FileNotFoundError):  # removed since it was listed
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
    finally:
        os.close(fd)
    return sorted(found, key=lambda each: each[0])


def _narrow(copy: BinaryIO, source: BinaryIO) -> None:
    """Take from a copy the rights that its source does not give; the owner may always read and write it."""
    mode = stat.S_IMODE(os.fstat(copy.fileno()).st_mode)
    allowed = mode & (os.fstat(source.fileno()).st_mode | 0o600)
    if allowed != mode:
        os.fchmod(copy.fileno(), allowed)
