"""Which parts a ledger has, also in a store that lists late what it has taken.

Who writes parts one after the other, with a number in each name, notes so in `outcomes/writers.json` before the first.
That file is asked for by its key, and so are the numbers that the list does not have: the answer to that never lags. A
folder of this machine needs neither. When the run has ended and its parts are listed, the note is removed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import FileInfo, ForeignKeyError, MissingKeyError, Storage

__all__ = ["forget_writers", "list_parts", "note_writer", "numbered"]


_SUFFIX = ".pq"
_MAX_WRITERS = 8
"""Only the last ones are kept: what those before them wrote has been listed for long."""

_GAP = 3
"""So many numbers without a part are the end: one that was damaged may have been set aside."""

_PREFIX = re.compile(r"[A-Za-z0-9-]{1,200}", re.ASCII)
_MAX_BYTES = 65_536


def numbered(prefix: str, number: int) -> str:
    """The name of a writer's part."""
    return f"{prefix}-{number:06d}"


def note_writer(storage: Storage, run: RunLayout, prefix: str) -> None:
    """Note that parts with such names are about to be written; only for who is alone at work on the run.

    Raises:
        StorageError: If it cannot be noted.
    """
    if storage.local_path(run.outcomes) is not None:
        return
    writers = [*_writers(storage, run), prefix][-_MAX_WRITERS:]
    storage.write_bytes(run.writers, json.dumps(writers).encode())


def forget_writers(storage: Storage, run: RunLayout, names: Sequence[str]) -> None:
    """Remove the note, once everybody is told of their parts by a list; only for a run that has ended.

    Args:
        storage: Where the run is kept.
        run: The run.
        names: The names of the files of all its parts.

    Raises:
        StorageError: If the storage cannot be read.
    """
    if storage.local_path(run.outcomes) is not None or not storage.exists(run.writers):
        return
    # what was written before the last one has been listed for longer
    lasts = (
        max((name for name in names if name.startswith(prefix)), default=None) for prefix in _writers(storage, run)
    )
    if all(storage.is_listed(run.key("outcomes", name)) for name in lasts if name is not None):
        storage.discard(run.writers)


def list_parts(storage: Storage, run: RunLayout) -> list[FileInfo]:
    """The parts of a run's ledger, sorted by name: those that are listed, and those that were noted.

    Raises:
        StorageError: If the storage cannot be read.
    """
    parts = {file.name: file for file in storage.list_files(run.outcomes) if file.name.endswith(_SUFFIX)}
    if storage.local_path(run.outcomes) is None:
        for prefix in _writers(storage, run):
            _add_noted(storage, run, prefix, parts)
    return [parts[name] for name in sorted(parts)]


def _add_noted(storage: Storage, run: RunLayout, prefix: str, parts: dict[str, FileInfo]) -> None:
    """Ask for the parts of one writer that are not listed: those between others, and what comes after the last."""
    ours = f"{prefix}-"
    listed = {number for name in parts if name.startswith(ours) and (number := _number(name[len(ours) :])) is not None}
    last = max(listed, default=0)
    number = n_missing = 0
    while n_missing < _GAP:
        number += 1
        info = None if number in listed else _info(storage, run.outcome_part(numbered(prefix, number)))
        if info is not None:
            parts[info.name] = info
        n_missing = n_missing + 1 if info is None and number > last else 0


def _number(rest: str) -> int | None:
    digits = rest.removesuffix(_SUFFIX)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) == 6 else None


def _info(storage: Storage, key: str) -> FileInfo | None:
    try:
        return storage.info(key)
    except MissingKeyError:
        return None


def _writers(storage: Storage, run: RunLayout) -> list[str]:
    """The writers that are noted; none where the note is not one that `note_writer` wrote."""
    with suppress(MissingKeyError, ForeignKeyError, ValueError, RecursionError):
        noted: Any = json.loads(storage.read_bytes(run.writers, max_bytes=_MAX_BYTES))
        if isinstance(noted, list):
            return [each for each in noted[-_MAX_WRITERS:] if isinstance(each, str) and _PREFIX.fullmatch(each)]  # pyright: ignore[reportUnknownVariableType]
    return []
