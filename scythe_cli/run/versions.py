"""The versions of an experiment and their runs: which there are, and claiming the next one.

Which there are is told by the names of folders alone; folders that are no version or run are somebody else's and are
passed over. Two allocations never share a folder or a bumped version: a run is claimed by creating its `manifest.yml`
exclusively. For a bumped version that alone is not enough, since two runs of one second apart would both be the first
of the same version: while the first run of a version is claimed, an object beside the version folder is held, created
exclusively too, and removed when the manifest is there. Who finds it held takes the version above.

A server may list late what it has taken. There that object is kept for minutes and says which run was made: who does
not find the version in a list finds the object by its key.

Listing loads nothing that is not needed for names; only claiming makes versions of them.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from scythe_cli.core.names import parse_version
from scythe_cli.core.processes import is_alive, machine, start_of
from scythe_cli.errors import StorageError
from scythe_cli.run.layout import RunLayout, parse_timestamp, version_claim_key
from scythe_cli.storage.base import FileInfo, ForeignKeyError, MissingKeyError, Storage

if TYPE_CHECKING:
    from scythe_cli.core.semver import Bump, SemVer


__all__ = ["claim_run", "latest_run", "list_runs", "list_versions", "run_times", "version_names"]


_MAX_TRIES = 1000
_MAX_CLAIMS = 100
_MAX_CLAIM_BYTES = 65_536
_ABANDONED_AFTER = timedelta(minutes=10)
_SAME_TIME_S = 10.0
_CLAIM = re.compile(r"\.(v[0-9.]+)\.claim(-\d+)?", re.ASCII)


def version_names(storage: Storage, experiment: str) -> list[str]:
    """The names of the folders of versions, oldest version first."""
    versions = [(key, name) for name in storage.list_folders(experiment) if (key := parse_version(name)) is not None]
    return [name for _, name in sorted(versions)]


def run_times(storage: Storage, experiment: str, version: str) -> list[datetime]:
    """When the runs of a version were allocated, oldest first."""
    stamps = [parse_timestamp(name) for name in storage.list_folders(f"{experiment}/{version}")]
    return sorted(stamp for stamp in stamps if stamp is not None)


def list_versions(storage: Storage, experiment: str) -> list[SemVer]:
    """The versions of an experiment, oldest first; a version folder without a run counts as well."""
    from scythe_cli.core.semver import SemVer

    return [SemVer.FromString(name) for name in version_names(storage, experiment)]


def list_runs(storage: Storage, experiment: str, version: SemVer) -> list[RunLayout]:
    """The runs of a version, oldest first."""
    return [RunLayout(experiment, version, stamp) for stamp in run_times(storage, experiment, str(version))]


def latest_run(storage: Storage, experiment: str) -> RunLayout | None:
    """The newest run of the newest version that has one."""
    for version in reversed(list_versions(storage, experiment)):
        runs = list_runs(storage, experiment, version)
        if runs:
            return runs[-1]
    return None


def claim_run(
    storage: Storage,
    experiment: str,
    version: Bump | SemVer,
    first_manifest: Callable[[RunLayout], bytes],
    now: datetime | None = None,
) -> RunLayout:
    """Claim a new run.

    Args:
        storage: Where runs are kept.
        experiment: The experiment's folder.
        version: How to choose the version, or the version itself (which may have runs already).
        first_manifest: Makes the manifest with which the folder is claimed.
        now: The time of the run; the present unless given.

    Returns:
        The layout of a run that belongs to this caller alone.

    Raises:
        StorageError: If the storage cannot be written, or no free version is found.
    """
    from scythe_cli.core.semver import SemVer, next_version

    moment = (now or datetime.now(UTC)).replace(microsecond=0)
    if isinstance(version, SemVer):
        return _claim_timestamp(storage, experiment, version, first_manifest, moment)
    _remove_abandoned(storage, experiment)
    taken: SemVer | None = None
    for _ in range(_MAX_TRIES):
        newest = latest_run(storage, experiment)
        latest = newest.version if newest else None
        if version == "keep" and latest is not None:
            return _claim_timestamp(storage, experiment, latest, first_manifest, moment)
        base = max((v for v in (latest, taken) if v is not None), default=None)
        candidate = next_version(base, "minor" if version == "keep" else version)
        run = _claim_version(storage, experiment, candidate, first_manifest, moment)
        if run is not None:
            return run
        if version == "keep":
            if _claim_state(storage, version_claim_key(experiment, candidate)) is _Claim.USED:
                return _claim_timestamp(storage, experiment, candidate, first_manifest, moment)
            time.sleep(0.1)  # somebody is making the first run: its version is the one to keep
            continue
        taken = candidate
    raise StorageError(f"no free version of {experiment!r} was found in {storage.location} in {_MAX_TRIES} tries")


def _claim_version(
    storage: Storage,
    experiment: str,
    version: SemVer,
    first_manifest: Callable[[RunLayout], bytes],
    moment: datetime,
) -> RunLayout | None:
    """Claim the first run of a version; None when the version has a run, or is being claimed by another."""
    claims = _hold_claim(storage, version_claim_key(experiment, version))
    if claims is None:
        return None
    try:
        # the version may have got its first run between the listing and the claim
        if list_runs(storage, experiment, version):
            return None
        run = _claim_timestamp(storage, experiment, version, first_manifest, moment)
        claims = _kept_until_listed(storage, claims, run)
        return run
    finally:
        # only after the run is there, or given up: who comes now finds it, or begins anew
        for claim in claims:
            storage.discard(claim)


def _kept_until_listed(storage: Storage, claims: list[str], run: RunLayout) -> list[str]:
    """Let claims say which run was made, where a list may be late with it; returns those to remove."""
    with suppress(StorageError):
        if storage.is_listed(run.manifest):
            return claims
        for claim in claims:
            storage.write_bytes(claim, _claim(run))
        return []
    return claims


def _hold_claim(storage: Storage, key: str) -> list[str] | None:
    """Create the claim of a version; None if a living process holds it.

    The claim of a process that is gone is not removed: who looked at the same time could then remove the claim of
    somebody who is alive. Another one of the next number is created, exclusively as well.

    Returns:
        The keys to remove afterwards: the claims of processes that are gone, and the own one.
    """
    claims: list[str] = []
    for number in range(1, _MAX_CLAIMS):
        claims.append(key if number == 1 else f"{key}-{number}")
        if storage.create(claims[-1], _claim()):
            return claims
        if _claim_state(storage, claims[-1]) is not _Claim.ABANDONED:
            return None
    return None


def _claim(run: RunLayout | None = None) -> bytes:
    pid = os.getpid()
    held_since = datetime.now(UTC).isoformat()
    owner = {"held_since": held_since, "machine": machine(), "pid": pid, "process_start": start_of(pid) or 0.0}
    return json.dumps(owner if run is None else owner | {"run": run.experiment_id}).encode()


class _Claim(Enum):
    HELD = auto()
    USED = auto()  # its version has the run that it names
    ABANDONED = auto()  # the process that holds it is gone: a claim is held for a moment only


def _claim_state(storage: Storage, key: str) -> _Claim:
    try:
        fields: Any = json.loads(storage.read_bytes(key, max_bytes=_MAX_CLAIM_BYTES))
        held_since = datetime.fromisoformat(fields["held_since"])
        owner = str(fields["machine"]), int(fields["pid"]), float(fields["process_start"])
        run = RunLayout.from_experiment_id(str(fields.get("run")))
        is_old = _is_old(storage, key, held_since)
    except MissingKeyError:
        return _Claim.HELD  # removed in this moment: its version has a run now
    except (ForeignKeyError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return _Claim.ABANDONED  # of an object that cannot be read nobody can be the owner
    if run is not None:
        return _Claim.USED if storage.exists(run.manifest) else _Claim.ABANDONED
    is_gone = owner[0] == machine() and not is_alive(owner[1], owner[2])
    return _Claim.ABANDONED if is_old or is_gone else _Claim.HELD


def _is_old(storage: Storage, key: str, held_since: datetime) -> bool:
    """Whether a claim is older than any is held: by this machine's clock, and by the server's where it tells.

    Neither alone is believed, since one of them may be wrong.
    """
    # one of the future is of no clock that is right
    if abs(datetime.now(UTC) - held_since) <= _ABANDONED_AFTER:
        return False
    age_s = storage.info(key).age_s
    # a server that says that it is of the future does not tell the time
    return age_s is None or age_s < -_SAME_TIME_S or age_s > _ABANDONED_AFTER.total_seconds()


def _remove_abandoned(storage: Storage, experiment: str) -> None:
    """Remove the claims of processes that were killed after they had made the first run of their version, and old ones.

    Those mean nothing any more: who creates one again finds the run, and gives it back.
    """
    from scythe_cli.core.semver import SemVer

    for file in storage.list_files(experiment):
        match = _CLAIM.fullmatch(file.name)
        version = SemVer.parse(match[1]) if match else None
        key = f"{experiment}/{file.name}"
        if version is None:
            continue
        state = _claim_state(storage, key)
        is_over = state is _Claim.ABANDONED or (state is _Claim.USED and _is_settled(storage, key, file))
        if is_over and list_runs(storage, experiment, version):
            storage.discard(key)


def _is_settled(storage: Storage, key: str, claim: FileInfo) -> bool:
    """Whether a version was claimed so long ago that it is in all lists."""
    try:
        return _is_old(storage, key, claim.modified)
    except MissingKeyError:
        return False  # removed by another


def _claim_timestamp(
    storage: Storage,
    experiment: str,
    version: SemVer,
    first_manifest: Callable[[RunLayout], bytes],
    moment: datetime,
) -> RunLayout:
    """Claim the next free second of a version."""
    for later_s in range(_MAX_TRIES):
        run = RunLayout(experiment, version, moment + timedelta(seconds=later_s))
        if storage.create(run.manifest, first_manifest(run)):
            return run
    raise StorageError(f"no free second for a run of {experiment}/{version} was found in {storage.location}")
