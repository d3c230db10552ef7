"""Following a run for all who look at it: one asks, and elsewhere it is asked at most one list a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from scythe_cli.analysis.run import Run
from scythe_cli.services.runs.watching import RunWatch, is_idle, is_over

if TYPE_CHECKING:
    from scythe_cli.run.layout import RunLayout
    from scythe_cli.run.records import RunStatus
    from scythe_cli.storage.base import FileInfo, Storage

__all__ = ["Follower"]

_FRESH_S = 1.0
"""How long a status is good at least."""
_LIST_S = 1.0
"""How long no list may be asked for after one, on the average; here lists cost nothing."""
_PAGE = 1_000
"""So many files come with one request of a list."""


class _Lists:
    """A storage whose lists are counted by requests, and remembered until the next look at the run.

    What asks how far a run is, and what reads its cases after that, would else list the same folders several times.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[tuple[str, str], list[FileInfo]] = {}
        self.n_requests = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def forget(self) -> None:
        """Begin a new look."""
        self._known = {}

    def list_files(self, prefix: str, *, starting: str = "") -> list[FileInfo]:
        """The files of a folder, as they were when this look began or later."""
        known = self._known
        if (prefix, starting) not in known:
            files = known[prefix, starting] = self._storage.list_files(prefix, starting=starting)
            self.n_requests += 1 + len(files) // _PAGE
        return known[prefix, starting]

    def list_folders(self, prefix: str) -> list[str]:
        """The folders of a folder."""
        folders = self._storage.list_folders(prefix)
        self.n_requests += 1 + len(folders) // _PAGE
        return folders

    def list_tree(self, prefix: str) -> list[str]:
        """All that is below a folder."""
        keys = self._storage.list_tree(prefix)
        self.n_requests += 1 + len(keys) // _PAGE
        return keys


@dataclass
class Follower:
    """Tells how far a run is, to as many as ask.

    Attributes:
        storage: Where the run is kept.
        layout: Its keys.
        clock: Tells the time, in seconds.
    """

    storage: Storage
    layout: RunLayout
    clock: Callable[[], float] = time.monotonic
    _lists: _Lists = field(init=False)
    _watch: RunWatch = field(init=False)
    _lock: Lock = field(default_factory=Lock)
    _status: RunStatus | None = None
    _due_at: float = 0.0
    _n_told: int = 0

    def __post_init__(self) -> None:
        self._lists = _Lists(self.storage)
        self._is_local = self.storage.local_path("any") is not None
        self._watch = RunWatch(Run(cast("Storage", self._lists), self.layout))

    @property
    def run(self) -> Run:
        """The run, as of the last look: its folders are listed once for each look."""
        return self._watch.run

    def status(self) -> RunStatus:
        """How far the run is, as fresh as it may be.

        Raises:
            StorageError: If the run cannot be read.
        """
        with self._lock:
            now = self.clock()
            if self._status is None or now >= self._due_at + self._owed_s():
                self._n_told = self._lists.n_requests
                self._lists.forget()
                # what goes wrong is told, and asked again after a while too
                self._due_at = now + _FRESH_S
                self._status = self._watch.now()
                self._due_at = self.clock() + _FRESH_S
            return self._status

    def _owed_s(self) -> float:
        """How much longer nothing is asked, for the lists since the last look; those of who read the cases as well."""
        return 0.0 if self._is_local else max(0.0, (self._lists.n_requests - self._n_told) * _LIST_S - _FRESH_S)

    def is_live(self) -> bool:
        """Whether something may still happen."""
        status = self.status()
        return not is_over(status) and not is_idle(status)
