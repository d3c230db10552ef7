"""Writing a local file whole or not at all, and the StorageError for what the system refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from scythe_cli.core.files import ForeignFileError, make_folder, open_folder, sync_file, sync_folder
from scythe_cli.errors import StorageError
from scythe_cli.storage.base import ForeignKeyError

__all__ = ["NO_LINKS", "TEMP_PREFIX", "atomic_file", "atomic_file_in", "create_in", "storage_errors", "temp_file"]


TEMP_PREFIX = ".scythe-tmp-"
"""How the names of unfinished files begin; listings leave them out."""

NO_LINKS = {
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EXDEV,
    errno.EINVAL,
}
"""How file systems say that they have no hard links."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST}
_ELSEWHERE = "choose another place with --storage, SCYTHE_STORAGE_URI or `storage` in experiments.toml."


def _explain(error: OSError) -> tuple[str, str | None]:
    """What is wrong, and what to do."""
    if error.errno in _FULL:
        return "no space is left on the device", f"Free some space, or {_ELSEWHERE}"
    if error.errno == errno.EROFS:
        return "the file system is read-only", _ELSEWHERE.capitalize()
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "permission denied", f"Change the permissions, or {_ELSEWHERE}"
    if error.errno in _NOT_A_FOLDER:
        return "a part of the path is a file and not a directory", _ELSEWHERE.capitalize()
    return error.strerror or type(error).__name__, None


@contextmanager
def storage_errors(action: str, place: str | Path) -> Generator[None, None, None]:
    """Turn errors of the operating system into StorageError: `cannot <action> <place>: <reason>`."""
    try:
        yield
    except ForeignFileError as error:
        raise ForeignKeyError(
            f"cannot {action} {place}: {error.what}", hint="Someone else put it there. Inspect it, and remove it."
        ) from error
    except OSError as error:
        reason, hint = _explain(error)
        raise StorageError(f"cannot {action} {place}: {reason}", hint=hint) from error


@contextmanager
def temp_file(folder: int) -> Generator[tuple[BinaryIO, str], None, None]:
    """An unfinished file and its name, in an open folder; the file is gone afterwards.

    To flush and sync it is for the caller: see `atomic_file_in`.
    """
    # short, so that the name fits wherever the final one does
    name = f"{TEMP_PREFIX}{uuid4().hex[:16]}"
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666, dir_fd=folder)
        with os.fdopen(fd, "wb") as file:
            yield file, name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


@contextmanager
def atomic_file_in(
    folder: int, name: str, *, mode: int | None = None, syncs: bool = True
) -> Generator[BinaryIO, None, None]:
    """A file to write to, which takes its name in an open folder only when the block ends well.

    Args:
        folder: The open folder.
        name: The final name; a file, or a link, that is there is replaced.
        mode: Permissions; those of a new file unless given.
        syncs: Whether content and name are on the disk then.
    """
    with temp_file(folder) as (file, temp):
        yield file
        file.flush()
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        if syncs:
            sync_file(file.fileno())
        os.replace(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        if syncs:
            sync_folder(folder)


def create_in(folder: int, name: str, data: bytes, *, syncs: bool = True) -> bool:
    """Write a file in an open folder only if there is none of that name; tells whether it was written.

    Args:
        folder: The open folder.
        name: The name.
        data: The content.
        syncs: Whether content and name are on the disk then.
    """
    with temp_file(folder) as (file, temp):
        file.write(data)
        file.flush()
        if syncs:
            sync_file(file.fileno())
        try:
            # a link, unlike a rename, fails when the name is taken, and what appears is complete
            os.link(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if not _create_without_link(folder, name, data, syncs=syncs):
                return False
    if syncs:
        sync_folder(folder)
    return True


def _create_without_link(folder: int, name: str, data: bytes, *, syncs: bool) -> bool:
    """Create exclusively where there are no hard links; a reader may see the file before it is complete."""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
    except FileExistsError:
        return False
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if syncs:
                sync_file(file.fileno())
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise
    return True


@contextmanager
def atomic_file(target: Path, *, mode: int | None = None) -> Generator[BinaryIO, None, None]:
    """The same for a path, whose folder is made when it is missing."""
    make_folder(target.parent)
    folder = open_folder(target.parent)
    try:
        with atomic_file_in(folder, target.name, mode=mode) as file:
            yield file
    finally:
        os.close(folder)
