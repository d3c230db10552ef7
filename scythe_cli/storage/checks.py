"""Trying out a storage, for `scythe doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

from scythe_cli.errors import StorageError
from scythe_cli.storage.base import RefusedError, StorageCheck

if TYPE_CHECKING:
    from scythe_cli.storage.base import Storage


__all__ = ["run_checks"]


_DATA = b"scythe doctor\n"


def run_checks(storage: Storage) -> list[StorageCheck]:
    """Write, read, create exclusively, list and delete, up to the first thing that fails.

    What follows a failure would fail for the same reason, and each failure of an unreachable server takes seconds.
    """
    folder = f".scythe-check-{uuid4().hex[:16]}"
    checks: list[StorageCheck] = []
    ended = False
    try:
        for name, step in _steps(storage, folder):
            try:
                detail = step()
            except StorageError as error:
                cleaned = not checks or _clean(storage, folder)
                left = "" if cleaned else f"\nThe files of this check stay there: {storage.uri(folder)}"
                is_refused = name == "delete" and isinstance(error, RefusedError)
                told = error.message if is_refused else str(error)
                checks.append(StorageCheck(name, False, f"{told}{left}", error.hint if is_refused else None))
                break
            checks.append(StorageCheck(name, ok=True, detail=detail))
        ended = True
    finally:
        if not ended:
            _clean(storage, folder)  # it was interrupted
    return checks


def _steps(storage: Storage, folder: str) -> Iterator[tuple[str, Callable[[], str]]]:
    written, created = f"{folder}/written", f"{folder}/created"

    def write() -> str:
        storage.write_bytes(written, _DATA)
        return "; ".join([f"wrote to {storage.location}", *storage.notices()])

    def read() -> str:
        if storage.read_bytes(written) != _DATA:
            raise StorageError(f"{storage.location} returned something other than what was written")
        return "read back what was written"

    def create() -> str:
        if not storage.create(created, _DATA):
            raise StorageError(f"{storage.location} says that a new file exists already")
        if storage.create(created, b""):
            raise StorageError(
                f"{storage.location} does not create exclusively, so two allocations could share a folder",
                hint="Use an S3 server that honours If-None-Match, or a local folder.",
            )
        return "a second creation was refused"

    def listing() -> str:
        names = [file.name for file in storage.list_files(folder)]
        if names != ["created", "written"]:
            raise StorageError(f"{storage.location} does not list what was just written")
        return "listed what was written"

    def delete() -> str:
        try:
            storage.delete(written)
            storage.delete_tree(folder)
        except RefusedError as error:
            hint = f"{error.hint} Runs work all the same; old ones cannot be pruned, nor damaged parts be removed."
            raise RefusedError(error.message, hint=hint) from error
        if storage.list_tree(folder):
            raise StorageError(f"{storage.location} lists files that were deleted")
        return "deleted all of it"

    yield "write", write
    yield "read", read
    yield "exclusive create", create
    yield "list", listing
    yield "delete", delete


def _clean(storage: Storage, folder: str) -> bool:
    """Remove what was written; whether that was possible."""
    try:
        storage.delete_tree(folder)
    except StorageError:
        return False  # the failure that is reported says why
    return True
