"""A file that the user names, written whole or not at all, and never over another one unasked."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scythe_cli.core.files import sync_file, sync_names
from scythe_cli.errors import StorageError, UsageError

__all__ = ["check_target", "placing", "write_whole"]


def check_target(target: Path, *, overwrite: bool, expected: str | None = None) -> None:
    """Refuse a file that cannot be made, before the work is done.

    Args:
        target: The file.
        overwrite: Whether a file of that name is replaced.
        expected: What a file of that name would have to be to be replaced, such as `a report`, where there is such a
            rule.

    Raises:
        UsageError: If its folder does not exist, or something of that name is there already.
    """
    if not target.parent.is_dir():
        raise UsageError(f"{target}: there is no folder {target.parent}")
    if target.is_dir():
        raise UsageError(f"{target} is a folder")
    if os.path.lexists(target) and not overwrite:
        reason = f" and is not {expected}" if expected else ""
        raise UsageError(f"{target} already exists{reason}", hint="Choose another name, or give --overwrite.")


@contextmanager
def placing(target: Path, *, names_later: bool = False) -> Generator[Path]:
    """A path to write to; what is there at the end takes the target's place in one step, and nothing on an error.

    Args:
        target: The file, which is on the disk afterwards.
        names_later: Whether the caller waits for its name, once for many files: see `sync_names`.
    """
    with TemporaryDirectory(prefix=".scythe-", dir=target.parent, ignore_cleanup_errors=True) as folder:
        # a folder that is made for this, in which nobody can have put a link that leads elsewhere
        unfinished = Path(folder) / target.name
        yield unfinished
        with unfinished.open("rb") as file:
            sync_file(file.fileno())
        unfinished.replace(target)
    if not names_later:
        sync_names(target.parent)


def write_whole(target: Path, data: bytes) -> None:
    """Write a file; what is there by that name is replaced.

    Raises:
        StorageError: If it cannot be written.
    """
    try:
        with placing(target) as unfinished:
            unfinished.write_bytes(data)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
