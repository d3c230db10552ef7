"""A storage in a local folder."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from scythe_cli.errors import StorageError
from scythe_cli.storage.atomic_files import (
    TEMP_PREFIX,
    atomic_file,
    storage_errors,
    temp_file,
)
from scythe_cli.storage.base import (
    FileInfo,
    MissingKeyError,
    StorageCheck,
    check_key,
    check_prefix,
)
from scythe_cli.storage.checks import run_checks

__all__ = ["LocalStorage", "OpenLocalFile"]


_CHUNK_BYTES = 1 << 20
# file systems that have no hard links say so in different ways
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class OpenLocalFile:
    """A local file that is being read."""

    file: BinaryIO
    size_bytes: int | None
    version: str | None

    def read(self) -> bytes:
        """The next chunk; empty at the end."""
        with storage_errors("read", self.file.name):
            return self.file.read(_CHUNK_BYTES)


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """A storage in a folder, which is made on the first write.

    Attributes:
        root: The absolute path of the folder.
    """

    root: Path

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
        if not uri.startswith(root):
            return None
        try:
            return check_key(uri.removeprefix(root))
        except StorageError:
            return None

    def local_path(self, key: str) -> Path | None:
        """The file of a key, whether it exists or not."""
        return self._path(key)

    def read_bytes(self, key: str) -> bytes:
        """The content of a file."""
        path = self._path(key)
        with self._reading(path):
            return path.read_bytes()

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write or replace a file in one step."""
        path = self._path(key)
        with storage_errors("write", path), atomic_file(path) as file:
            file.write(data)

    def create(self, key: str, data: bytes) -> bool:
        """Write a file only if there is none."""
        path = self._path(key)
        with storage_errors("write", path), temp_file(path.parent) as (file, temp):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            try:
                # a link, unlike a rename, fails when the name is taken, and what appears is complete
                os.link(temp, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return _create_without_link(path, data)
        return True

    def put_file(self, local_path: Path, key: str, *, sha256: str | None = None) -> None:
        """Copy a local file here in one step."""
        path = self._path(key)
        digest = hashlib.sha256()
        with (
            storage_errors("read", local_path),
            local_path.open("rb") as source,
            storage_errors("write", path),
            atomic_file(path) as file,
        ):
            while chunk := source.read(_CHUNK_BYTES):
                if sha256 is not None:
                    digest.update(chunk)
                file.write(chunk)
            if sha256 is not None and digest.hexdigest() != sha256:
                raise StorageError(f"{local_path} changed while it was copied", hint="Run the command again.")

    def take_file(self, local_path: Path, key: str) -> None:
        """Move a local file here in one step; from another file system it is copied."""
        path = self._path(key)
        with storage_errors("read", local_path), local_path.open("rb") as file, storage_errors("write", path):
            os.fsync(file.fileno())
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                local_path.replace(path)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        self.put_file(local_path, key)

    def get_file(self, key: str, local_path: Path) -> None:
        """Copy a file to elsewhere on this machine in one step."""
        path = self._path(key)
        with (
            self._reading(path),
            path.open("rb") as source,
            storage_errors("write", local_path),
            atomic_file(local_path) as file,
        ):
            shutil.copyfileobj(source, file, _CHUNK_BYTES)

    @contextmanager
    def open_remote(self, key: str) -> Generator[OpenLocalFile, None, None]:
        """Read a file in chunks."""
        path = self._path(key)
        with self._reading(path):
            file = path.open("rb")
        # what the caller's own block raises is not about this file
        with file:
            stat = os.fstat(file.fileno())
            yield OpenLocalFile(file, stat.st_size, f"{stat.st_mtime_ns}")

    def list_folders(self, prefix: str) -> list[str]:
        """Names of the folders in a folder."""
        return sorted(entry.name for entry in self._entries(prefix) if _holds(entry.is_dir))

    def list_files(self, prefix: str, *, starting: str = "") -> list[FileInfo]:
        """The files in a folder."""
        files: list[FileInfo] = []
        for entry in self._entries(prefix):
            try:
                if entry.name.startswith(starting) and entry.is_file():
                    stat = entry.stat()
                    files.append(FileInfo(entry.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)))
            except OSError:
                continue  # removed since it was listed, or a link that leads to nothing
        return sorted(files, key=lambda file: file.name)

    def list_tree(self, prefix: str) -> list[str]:
        """The keys of all files in a folder and below."""
        prefix = check_prefix(prefix)
        keys: list[str] = []
        folders = [prefix]
        while folders:
            folder = folders.pop()
            for entry in self._entries(folder):
                key = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(key)
                elif _holds(entry.is_file):
                    keys.append(key)
        return sorted(keys)

    def exists(self, key: str) -> bool:
        """Whether there is a file."""
        path = self._path(key)
        with storage_errors("read", path):
            try:
                path.stat()
            except OSError as error:
                if not _is_missing(error):
                    raise
                self._check_root()
                return False
            return path.is_file()

    def size(self, key: str) -> int:
        """The size of a file."""
        path = self._path(key)
        with self._reading(path):
            if path.is_dir():
                raise IsADirectoryError
            return path.stat().st_size

    def delete(self, key: str) -> None:
        """Remove a file."""
        path = self._path(key)
        with storage_errors("delete", path):
            try:
                if not path.is_dir() or path.is_symlink():
                    path.unlink(missing_ok=True)
            except NotADirectoryError:
                self._check_root()

    def delete_tree(self, prefix: str) -> None:
        """Remove a folder."""
        path = self._path(prefix)
        with storage_errors("delete", path):
            if path.is_symlink():
                path.unlink()
                return
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                if path.exists():
                    raise
            except NotADirectoryError:
                self._check_root()

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

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _check_root(self) -> None:
        """Refuse a root that is a file."""
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def _entries(self, prefix: str) -> list[os.DirEntry[str]]:
        folder = self.root / check_prefix(prefix)
        with storage_errors("list", folder):
            try:
                with os.scandir(folder) as entries:
                    return [entry for entry in entries if not entry.name.startswith(TEMP_PREFIX)]
            except OSError as error:
                if not _is_missing(error):
                    raise
                self._check_root()
                return []

    @contextmanager
    def _reading(self, path: Path) -> Generator[None, None, None]:
        with storage_errors("read", path):
            try:
                yield
            except OSError as error:
                if not _is_missing(error) and not isinstance(error, IsADirectoryError):
                    raise
                self._check_root()
                raise MissingKeyError(f"cannot read {path}: it does not exist") from error


def _is_missing(error: OSError) -> bool:
    """Whether there is nothing under a name, or nothing that it leads to: links can lead in circles."""
    return isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno == errno.ELOOP


def _holds(question: Callable[[], bool]) -> bool:
    """Ask an entry what it is; a link whose end cannot be seen is nothing."""
    try:
        return question()
    except OSError:
        return False


def _create_without_link(path: Path, data: bytes) -> bool:
    """Create exclusively where there are no hard links; a reader may see the file before it is complete."""
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return True
