"""Writing a local file whole or not at all, and the StorageError for what the system refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from scythe_cli.errors import StorageError

__all__ = ["TEMP_PREFIX", "atomic_file", "storage_errors", "temp_file"]


TEMP_PREFIX = ".scythe-tmp-"
"""How the names of unfinished files begin; listings leave them out."""

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
    except OSError as error:
        reason, hint = _explain(error)
        raise StorageError(f"cannot {action} {place}: {reason}", hint=hint) from error


@contextmanager
def temp_file(folder: Path) -> Generator[tuple[BinaryIO, Path], None, None]:
    """An unfinished file in a folder, which is made when it is missing; the file is gone afterwards.

    To flush and sync it is for the caller: see `atomic_file`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # short, so that the name fits wherever the final one does
    path = folder / f"{TEMP_PREFIX}{uuid4().hex[:16]}"
    try:
        with path.open("xb") as file:
            yield file, path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_file(target: Path, *, mode: int | None = None) -> Generator[BinaryIO, None, None]:
    """A file to write to, which takes its name only when the block ends well.

    Args:
        target: The final name; a file that is there is replaced.
        mode: Permissions; those of a new file unless given.
    """
    with temp_file(target.parent) as (file, path):
        yield file
        file.flush()
        os.fsync(file.fileno())
        if mode is not None:
            path.chmod(mode)
        path.replace(target)
