"""What a list tells of runs: how each went, as a record."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from scythe_cli.run.catalog import Seen, each_of
from scythe_cli.run.layout import LEASE_NAME, RunLayout
from scythe_cli.storage.base import ManyAtOnce, Storage

if TYPE_CHECKING:
    from scythe_cli.core.records import StateCounts
    from scythe_cli.run.manifest import RunManifest
    from scythe_cli.run.outcomes.summary import RunSummary
    from scythe_cli.run.records import RunRecord, RunState

__all__ = ["KnownRecord", "known_records", "run_record"]


logger = logging.getLogger(__name__)

_LONGEST_ALLOCATION = timedelta(hours=1)
_MANY = 8
"""From how many runs on they are asked about together."""
_FEW_FILES = 1_000
_SUMMARY_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class KnownRecord:
    """What a list has told of a run.

    Attributes:
        record: What it was.
        manifest: The version of the manifest that told it all; None where more was looked at.
    """

    record: RunRecord
    manifest: str | None


def run_record(storage: Storage, run: RunLayout) -> RunRecord:
    """What a list tells of a run: from a listing of its folder and its manifest.

    The manifest of a finished run begins with a summary; else all of it is read. One that cannot be read is told in the
    log: one damaged file does not hide the other runs.
    """
    return _known_record(storage, run, None).record


def known_records(
    storage: Storage,
    runs: Sequence[RunLayout],
    before: Mapping[str, KnownRecord] | None = None,
    seen: Mapping[str, Seen] | None = None,
) -> list[KnownRecord]:
    """What a list tells of many runs, and of each what tells that it is still so.

    The manifest of a finished run is read again when it is another one.

    Args:
        storage: Where they are kept.
        runs: The runs.
        before: What was told the last time, by their `experiment_id`.
        seen: What of their folders was seen just now; see `runs_by_version`.
    """
    known = before or {}
    told: dict[str, KnownRecord] = {}
    if isinstance(storage, ManyAtOnce) and len(runs) >= _MANY:
        told = _told_together(storage, storage, runs, known, seen or {})
    others = [run for run in runs if run.experiment_id not in told]
    asked = each_of(storage, lambda run: _known_record(storage, run, known.get(run.experiment_id)), others)
    told.update((run.experiment_id, record) for run, record in zip(others, asked, strict=True))
    return [told[run.experiment_id] for run in runs]


def _told_together(
    storage: Storage,
    many: ManyAtOnce,
    runs: Sequence[RunLayout],
    before: Mapping[str, KnownRecord],
    seen: Mapping[str, Seen],
) -> dict[str, KnownRecord]:
    """Those of which the beginning of the manifest tells all."""
    from scythe_cli.run.outcomes.summary import parse_summary

    unseen = [run.experiment_id for run in runs if run.experiment_id not in seen]
    pages = many.list_many([(name, "") for name in unseen], most=_FEW_FILES, flat=False)
    files = dict(seen)
    files.update((name, page.files) for name, page in zip(unseen, pages, strict=True) if page and page.is_last)
    told: dict[str, KnownRecord] = {}
    asked: list[tuple[RunLayout, str]] = []
    for run in runs:
        inside = files.get(run.experiment_id)
        version = None if inside is None or LEASE_NAME in inside else inside.get(_manifest_name(run))
        if version is None:
            continue
        last = before.get(run.experiment_id)
        if last is not None and last.manifest == version:
            told[run.experiment_id] = last
        else:
            asked.append((run, version))
    starts = many.read_many([run.manifest for run, _ in asked], _SUMMARY_BYTES)
    for (run, version), start in zip(asked, starts, strict=True):
        first, end, _ = (start or b"").partition(b"\n")
        summary = parse_summary(first) if end else None
        if summary is not None:
            record = _described(storage, run, summary, None, complete=True, is_leased=False)
            told[run.experiment_id] = KnownRecord(record, version)
    return told


def _manifest_name(run: RunLayout) -> str:
    return run.manifest.rpartition("/")[2]


def _known_record(storage: Storage, run: RunLayout, before: KnownRecord | None) -> KnownRecord:
    files = {file.name: file for file in storage.list_files(run.experiment_id)}
    manifest = files.get(_manifest_name(run))
    version = None if manifest is None or LEASE_NAME in files else manifest.version
    if before is not None and before.manifest is not None and before.manifest == version:
        return before
    record, is_summed_up = _record(storage, run, is_leased=LEASE_NAME in files)
    return KnownRecord(record, version if is_summed_up else None)


def _record(storage: Storage, run: RunLayout, *, is_leased: bool) -> tuple[RunRecord, bool]:
    """What is told of a run, and whether its summary tells it all."""
    from scythe_cli.run.outcomes.summary import read_summary

    summary = read_summary(storage, run)
    manifest = _brief_manifest(storage, run) if summary is None else None
    complete = summary is not None or _is_complete(storage, run)
    record = _described(storage, run, summary, manifest, complete=complete, is_leased=is_leased)
    return record, summary is not None


def _described(
    storage: Storage,
    run: RunLayout,
    summary: RunSummary | None,
    manifest: RunManifest | None,
    *,
    complete: bool,
    is_leased: bool,
) -> RunRecord:
    from scythe_cli.run.records import RunRecord

    described = summary or manifest
    counts = summary.counts if summary else None
    return RunRecord(
        experiment_id=run.experiment_id,
        experiment=run.experiment,
        version=str(run.version),
        timestamp=run.timestamp,
        uri=storage.uri(run.experiment_id),
        n_specs=counts.total if counts else manifest.n_specs if manifest else None,
        engine=described.engine if described else None,
        complete=complete,
        state=_state(storage, run, counts, manifest, complete=complete, is_leased=is_leased),
        counts=counts,
        started_at=summary.started_at if summary else None,
        finished_at=summary.finished_at if summary else None,
        duration_s=summary.duration_s if summary else None,
        sampling_file=described.sampling_file if described else None,
    )


def _brief_manifest(storage: Storage, run: RunLayout) -> RunManifest | None:
    from scythe_cli.run.manifest import UnreadableManifestError, read_manifest

    try:
        return read_manifest(storage, run, brief=True)
    except UnreadableManifestError as error:
        logger.warning("%s", error.message)
        return None


def _state(
    storage: Storage,
    run: RunLayout,
    counts: StateCounts | None,
    manifest: RunManifest | None,
    *,
    complete: bool,
    is_leased: bool,
) -> RunState:
    """How a run as a whole is."""
    if is_leased:
        from scythe_cli.run.lease import read_owner

        if read_owner(storage, run) is not None:
            return "running"
    if counts is not None:
        if counts.pending:
            return "stopped"
        if counts.unsuccessful:
            return "cancelled" if counts.cancelled == counts.unsuccessful else "failed"
        return "succeeded"
    if manifest is None or manifest.n_specs is None or (complete and not is_leased):
        return "unknown"
    if manifest.state == "allocating":
        is_young = datetime.now(UTC) - run.timestamp < _LONGEST_ALLOCATION
        return "running" if is_young else "stopped"
    return "stopped" if manifest.needs_lease else "running"


def _is_complete(storage: Storage, run: RunLayout) -> bool:
    from scythe_cli.storage.base import ForeignKeyError

    try:
        return storage.exists(run.table("scalars"))
    except ForeignKeyError as error:
        logger.warning("%s", error.message)
        return False
