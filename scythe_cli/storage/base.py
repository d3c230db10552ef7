"""What a storage can do, whatever lies behind it, and what its keys look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from scythe_cli.errors import StorageError

__all__ = [
    "LISTS_LAG_S",
    "MAX_READ_BYTES",
    "FileInfo",
    "ForeignKeyError",
    "InvalidKeyError",
    "ManyAtOnce",
    "MissingKeyError",
    "Page",
    "RefusedError",
    "RemoteFile",
    "Storage",
    "StorageCheck",
    "TransferInterruptedError",
    "check_key",
    "check_prefix",
    "key_or_none",
]


_NOT_IN_KEYS = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")


LISTS_LAG_S = 60.0
"""How long it is waited until a storage lists what is known to have been written."""

MAX_READ_BYTES = 256_000_000
"""The most that is read of a file at once, unless more is asked for."""


class MissingKeyError(StorageError):
    """There is nothing under this key."""


class InvalidKeyError(StorageError, ValueError):
    """A key that could lead out of the storage, or that not every storage can hold."""


class ForeignKeyError(StorageError):
    """What lies under this key is none of the files that are kept here: a link, a pipe, a device, or far too large."""


class RefusedError(StorageError):
    """The place does not let this be done."""


class TransferInterruptedError(StorageError):
    """A download broke off, or did not begin; starting again can help."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file of a folder.

    Attributes:
        name: The name in its folder.
        size_bytes: Its size.
        modified: When it was written; with a time zone.
        version: What is another when the content is, such as an ETag; None where the place has nothing like it.
        age_s: How long ago that was by the clock of the server that keeps it, where it was asked for by its key; None
            where no server tells.
    """

    name: str
    size_bytes: int
    modified: datetime
    version: str | None = None
    age_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StorageCheck:
    """One thing that was tried out.

    Attributes:
        name: What was tried.
        ok: Whether it works.
        detail: What was seen; for a failure what is wrong, and what to do.
        remedy: What to do, where that is not what mostly helps.
    """

    name: str
    ok: bool
    detail: str
    remedy: str | None = None


class RemoteFile(Protocol):
    """A file that is being read, wherever it lies."""

    @property
    def version(self) -> str | None:
        """What the server says about its version, such as an ETag; None when it says nothing."""
        ...

    @property
    def size_bytes(self) -> int | None:
        """Its size; None when the server does not say."""
        ...

    def read(self) -> bytes:
        """The next chunk; empty at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """The beginning of a list of files.

    Attributes:
        files: Their names below the prefix, in order, each with its version; see `FileInfo`.
        is_last: Whether there are no more.
        folders: The names of the folders directly below; none in a flat list.
    """

    files: dict[str, str | None]
    is_last: bool
    folders: list[str]


@runtime_checkable
class ManyAtOnce(Protocol):
    """What a storage can do that answers many small questions together for less than one after another.

    None as an answer says nothing of what is there: then it is to be asked as a `Storage`, which has more patience.
    """

    def list_many(self, places: Sequence[tuple[str, str]], *, most: int, flat: bool = True) -> list[Page | None]:
        """The first files below some prefixes, in the order of their names.

        Args:
            places: Of each list the prefix, and after which name below it the list begins; "" for its first file.
            most: So many files at most; never more than a thousand.
            flat: Whether all files below are listed, and not only those directly below.
        """
        ...

    def read_many(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        """So many bytes from the beginning of files."""
        ...


class Storage(Protocol):
    """A place for files under keys, such as `energy/v1.0.0/2026-01-01_00-00-00/specs.pq`.

    A key is a relative POSIX path; a prefix is a key that names a folder, or "" for the whole storage. All methods can
    be called from several threads, and `open_storage(storage.location)` opens the same place in another process.

    Every method raises StorageError when the place cannot be used, and InvalidKeyError, before it touches anything,
    for a key that is absolute or climbs out.

    Nothing is read, written, renamed or removed through a symbolic link below the location; nobody waits for a named
    pipe that lies there, and files that are larger than what asks for them can use are refused: ForeignKeyError.
    """

    @property
    def location(self) -> str:
        """The absolute path of a folder, or `s3://bucket/prefix`."""
        ...

    def uri(self, key: str) -> str:
        """Where a key lies: an absolute path, or an S3 URL, in which only `%` is escaped."""
        ...

    def key_of(self, uri: str) -> str | None:
        """The key that a URI means; None when it lies elsewhere."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The file or folder itself, so that it can be read without a copy; None when it is not on this machine.

        ForeignKeyError when something else lies there.
        """
        ...

    def read_bytes(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """The content; MissingKeyError when there is none, ForeignKeyError when it is larger than the limit."""
        ...

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write or replace; a reader sees the old content or the new, never a part."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write only if there is nothing yet: of many callers at once exactly one gets True."""
        ...

    def put_file(self, local_path: Path, key: str, *, sha256: str | None = None) -> None:
        """Write or replace with the content of a local file, in one step for readers.

        Args:
            local_path: The file.
            key: Where to.
            sha256: The hash (hex) that what is sent must have; with another one nothing is written.
        """
        ...

    def take_file(self, local_path: Path, key: str) -> None:
        """The same as `put_file` with a file that nobody needs where it is: it may be gone afterwards."""
        ...

    def get_file(self, key: str, local_path: Path) -> None:
        """Copy to a local file, whole or not at all; MissingKeyError when there is none."""
        ...

    def open_remote(self, key: str) -> AbstractContextManager[RemoteFile]:
        """Read in chunks; MissingKeyError when there is none."""
        ...

    def list_folders(self, prefix: str) -> list[str]:
        """Sorted names of the folders in a folder; empty when it does not exist."""
        ...

    def list_files(self, prefix: str, *, starting: str = "") -> list[FileInfo]:
        """The files in a folder, sorted by name; empty when it does not exist.

        What this process has written or deleted is listed as it is. What others have written in the last seconds may be
        missing, and what they have deleted may still be there, where a server lists late.

        With `starting`, those whose names start like that, at the cost of these alone where the place can do so.
        """
        ...

    def list_tree(self, prefix: str) -> list[str]:
        """The sorted keys of all files in a folder and the folders below."""
        ...

    def list_others(self, prefix: str) -> list[str]:
        """The sorted names in a folder of what is neither a file nor a folder: links, pipes, devices."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is a file."""
        ...

    def size(self, key: str) -> int:
        """The size in bytes; MissingKeyError when there is none."""
        ...

    def info(self, key: str) -> FileInfo:
        """What is known of a file, by its key: a list may lag behind, this does not; MissingKeyError without one."""
        ...

    def delete(self, key: str) -> None:
        """Remove a file; nothing happens when there is none."""
        ...

    def is_listed(self, key: str) -> bool:
        """Whether lists of whoever asks have a file that was written: some servers are late with that."""
        ...

    def discard(self, key: str) -> None:
        """Remove a file that is of no more use: where a server refuses that, it stays, and `notices` tells so."""
        ...

    def rename(self, key: str, to: str) -> None:
        """Give a file another key, under which there is nothing yet; MissingKeyError when there is none."""
        ...

    def copy(self, key: str, to: str) -> None:
        """Write or replace with the content of another key, which stays as it is, in one step for readers.

        A server copies by itself: nothing passes through this machine. MissingKeyError when there is none.
        """
        ...

    def delete_unfinished(self, prefix: str) -> None:
        """Remove what processes that were killed have left of unfinished files in a folder and the folders below."""
        ...

    def delete_tree(self, prefix: str) -> None:
        """Remove a folder with all that is in it; the whole storage cannot be removed like that."""
        ...

    def notices(self) -> list[str]:
        """What is to be said to users of this place, by what this process has noticed, such as that clocks differ."""
        ...

    def check(self) -> list[StorageCheck]:
        """Try out what a run needs, up to the first thing that fails; leaves nothing behind."""
        ...


def check_key(key: str) -> str:
    """Return the key when it is one.

    Raises:
        InvalidKeyError: If it is empty, absolute, climbs with `..`, or holds empty parts, backslashes, control
            characters or what cannot be written as UTF-8.
    """
    if not key or any(part in {"", ".", ".."} for part in key.split("/")):
        raise InvalidKeyError(f"{key!r} is not a storage key: it must be a relative path without '.', '..' or '//'")
    if _NOT_IN_KEYS.search(key):
        raise InvalidKeyError(f"{key!r} is not a storage key: it holds a backslash or a control character")
    return key


def key_or_none(text: str) -> str | None:
    """The text when it is a key, else None."""
    try:
        return check_key(text)
    except InvalidKeyError:
        return None


def check_prefix(prefix: str) -> str:
    """Return the prefix when it is "" or a key.

    Raises:
        InvalidKeyError: If it is neither.
    """
    return check_key(prefix) if prefix else ""
