"""How far a run is: counted from its ledger, with what the files around it say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from scythe_cli.core.records import StateCounts
from scythe_cli.run.active import read_running
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.lease import LeaseRecord, read_owner
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.outcomes.part_list import list_parts
from scythe_cli.run.outcomes.standings import Standings
from scythe_cli.run.outcomes.summary import RunSummary, made_of_others
from scythe_cli.run.records import RunningSpec, RunStatus
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = ["notice_of", "pace", "status_of", "tables_are_current"]


def status_of(
    storage: Storage,
    layout: RunLayout,
    manifest: RunManifest | None,
    tables: Collection[str],
    standings: Standings | RunSummary | None,
    damaged: Sequence[str] = (),
) -> RunStatus:
    """Tell how far a run is.

    Args:
        storage: Where it is kept.
        layout: Its keys.
        manifest: Its manifest; None when its folder has none.
        tables: The names of its final tables.
        standings: What has become of each spec, or the summary of a run that has ended; None without a ledger.
        damaged: The parts of the ledger that cannot be read.

    Raises:
        StorageError: If the run cannot be read.
    """
    n_specs = manifest.n_specs if manifest else None
    counts: StateCounts | None = None
    rate = eta = None
    last: datetime | None = None
    owner: LeaseRecord | None = None
    running: list[RunningSpec] | None = None
    gathered = "scalars" in tables
    if n_specs is None or standings is None:
        notice = "an older run without a ledger: its tables can be shown and fetched"
    else:
        gathered = gathered and tables_are_current(storage, layout, surely=False)
        counts = standings.counts if isinstance(standings, RunSummary) else standings.counts()
        rate, last = pace(standings)
        owner = read_owner(storage, layout)
        eta = counts.pending / rate if rate and counts.pending else None
        running = None if owner is None else read_running(owner, layout.experiment_id)
        notice = notice_of(manifest, counts, damaged, gathered=gathered, has_owner=owner is not None)
    return RunStatus(
        experiment_id=layout.experiment_id,
        experiment=layout.experiment,
        version=str(layout.version),
        timestamp=layout.timestamp,
        uri=storage.uri(layout.experiment_id),
        engine=manifest.engine if manifest else None,
        n_specs=n_specs,
        counts=counts,
        failing=standings.n_failing() if isinstance(standings, Standings) else 0,
        rate_per_s=rate,
        eta_s=eta,
        gathered=gathered,
        tables=sorted(tables),
        last_outcome_at=last,
        at_work=None if owner is None else owner.describe(),
        running=running,
        damaged_parts=list(damaged),
        notice=notice,
    )


def tables_are_current(storage: Storage, layout: RunLayout, *, surely: bool = True) -> bool:
    """Whether the final tables are there, not older than the ledger, and made of no other one, as the summary tells.

    Times alone do not tell it: a copy may have been made in any order.

    Args:
        storage: Where the run is kept.
        layout: Its keys.
        surely: What to say where both are of the same second, which is as fine as some storages tell the time: False
            takes the tables for current then.
    """
    try:
        made = storage.info(layout.table("scalars")).modified  # it is written last
    except MissingKeyError:
        return False
    parts = list_parts(storage, layout)
    if not parts:
        return True
    if made_of_others(storage, layout, [part.name for part in parts]):
        return False
    newest = max(part.modified for part in parts)
    return newest < made if surely else newest <= made


def pace(standings: Standings | RunSummary) -> tuple[float | None, datetime | None]:
    """Specs finished a second between the first start and the last end, and that end (UTC)."""
    if isinstance(standings, RunSummary):
        first, last = standings.started_at, standings.finished_at
        n = standings.counts.total - standings.counts.cancelled
    else:
        # what was taken over from another run, or from a spec that is the same, was not run
        first, last, n = standings.first, standings.last, standings.n_ran()
    if first is None or last is None:
        return None, None
    span_s = (last - first).total_seconds()
    return (n / span_s if span_s > 0 else None), last.astimezone(UTC)


def notice_of(
    manifest: RunManifest | None, counts: StateCounts, damaged: Sequence[str], *, gathered: bool, has_owner: bool
) -> str | None:
    """What has to be said of a run beyond its counts; None when there is nothing.

    Args:
        manifest: Its manifest.
        counts: Its specs by state.
        damaged: The parts of its ledger that cannot be read.
        gathered: Whether its final tables are there and current.
        has_owner: Whether a process holds its lease.
    """
    if manifest is not None and manifest.state == "allocating":
        return "it is still being allocated, or its allocation was interrupted"
    if damaged:
        parts = "1 part" if len(damaged) == 1 else f"{len(damaged)} parts"
        return f"{parts} of the ledger cannot be read, so the cases in it are pending; `scythe retry` runs them again"
    if counts.pending and not has_owner and manifest is not None and manifest.needs_lease:
        return f"no process is working on it; `scythe retry {manifest.experiment_id}` resumes it"
    if not gathered and not counts.pending:
        if has_owner:
            return "all cases have finished; the final tables are being written"
        return (
            "all cases have finished; the final tables are being written, or writing them was interrupted "
            "(`scythe retry` writes them)"
        )
    return None
