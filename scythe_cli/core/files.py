"""Files in folders that other people can write to: opened so that whatever lies there, nobody waits and nothing leaks.

A regular file is opened, and nothing else: a named pipe would wait for somebody to write to it, a device may have no
end. What is below a folder is reached one name after the other, and never through a symbolic link, so that it does not
matter who changes what in between. No more of a file is read than was asked for.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "ForeignFileError",
    "append_regular",
    "make_folder",
    "open_below",
    "open_folder",
    "open_regular",
    "read_all",
    "read_regular",
    "sync_file",
    "sync_folder",
    "sync_names",
]


# what a system does not have is not needed there
_CAREFULLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# to go through a folder, no right to list it is needed
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
# some network and user-space file systems cannot sync a folder, and say so
_NO_SYNC = {errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS}


class ForeignFileError(OSError):
    """What lies there is none of the files that a program puts there: a link, a pipe, a device, far too much."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return self.what


def open_regular(path: str | Path, *, dir_fd: int | None = None, follow: bool = False) -> BufferedReader:
    """Open a regular file for reading, without waiting.

    Args:
        path: The file.
        dir_fd: An open folder that a relative path is taken from.
        follow: Whether a link as the last part of the path is followed, as for a file that the user named.

    Raises:
        ForeignFileError: If it is a link, or no regular file.
        IsADirectoryError: If it is a folder.
        OSError: If the system refuses.
    """
    try:
        fd = os.open(path, _CAREFULLY | (0 if follow else _NO_LINK), dir_fd=dir_fd)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK} and not follow and _is_link(path, dir_fd):
            raise ForeignFileError("it is a link, and links are not followed here") from error
        if error.errno in {errno.ENXIO, errno.ENODEV}:  # a socket, or a device without a driver
            raise ForeignFileError("it is not a regular file") from error
        raise

    def opened(_path: str, _flags: int) -> int:
        return fd

    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise ForeignFileError("it is not a regular file")
        return open(path, "rb", opener=opened)
    except BaseException:
        os.close(fd)
        raise


def read_all(file: BinaryIO, max_bytes: int) -> bytes:
    """The content of an open file that must not be larger than a limit.

    Raises:
        ForeignFileError: If it is larger.
    """
    # a file of which nothing was ever written can be of any size
    size = os.fstat(file.fileno()).st_size
    data = b"" if size > max_bytes else file.read(max_bytes + 1)
    if size > max_bytes or len(data) > max_bytes:
        raise ForeignFileError(f"it has more than {max_bytes:,} bytes")
    return data


def read_regular(path: str | Path, *, max_bytes: int, follow: bool = False) -> bytes:
    """The content of a regular file that must not be larger than a limit.

    Raises:
        ForeignFileError: If it is larger, a link, or no regular file.
        OSError: If the system refuses.
    """
    with open_regular(path, follow=follow) as file:
        return read_all(file, max_bytes)


def append_regular(path: Path, text: str) -> None:
    """Add to a file, which is made when it is missing; never to one that has another name elsewhere.

    Raises:
        ForeignFileError: If it is a link, no regular file, or one that has several names.
        OSError: If the system refuses.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (_CAREFULLY & ~os.O_RDONLY) | _NO_LINK
    try:
        fd = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP or error.errno in {errno.ENXIO, errno.ENODEV}:  # a pipe that nobody reads
            raise ForeignFileError(f"{path.name} is not a regular file") from error
        raise
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise ForeignFileError(f"{path.name} is not a regular file of its own")
        file.write(text)


def open_folder(path: str | Path, *, dir_fd: int | None = None, follow: bool = True) -> int:
    """Open a folder, to reach what is in it; the caller closes the descriptor.

    Raises:
        ForeignFileError: If it is a link, and these are not followed.
        OSError: If the system refuses.
    """
    try:
        return os.open(path, _FOLDER | (0 if follow else _NO_LINK), dir_fd=dir_fd)
    except OSError as error:
        if not follow and _is_link(path, dir_fd):
            raise ForeignFileError(f"{path} is a link, and links are not followed here") from error
        raise


def sync_file(fd: int) -> None:
    """Wait until the content of an open file is on the disk.

    On macOS `fsync` leaves it in the cache of the drive, and F_FULLFSYNC does not: see fsync(2) there.

    Raises:
        OSError: If it cannot be written.
    """
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # not every file system has it
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
    os.fsync(fd)


def sync_folder(fd: int) -> None:
    """Wait until the names in an open folder are on the disk, as far as its file system can tell.

    POSIX does not say that a file whose content was written has its name on the disk too: see fsync(2) of Linux.

    Raises:
        OSError: If they cannot be written.
    """
    try:
        # the descriptor that leads through folders is for going through alone
        own = os.open(".", os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0), dir_fd=fd)
    except PermissionError:
        return  # it can be written to and not be read
    try:
        sync_file(own)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(own)


def sync_names(path: Path) -> None:
    """Wait until the names in a folder are on the disk; see `sync_folder`."""
    fd = open_folder(path)
    try:
        sync_folder(fd)
    finally:
        os.close(fd)


def make_folder(path: Path, synced: set[Path] | None = None) -> None:
    """Make a folder and those above it that are missing, and wait until their names are on the disk.

    Args:
        path: The folder.
        synced: See `open_below`; None to wait for the names of those alone that are made now.

    Raises:
        OSError: If the system refuses.
    """
    new = [each for each in (path, *path.parents) if not each.exists()]
    if new:
        path.mkdir(parents=True, exist_ok=True)
    elif synced is not None and path not in synced:
        new = [path]  # another process may have made it, and not come further
    for each in new:
        sync_names(each.parent)
    if synced is not None:
        synced.add(path)


@contextmanager
def open_below(
    root: Path, parts: Sequence[str], *, make: bool = False, synced: set[Path] | None = None
) -> Generator[int]:
    """Open a folder below another one, through no link.

    Args:
        root: A folder, which itself may be reached through links.
        parts: The names of the folders that lead to it.
        make: Whether folders that are missing are made.
        synced: The folders whose names are known to be on the disk, to which those are added that are put there now;
            None where that does not matter.

    Returns:
        A descriptor, for the time of the block.

    Raises:
        ForeignFileError: If a part is a link.
        OSError: If the system refuses.
    """
    if make and synced is None:
        root.mkdir(parents=True, exist_ok=True)
    elif make:
        make_folder(root, synced)
    fd = open_folder(root)
    path = root
    try:
        for part in parts:
            path /= part
            inner, is_new = _step(fd, part, make=make)
            try:
                # another process may have made it, and not come further
                if synced is not None and (is_new or path not in synced):
                    sync_folder(fd)
                    synced.add(path)
            finally:
                os.close(fd)
                fd = inner
        yield fd
    finally:
        os.close(fd)


def _step(fd: int, part: str, *, make: bool) -> tuple[int, bool]:
    """Open a folder in another one; tells whether it was made now."""
    try:
        return open_folder(part, dir_fd=fd, follow=False), False
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # somebody was faster
        os.mkdir(part, dir_fd=fd)
    return open_folder(part, dir_fd=fd, follow=False), True


def _is_link(path: str | Path, dir_fd: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    except OSError:
        return False
