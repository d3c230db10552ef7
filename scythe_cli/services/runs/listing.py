"""Which runs and versions there are, newest first; what is listed can be completed by the shell from then on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from scythe_cli.core.html import RecordList
from scythe_cli.run.catalog import Seen, VersionRecord, runs_by_version
from scythe_cli.run.layout import TIMESTAMP_FORMAT, RunLayout
from scythe_cli.run.lists.records import known_records
from scythe_cli.services.completions import remember_runs

if TYPE_CHECKING:
    from scythe_cli.run.records import RunRecord
    from scythe_cli.storage.base import Storage

__all__ = ["newer_layouts", "run_layouts", "run_records", "version_records"]


_AT_ONCE = 64
_BAD = ("failed", "cancelled", "stopped")


def run_records(
    storage: Storage,
    experiment: str | None = None,
    *,
    limit: int | None = None,
    failed: bool = False,
    since: datetime | None = None,
) -> RecordList[RunRecord]:
    """All runs, or those of one experiment, newest first.

    Args:
        storage: Where to look.
        experiment: Only this one.
        limit: Only so many; the others are not asked about.
        failed: Only those that failed, were cancelled, or stopped before their end.
        since: Only those that were allocated at this moment or later.

    Raises:
        NotFoundError: If there is no such experiment.
    """
    seen: dict[str, Seen] = {}
    runs = run_layouts(storage, experiment, since=since, seen=seen)
    if not failed:
        return RecordList(told.record for told in known_records(storage, runs[:limit], seen=seen))
    bad: list[RunRecord] = []
    for start in range(0, len(runs), _AT_ONCE):
        told = known_records(storage, runs[start : start + _AT_ONCE], seen=seen)
        bad += [each.record for each in told if each.record.state in _BAD]
        if limit is not None and len(bad) >= limit:
            break
    return RecordList(bad[:limit])


def run_layouts(
    storage: Storage,
    experiment: str | None = None,
    *,
    since: datetime | None = None,
    seen: dict[str, Seen] | None = None,
) -> list[RunLayout]:
    """Which runs there are, newest first; nothing is asked about each.

    Args:
        storage: Where to look.
        experiment: Only this one.
        since: Only those that were allocated at this moment or later.
        seen: Gets what was seen in their folders along the way; see `runs_by_version`.

    Raises:
        NotFoundError: If there is no such experiment.
    """
    from scythe_cli.core.semver import SemVer

    runs = [
        RunLayout(name, SemVer.FromString(version), stamp)
        for name, version, stamps in _listed(storage, experiment, seen)
        for stamp in stamps
        if since is None or stamp >= since
    ]
    return sorted(runs, key=RunLayout.order, reverse=True)


def newer_layouts(storage: Storage, known: Sequence[RunLayout]) -> list[RunLayout]:
    """Which runs there are, newest first, for who has listed them a while ago: a few requests for each experiment.

    Listed anew are the experiments, their versions, and the runs of new versions, of the newest version of each
    experiment, and of the version of its newest run. A run that was removed from another version, or added to one, is
    told by `run_layouts` alone.

    Args:
        storage: Where to look.
        known: The runs that were there.
    """
    from scythe_cli.core.semver import SemVer

    stamps: dict[tuple[str, str], list[datetime]] = {}
    newest: dict[tuple[str, bool], RunLayout] = {}
    for run in sorted(known, key=RunLayout.order):
        stamps.setdefault((run.experiment, str(run.version)), []).append(run.timestamp)
        newest[run.experiment, True] = run
        highest = newest.setdefault((run.experiment, False), run)
        if highest.version <= run.version:
            newest[run.experiment, False] = run
    for run in newest.values():
        stamps.pop((run.experiment, str(run.version)), None)
    runs = [
        RunLayout(name, SemVer.FromString(version), stamp)
        for name, version, found in runs_by_version(storage, known=stamps)
        for stamp in found
    ]
    return sorted(runs, key=RunLayout.order, reverse=True)


def version_records(storage: Storage, experiment: str | None = None) -> RecordList[VersionRecord]:
    """All versions, or those of one experiment: experiments by name, in each the newest first.

    Raises:
        NotFoundError: If there is no such experiment.
    """
    return RecordList(
        VersionRecord(name, version, len(stamps), stamps[-1] if stamps else None)
        for name, version, stamps in _listed(storage, experiment)
    )


def _listed(
    storage: Storage, experiment: str | None, seen: dict[str, Seen] | None = None
) -> list[tuple[str, str, list[datetime]]]:
    found = runs_by_version(storage, experiment, seen=seen)
    names: dict[str, dict[str, list[str]]] = {}
    for name, version, stamps in found:
        names.setdefault(name, {})[version] = [f"{stamp:{TIMESTAMP_FORMAT}}" for stamp in reversed(stamps)]
    remember_runs(storage.location, names, whole=experiment is None)
    return found
