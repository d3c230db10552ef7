"""Removing old runs from a storage."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from pydantic import Field

from scythe_cli.core.records import Record
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.lease import Lease
from scythe_cli.run.manifest import UnreadableManifestError, read_manifest
from scythe_cli.run.records import RunRecord
from scythe_cli.services.runs.listing import run_records
from scythe_cli.storage.base import Storage

__all__ = ["PruneResult", "old_runs", "prune_runs"]


class PruneResult(Record):
    """Which runs were removed."""

    removed: list[str] = Field(description="experiment ids, newest first")
    at_work: list[str] = Field(
        description="runs that were old enough, and are kept because something is at work on them"
    )
    n_kept: int = Field(description="the number of all other runs")
    dry_run: bool = Field(description="whether nothing was removed, and `removed` is what would be")


def old_runs(
    storage: Storage,
    experiment: str | None = None,
    *,
    keep: int | None = None,
    before: datetime | None = None,
    force: bool = False,
) -> PruneResult:
    """Choose the runs to remove: those that are neither among the newest nor young. Nothing is removed.

    Args:
        storage: Where they are.
        experiment: Only those of this one.
        keep: The number of runs of each experiment to keep, the newest; any when None.
        before: Only runs that were allocated before this moment; any when None.
        force: Whether a fleet's runs are removed that have not come to their end, and that it may still work on.

    Raises:
        UsageError: If neither `keep` nor `before` says something.
        NotFoundError: If there is no such experiment.
        StorageError: If the storage cannot be read.
    """
    if keep is None and before is None:
        raise UsageError(
            "it is not said which runs to keep",
            hint="`--keep 10` keeps the newest ten of each experiment, `--older-than 90d` those of the last 90 days.",
        )
    records = run_records(storage, experiment)
    n_seen: dict[str, int] = {}
    old: list[RunRecord] = []
    for record in records:
        n_seen[record.experiment] = n = n_seen.get(record.experiment, 0) + 1
        if (keep is None or n > keep) and (before is None or record.timestamp < before):
            old.append(record)
    at_work = [record.experiment_id for record in old if _is_at_work(storage, record, force=force)]
    removed = [record.experiment_id for record in old if record.experiment_id not in at_work]
    return PruneResult(removed=removed, at_work=at_work, n_kept=len(records) - len(old), dry_run=True)


def _is_at_work(storage: Storage, record: RunRecord, *, force: bool) -> bool:
    if record.state not in {"running", "stopped"}:
        return False
    run = RunLayout.from_experiment_id(record.experiment_id)
    try:
        manifest = read_manifest(storage, run, brief=True) if run else None
    except UnreadableManifestError:
        return False
    # what this machine works on has a lease
    is_of_fleet = manifest is not None and not manifest.needs_lease
    return not force if is_of_fleet else record.state == "running"


def prune_runs(storage: Storage, plan: PruneResult) -> PruneResult:
    """Remove the runs that were chosen, each as a whole.

    A run whose removal is cut short has no manifest any more, is listed as one of unknown state, and is removed by the
    next try.

    Args:
        storage: Where they are.
        plan: What `old_runs` chose.

    Raises:
        StorageError: If one cannot be removed; those before it are gone.
    """
    removed: list[str] = []
    at_work: list[str] = []
    for experiment_id in plan.removed:
        try:
            done = _remove(storage, experiment_id)
        except StorageError as error:
            told = f"{len(removed)} of {len(plan.removed)} runs were removed before."
            raise StorageError(
                f"{experiment_id} cannot be removed: {error.message}", hint=" ".join(filter(None, [told, error.hint]))
            ) from error
        (removed if done else at_work).append(experiment_id)
    return plan.model_copy(update={"removed": removed, "at_work": [*plan.at_work, *at_work], "dry_run": False})


def _remove(storage: Storage, experiment_id: str) -> bool:
    """Remove a run, unless another process has begun to work on it."""
    run = RunLayout.from_experiment_id(experiment_id)
    if run is None:
        return False
    try:
        lease = Lease(storage, run)
    except UsageError:
        return False
    try:
        storage.delete(run.manifest)
        storage.delete_tree(experiment_id)
    finally:
        with suppress(StorageError):
            lease.release()
    return True
