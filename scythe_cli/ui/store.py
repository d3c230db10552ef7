"""What the server has read: the list of runs, and the runs that a page looks at."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scythe_cli.analysis.run import Run
from scythe_cli.errors import NotFoundError, StorageError, UsageError, first_line
from scythe_cli.run.catalog import each_of, run_record
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.services.runs.listing import run_layouts
from scythe_cli.services.runs.watching import RunWatch, is_idle, is_over
from scythe_cli.storage.base import InvalidKeyError

if TYPE_CHECKING:
    from scythe_cli.analysis.cases.views import CaseViews
    from scythe_cli.run.records import RunRecord, RunStatus
    from scythe_cli.storage.base import Storage

__all__ = ["OpenOverlay", "OpenRun", "RunStore"]

_LOCAL_S, _REMOTE_S = 1.0, 8.0
"""How long a status is good: elsewhere, one is about six requests."""

_LISTED_S = 10.0
"""How long the list of another place is good; here it is read each time."""
_SETTLED_S = 60.0
_SETTLED = ("succeeded", "failed", "cancelled")
_MAX_OPEN = 2
_MAX_SHARE = 0.1
"""Of the time is spent with reading the cases of a run that goes on."""


@dataclass
class OpenRun:
    """A run that a page looks at.

    Attributes:
        run: The run.
        fresh_s: How long its status is good.
        lock: Held by who works with its cases.
        clock: Tells the time, in seconds.
    """

    run: Run
    fresh_s: float
    lock: Lock = field(default_factory=Lock)
    clock: Callable[[], float] = time.monotonic
    _watch: RunWatch = field(init=False)
    _status: tuple[float, RunStatus] | None = None
    _views: tuple[str, CaseViews] | None = None
    _read_at: float = 0.0
    _read_s: float = 0.0

    def __post_init__(self) -> None:
        self._watch = RunWatch(self.run)

    def status(self) -> RunStatus:
        """How far the run is, not older than `fresh_s`; call it with the lock.

        Raises:
            StorageError: If the run cannot be read.
        """
        now = self.clock()
        if self._status is None or now - self._status[0] >= self.fresh_s:
            status = self._watch.now()
            self.run = self._watch.run
            self._status = now, status
        return self._status[1]

    def is_live(self) -> bool:
        """Whether something may still happen; call it with the lock."""
        status = self.status()
        return not is_over(status) and not is_idle(status)

    def stamp(self) -> str:
        """What is another when the cases are others; call it with the lock."""
        status = self.status()
        counts = status.counts.model_dump_json() if status.counts else ""
        return f"{status.n_specs} {counts} {status.last_outcome_at} {status.gathered} {len(status.tables)}"

    def views(self) -> tuple[str, CaseViews]:
        """The cases, and the stamp that they have; those of a run that goes on may be somewhat old.

        Raises:
            StorageError: If the run cannot be read.
        """
        from scythe_cli.analysis.cases.frame import read_cases
        from scythe_cli.analysis.cases.selecting import Selection
        from scythe_cli.analysis.cases.views import CaseViews

        stamp, now = self.stamp(), self.clock()
        is_due = now - self._read_at >= max(self.fresh_s, self._read_s / _MAX_SHARE)
        if self._views is None or (self._views[0] != stamp and is_due):
            try:
                self._views = stamp, CaseViews(Selection(read_cases(self.run)))
            except (pa.ArrowException, *POLARS_ERRORS) as error:
                raise StorageError(
                    f"{self.run.experiment_id} has a file that cannot be read: {first_line(error)}",
                    hint="`scythe doctor` checks the storage; other runs can be shown.",
                ) from error
            self._read_at = self.clock()
            self._read_s = self._read_at - now
        return self._views


@dataclass
class OpenOverlay:
    """Several runs that a page lays over each other.

    Attributes:
        members: The runs.
        lock: Held by who works with their cases.
        left_out: The columns that not all have alike, and why; known once there are views.
    """

    members: list[OpenRun]
    lock: Lock = field(default_factory=Lock)
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    _views: tuple[str, CaseViews] | None = None

    def is_live(self) -> bool:
        """Whether something may still happen to one of them; call it with the lock."""
        return any(member.is_live() for member in self.members)

    def stamp(self) -> str:
        """What is another when the cases are others; call it with the lock."""
        return "; ".join(member.stamp() for member in self.members)

    def views(self) -> tuple[str, CaseViews]:
        """The cases of all runs, and the stamp that they have.

        Raises:
            StorageError: If a run cannot be read.
            UsageError: If they are too many.
        """
        from scythe_cli.analysis.cases.overlay import overlay_cases
        from scythe_cli.analysis.cases.selecting import Selection
        from scythe_cli.analysis.cases.views import CaseViews

        several = [member.views() for member in self.members]
        stamp = "; ".join(each for each, _ in several)
        if self._views is None or self._views[0] != stamp:
            names = [member.run.experiment_id for member in self.members]
            cases = [views.selection.cases for _, views in several]
            overlay = overlay_cases(dict(zip(names, cases, strict=True)))
            self.left_out = overlay.left_out
            self._views = stamp, CaseViews(Selection(overlay.cases))
        return self._views


class RunStore:
    """The runs of a project, as far as a page has asked for them.

    Attributes:
        storage: Where they are kept.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._is_local = storage.local_path("any") is not None
        self._open: OrderedDict[str, OpenRun] = OrderedDict()
        self._listed: tuple[float, list[RunLayout]] | None = None
        self._records: dict[str, tuple[float, RunRecord]] = {}
        self._overlay: tuple[tuple[str, ...], OpenOverlay] | None = None
        self._lock = Lock()

    def open(self, experiment_id: str) -> OpenRun:
        """A run by its whole name.

        Raises:
            NotFoundError: If there is none.
        """
        with self._lock:
            opened = self._open.pop(experiment_id, None)
            if opened is None:
                opened = self._opened(experiment_id)
            self._open[experiment_id] = opened
            while len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
            return opened

    def _opened(self, experiment_id: str) -> OpenRun:
        layout = self._layout(experiment_id)
        return OpenRun(Run(self.storage, layout), _LOCAL_S if self._is_local else _REMOTE_S)

    def overlay(self, experiment_ids: Sequence[str]) -> OpenOverlay:
        """Several runs by their whole names; of one such choice everything is kept.

        Raises:
            NotFoundError: If one of them does not exist.
            UsageError: If these are too few, or too many.
        """
        from scythe_cli.analysis.cases.overlay import MAX_RUNS

        names = tuple(dict.fromkeys(experiment_ids))
        if not 2 <= len(names) <= MAX_RUNS:
            raise UsageError(f"from 2 to {MAX_RUNS} runs can be laid over each other, not {len(names)}")
        with self._lock:
            if self._overlay is None or self._overlay[0] != names:
                self._overlay = names, OpenOverlay([self._opened(name) for name in names])
            return self._overlay[1]

    def run(self, experiment_id: str) -> Run:
        """A run by its whole name, of which nothing is kept.

        Raises:
            NotFoundError: If there is none.
        """
        with self._lock:
            return Run(self.storage, self._layout(experiment_id))

    def _layout(self, experiment_id: str) -> RunLayout:
        layout = RunLayout.from_experiment_id(experiment_id)
        with suppress(InvalidKeyError):
            if (
                layout is not None
                and layout.experiment_id == experiment_id
                and (self.storage.exists(layout.manifest) or self.storage.list_files(layout.final))
            ):
                return layout
        raise NotFoundError(f"there is no run {experiment_id[:200]!r}")

    def listed(self, offset: int, limit: int, experiment: str | None, *, again: bool = False) -> dict[str, Any]:
        """Some of the runs, newest first, and how many there are; those that have ended are not asked about again.

        Args:
            offset: How many are left out at the front.
            limit: How many are described.
            experiment: Only the runs of this experiment.
            again: Whether to forget what is known.
        """
        now = time.monotonic()
        with self._lock:
            if again:
                self._listed = None
                self._records.clear()
            if self._listed is None or self._is_local or now - self._listed[0] > _LISTED_S:
                self._listed = now, run_layouts(self.storage)
            layouts = self._listed[1]
            names = sorted({layout.experiment for layout in layouts})
            chosen = [each for each in layouts if experiment is None or each.experiment == experiment]
            some = chosen[offset : offset + limit]
            unknown = [each for each in some if not self._is_known(each.experiment_id, now)]
            for record in each_of(self.storage, lambda each: run_record(self.storage, each), unknown):
                self._records[record.experiment_id] = now, record
            records = [self._records[each.experiment_id][1] for each in some]
        return {
            "location": self.storage.location,
            "experiments": names,
            "n": len(chosen),
            "runs": [record.model_dump(mode="json", exclude={"uri"}) for record in records],
        }

    def _is_known(self, experiment_id: str, now: float) -> bool:
        if experiment_id not in self._records:
            return False
        at, record = self._records[experiment_id]
        return now - at < (_SETTLED_S if record.state in _SETTLED else _LOCAL_S if self._is_local else _REMOTE_S)
