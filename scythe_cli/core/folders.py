"""Folders outside a run: temporary ones, whose names tell whose they are, and that of a user's caches.

Those of a killed process can be told and removed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from scythe_cli.core.processes import is_alive, machine, start_of

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["Remover", "cache_folder", "folders_of", "owned_prefix", "remove_folder"]


_NAME = re.compile(r"scythe-[a-z]+-([0-9a-f]{8})-(\d{1,10})-(\d{1,15})-.+", re.ASCII)
_swept_by = 0


def owned_prefix(what: str) -> str:
    """The prefix to give to `TemporaryDirectory` or `mkdtemp`, in the system's folder for temporary files.

    Args:
        what: What is in it, a word of small letters.
    """
    global _swept_by
    if _swept_by != os.getpid():
        _swept_by = os.getpid()
        _sweep()
    return f"scythe-{what}-{_space()}-{_identity(os.getpid())}-"


def remove_folder(path: Path) -> None:
    """Remove a folder, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)


class Remover:
    """Removes folders beside the work: to remove one takes as long as to start a process."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def remove(self, path: Path) -> None:
        """Remove a folder soon."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # on use: most runs remove none

            self._pool = ThreadPoolExecutor(1, thread_name_prefix="scythe-remove")
        self._pool.submit(remove_folder, path)

    def close(self) -> None:
        """Wait until all are removed."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def folders_of(what: str, pid: int, start: float) -> list[Path]:
    """The folders that another process of this user and this machine has made under `owned_prefix`.

    Args:
        what: What is in them.
        pid: The process.
        start: When it began, as `processes.start_of` tells it.
    """
    prefix = f"scythe-{what}-{_space()}-{pid}-{round(start * 100)}-"
    try:
        with os.scandir(tempfile.gettempdir()) as entries:
            return [Path(entry.path) for entry in entries if entry.name.startswith(prefix) and _is_ours(entry)]
    except OSError:
        return []


@cache
def _identity(pid: int) -> str:
    return f"{pid}-{round((start_of(pid) or 0.0) * 100)}"


@cache
def _space() -> str:
    return blake2b(machine().encode(), digest_size=4).hexdigest()


def _sweep() -> None:
    """Remove what processes of this user have left that were killed."""
    try:
        with os.scandir(tempfile.gettempdir()) as entries:
            abandoned = [entry.path for entry in entries if _is_abandoned(entry)]
    except OSError:
        return
    for path in abandoned:
        shutil.rmtree(path, ignore_errors=True)  # another process may be removing it as well


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    match = _NAME.fullmatch(entry.name)
    if match is None or match[1] != _space() or is_alive(int(match[2]), int(match[3]) / 100):
        return False
    return _is_ours(entry)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    # anybody can make a link in this folder, but no folder that belongs to us
    return stat.S_ISDIR(status.st_mode) and (not hasattr(os, "geteuid") or status.st_uid == os.geteuid())


def cache_folder() -> Path:
    """`SCYTHE_CACHE_DIR`, else what is usual on the system; made when something is put there."""
    named = os.environ.get("SCYTHE_CACHE_DIR", "").strip()
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("scythe-experiments")
