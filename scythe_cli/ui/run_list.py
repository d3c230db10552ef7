"""The list of runs: read once as a whole, and from then on what is new."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from scythe_cli.errors import ScytheError
from scythe_cli.run.catalog import Seen
from scythe_cli.run.lists.records import KnownRecord, known_records
from scythe_cli.services.runs.listing import newer_layouts, run_layouts

if TYPE_CHECKING:
    from scythe_cli.run.layout import RunLayout
    from scythe_cli.run.records import RunRecord
    from scythe_cli.storage.base import Storage

__all__ = ["RunList"]

logger = logging.getLogger(__name__)

_NEWER_S, _WHOLE_S = 10.0, 300.0
"""After how long it is looked elsewhere for new runs, and for what else has changed; here it is looked each time."""
_LOCAL_S, _REMOTE_S = 1.0, 8.0
_SETTLED_S = 60.0
_SETTLED = ("succeeded", "failed", "cancelled")
"""Runs of which is not asked so often, as hardly anything more happens to them."""


@dataclass
class RunList:
    """Which runs there are, and how each is.

    Attributes:
        storage: Where they are kept.
        clock: Tells the time, in seconds.
    """

    storage: Storage
    clock: Callable[[], float] = time.monotonic
    _layouts: list[RunLayout] | None = None
    _looked_at: float = 0.0
    _whole_at: float = 0.0
    _records: dict[str, tuple[float, KnownRecord]] = field(default_factory=dict[str, tuple[float, KnownRecord]])
    _lock: Lock = field(default_factory=Lock)
    _looking: Thread | None = None

    def __post_init__(self) -> None:
        self._is_local = self.storage.local_path("any") is not None

    def listed(self, offset: int, limit: int, experiment: str | None, *, again: bool = False) -> dict[str, Any]:
        """Some of the runs, newest first, and how many there are.

        Args:
            offset: How many are left out at the front.
            limit: How many are described.
            experiment: Only the runs of this experiment.
            again: Whether to forget what is known.
        """
        with self._lock:
            if again:
                self._layouts = None
                self._records.clear()
            seen: dict[str, Seen] = {}
            layouts = self._known(seen)
            chosen = [each for each in layouts if experiment is None or each.experiment == experiment]
            records = self._described(chosen[offset : offset + limit], seen)
        return {
            "location": self.storage.location,
            "experiments": sorted({layout.experiment for layout in layouts}),
            "n": len(chosen),
            "runs": [record.model_dump(mode="json", exclude={"uri"}) for record in records],
        }

    def settle(self) -> None:
        """Wait until no thread looks for new runs."""
        looking = self._looking
        if looking is not None:
            looking.join()

    def _known(self, seen: dict[str, Seen]) -> list[RunLayout]:
        """The runs; elsewhere those that are known, while a thread looks for new ones.

        Args:
            seen: Gets what was seen in their folders along the way.
        """
        now = self.clock()
        if self._layouts is None or self._is_local:
            self._layouts = run_layouts(self.storage, seen=seen)
            self._looked_at = self._whole_at = self.clock()
        elif now - self._looked_at >= _NEWER_S and (self._looking is None or not self._looking.is_alive()):
            self._looked_at = now
            is_whole = now - self._whole_at >= _WHOLE_S
            self._looking = Thread(target=self._look, args=(self._layouts, is_whole), daemon=True)
            self._looking.start()
        return self._layouts

    def _look(self, before: list[RunLayout], is_whole: bool) -> None:
        try:
            found = run_layouts(self.storage) if is_whole else newer_layouts(self.storage, before)
        except ScytheError as error:
            logger.warning("%s", error.message)
            return
        with self._lock:
            if self._layouts is before:  # else somebody has asked for all of it meanwhile
                self._layouts = found
                self._whole_at = self.clock() if is_whole else self._whole_at

    def _described(self, layouts: list[RunLayout], seen: dict[str, Seen]) -> list[RunRecord]:
        now = self.clock()
        unknown = [each for each in layouts if not self._is_fresh(each.experiment_id, now)]
        before = {name: told for name, (_, told) in self._records.items()}
        for told in known_records(self.storage, unknown, before, seen):
            self._records[told.record.experiment_id] = now, told
        return [self._records[each.experiment_id][1].record for each in layouts]

    def _is_fresh(self, experiment_id: str, now: float) -> bool:
        if experiment_id not in self._records:
            return False
        at, told = self._records[experiment_id]
        fresh_s = _LOCAL_S if self._is_local else _REMOTE_S
        return now - at < (_SETTLED_S if told.record.state in _SETTLED else fresh_s)
