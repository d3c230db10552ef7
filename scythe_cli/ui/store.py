"""What the server has read: the runs that a page looks at."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scythe_cli.analysis.run import Run
from scythe_cli.core.text import visible
from scythe_cli.errors import NotFoundError, StorageError, UsageError, first_line
from scythe_cli.run.catalog import each_of
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.services.runs.varied import varied_inputs
from scythe_cli.storage.base import InvalidKeyError
from scythe_cli.ui.following import Follower
from scythe_cli.ui.run_list import RunList

if TYPE_CHECKING:
    from scythe_cli.analysis.cases.views import CaseViews
    from scythe_cli.run.records import RunStatus
    from scythe_cli.storage.base import Storage

__all__ = ["OpenOverlay", "OpenRun", "RunStore"]

_MAX_OPEN = 2
_MAX_FOLLOWED = 32
_MAX_SHARE = 0.1
"""Of the time is spent with reading the cases of a run that goes on."""


@dataclass
class OpenRun:
    """A run that a page looks at.

    Attributes:
        follower: Tells how far it is.
        lock: Held by who works with its cases.
    """

    follower: Follower
    lock: Lock = field(default_factory=Lock)
    _views: tuple[str, CaseViews] | None = None
    _sobol: tuple[str, list[dict[str, Any]] | None] | None = None
    _read_at: float = 0.0
    _read_s: float = 0.0

    @property
    def run(self) -> Run:
        """The run."""
        return self.follower.run

    def status(self) -> RunStatus:
        """How far the run is.

        Raises:
            StorageError: If the run cannot be read.
        """
        return self.follower.status()

    def is_live(self) -> bool:
        """Whether something may still happen."""
        return self.follower.is_live()

    def stamp(self) -> str:
        """What is another when the cases are others."""
        status = self.status()
        counts = status.counts.model_dump_json() if status.counts else ""
        return f"{status.n_specs} {counts} {status.last_outcome_at} {status.gathered} {len(status.tables)}"

    def views(self) -> tuple[str, CaseViews]:
        """The cases, and the stamp that they have; those of a run that goes on may be somewhat old. Needs the lock.

        Raises:
            StorageError: If the run cannot be read.
        """
        from scythe_cli.analysis.cases.frame import read_cases
        from scythe_cli.analysis.cases.selecting import Selection
        from scythe_cli.analysis.cases.views import CaseViews

        stamp, now = self.stamp(), self.follower.clock()
        is_due = now - self._read_at >= self._read_s / _MAX_SHARE
        if self._views is None or (self._views[0] != stamp and is_due):
            try:
                self._views = stamp, CaseViews(Selection(read_cases(self.run)))
            except (pa.ArrowException, *POLARS_ERRORS) as error:
                raise StorageError(
                    f"{self.run.experiment_id} has a file that cannot be read: {first_line(error)}",
                    hint="`scythe doctor` checks the storage; other runs can be shown.",
                ) from error
            self._read_at = self.follower.clock()
            self._read_s = self._read_at - now
        return self._views

    def sobol(self, stamp: str) -> list[dict[str, Any]] | None:
        """The Sobol indices of a run whose design has them, once its tables are there. Needs the lock.

        Args:
            stamp: That of the cases; they are worked out once for each.
        """
        from scythe_cli.analysis.sensitivity import sobol_indices

        design = self.run.manifest.design if self.run.manifest else None
        if design is None or design.design != "saltelli":
            return None
        if self._sobol is None or self._sobol[0] != stamp:
            try:
                told = sobol_indices(self.run).model_dump(mode="json")["indices"]
            except (UsageError, NotFoundError):  # it goes on, or its cases are not those of the design any more
                told = None
            self._sobol = stamp, told
        return self._sobol[1]


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
        list: Which there are.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.list = RunList(storage)
        self._open: OrderedDict[str, OpenRun] = OrderedDict()
        self._followed: OrderedDict[str, Follower] = OrderedDict()
        self._varied: dict[str, list[str] | None] = {}
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
                opened = OpenRun(self._follower(experiment_id))
            self._open[experiment_id] = opened
            while len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
            return opened

    def follower(self, experiment_id: str) -> Follower:
        """Who tells how far a run is: one for all pages that show it, in whatever way.

        Raises:
            NotFoundError: If there is none.
        """
        with self._lock:
            return self._follower(experiment_id)

    def _follower(self, experiment_id: str) -> Follower:
        follower = self._followed.pop(experiment_id, None)
        if follower is None:
            follower = Follower(self.storage, self._layout(experiment_id))
        self._followed[experiment_id] = follower
        while len(self._followed) > _MAX_FOLLOWED:
            self._followed.popitem(last=False)
        return follower

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
                self._overlay = names, OpenOverlay([OpenRun(self._follower(name)) for name in names])
            return self._overlay[1]

    def run(self, experiment_id: str) -> Run:
        """A run by its whole name, of which nothing is kept.

        Raises:
            NotFoundError: If there is none.
        """
        with self._lock:
            return Run(self.storage, self._layout(experiment_id))

    def varied(self, experiment_ids: Sequence[str]) -> dict[str, list[str] | None]:
        """The inputs that varied in each of some runs; None where that is not known.

        What a run varied does not change, unless it grows: elsewhere it is looked at once.
        """
        layouts = {name: RunLayout.from_experiment_id(name) for name in experiment_ids}
        asked = [name for name, layout in layouts.items() if layout is not None and name not in self._varied]
        told = each_of(self.storage, lambda name: self._varied_of(layouts[name]), asked)
        found = dict(zip(asked, told, strict=True))
        if self.storage.local_path("any") is None:
            self._varied.update(found)
        return {name: found.get(name, self._varied.get(name)) for name in experiment_ids}

    def _varied_of(self, layout: RunLayout | None) -> list[str] | None:
        names = None if layout is None else varied_inputs(self.storage, layout)
        return None if names is None else [visible(name)[:200] for name in names[:50]]

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
