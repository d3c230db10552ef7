"""What a storage holds: experiments, versions and runs.

Which there are is told by the names of folders alone. Folders that are no experiment, version or run are somebody
else's and are passed over. Listing asks a storage once for each experiment and version, and about a run itself twice,
however many files are inside.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from scythe_cli.core.names import is_folder_name, parse_version
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError
from scythe_cli.run.layout import LEASE_NAME, RUN_FOLDERS, RunLayout, parse_timestamp
from scythe_cli.run.versions import latest_run, list_runs, list_versions, run_times, version_names
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    from scythe_cli.core.records import StateCounts
    from scythe_cli.run.manifest import RunManifest
    from scythe_cli.run.records import RunRecord, RunState


__all__ = [
    "KnownRecord",
    "VersionRecord",
    "each_of",
    "find_run",
    "known_record",
    "list_experiments",
    "run_record",
    "runs_by_version",
]


logger = logging.getLogger(__name__)

_REQUESTS_AT_ONCE = 16
_DEEPEST = 4
_MAX_FOLDERS = 2_000
_LONGEST_ALLOCATION = timedelta(hours=1)

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version of an experiment.

    Attributes:
        experiment: The experiment's folder.
        version: `vX.Y.Z`.
        n_runs: The number of its runs.
        latest_run: When the newest was allocated (UTC); None where there is none.
    """

    experiment: str
    version: str
    n_runs: int
    latest_run: datetime | None


def list_experiments(storage: Storage) -> list[str]:
    """The names of the experiments that have a version, sorted."""
    return list(_versions_by_experiment(storage))


def _versions_by_experiment(storage: Storage) -> dict[str, list[str]]:
    """The versions of each experiment; experiments may be below others, and in the folders of runs."""
    found: dict[str, list[str]] = {}
    folders = list(filter(is_folder_name, storage.list_folders("")))
    for _ in range(_DEEPEST):
        if not folders:
            break
        names = each_of(storage, storage.list_folders, folders)
        inside: list[str] = []
        for folder, inner in zip(folders, names, strict=True):
            versions = sorted((key, name) for name in inner if (key := parse_version(name)) is not None)
            if versions:
                found[folder] = [name for _, name in versions]
            others = [name for name in inner if parse_version(name) is None and is_folder_name(name)]
            inside += [f"{folder}/{name}" for name in others[:_MAX_FOLDERS]]
        folders = inside
    found |= _in_runs(storage, found)
    return dict(sorted(found.items()))


def _in_runs(storage: Storage, versions: dict[str, list[str]]) -> dict[str, list[str]]:
    """The experiments in the folders of runs, which workflows make; elsewhere than here, they have to be named."""
    if storage.local_path("any") is None:
        return {}
    found: dict[str, list[str]] = {}
    for folder in (f"{name}/{version}" for name, each in versions.items() for version in each):
        for stamp in storage.list_folders(folder):
            if parse_timestamp(stamp) is None:
                continue
            for name in storage.list_folders(f"{folder}/{stamp}"):
                inner = f"{folder}/{stamp}/{name}"
                if name not in RUN_FOLDERS and is_folder_name(name) and (own := version_names(storage, inner)):
                    found[inner] = own
    return found | (_in_runs(storage, found) if found else {})


def each_of(storage: Storage, call: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Call for each item, several at once where each waits for a server."""
    if len(items) < 2 or storage.local_path("any") is not None:
        return [call(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        return list(pool.map(call, items))


def find_run(storage: Storage, reference: str) -> RunLayout:
    """Find the run that a reference means.

    Args:
        storage: Where to look.
        reference: `latest`, `<experiment>` or `<experiment>/latest`, `<experiment>/<version>`,
            `<experiment>/<version>/<timestamp>`, or an unambiguous beginning of one of these.

    Raises:
        NotFoundError: If no run, or more than one, fits.
    """
    text = reference.removeprefix(storage.location).strip("/")
    exact = RunLayout.from_experiment_id(text)
    if exact is not None and storage.exists(exact.manifest):
        return exact
    experiments = list_experiments(storage)
    if not experiments:
        raise _no_runs(storage)
    if text in ("latest", ""):
        runs = [run for name in experiments if (run := latest_run(storage, name)) is not None]
        if not runs:
            raise _no_runs(storage)
        return max(runs, key=RunLayout.order)
    from scythe_cli.core.semver import SemVer

    experiment, parts = _split(text, experiments, storage)
    if experiment is None and SemVer.parse(parts[0]) is not None:
        raise NotFoundError(
            f"{reference!r} is a version, not a run",
            hint=f"A version comes after its experiment, as in {experiments[0]}/{text}.",
        )
    if len(parts) > 2 + (experiment is None):
        raise NotFoundError(
            f"{reference!r} is not a run", hint="A run is named <experiment>/<version>/<timestamp>, or 'latest'."
        )
    if experiment is None:
        experiment, parts = _pick(parts[0], experiments, "experiment", storage), parts[1:]
    if parts in ([], ["latest"]):
        run = latest_run(storage, experiment)
        if run is None:
            raise _no_runs(storage, f"experiment {experiment!r} has no runs")
        return run
    versions = {str(version): version for version in list_versions(storage, experiment)}
    version = versions[_pick(parts[0], list(versions), f"version of {experiment}", storage)]
    runs = {run.experiment_id.rsplit("/", 1)[1]: run for run in list_runs(storage, experiment, version)}
    if len(parts) == 1 or not parts[1] or parts[1] == "latest":
        if not runs:
            raise _no_runs(storage, f"{experiment}/{version} has no runs")
        return list(runs.values())[-1]
    return runs[_pick(parts[1], list(runs), f"run of {experiment}/{version}", storage)]


def _no_runs(storage: Storage, what: str = "there are no runs") -> NotFoundError:
    hint = "`scythe allocate FILE` makes one; --storage looks elsewhere."
    if storage.local_path("any") is None:
        hint += " Some servers list a new run only after seconds: <experiment>/<version>/<timestamp> finds it before."
    return NotFoundError(f"{what} in {storage.location}", hint=hint)


def _split(text: str, experiments: Sequence[str], storage: Storage) -> tuple[str | None, list[str]]:
    """The experiment of a reference, and what comes after it; None and all of it where none is called so."""
    parts = text.split("/")
    for n in range(len(parts), 0, -1):
        name = "/".join(parts[:n])
        # one in the folder of a run may be there and not be listed
        if name in experiments or (n > 3 and all(map(is_folder_name, parts[:n])) and version_names(storage, name)):
            return name, parts[n:]
    # what is in the folder of a run has the beginning of that run's name, and is asked for by the whole of it
    plain = [name for name in experiments if not any(parse_version(part) for part in name.split("/"))]
    for n in range(len(parts), 1, -1):
        fitting = [name for name in plain if name.startswith("/".join(parts[:n]))]
        if len(fitting) == 1:
            return fitting[0], parts[n:]
    return None, parts


def _pick(text: str, names: list[str], what: str, storage: Storage) -> str:
    if text in names:
        return text
    fitting = [name for name in names if name.startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NotFoundError(f"{text!r} matches more than one {what}: {_listed(fitting)}", hint="Type more of it.")
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are: {_listed(names)}." if names else None
    raise NotFoundError(f"no {what} is called {text!r} in {storage.location}", hint=hint)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[-6:])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


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
    return known_record(storage, run, None).record


def known_record(storage: Storage, run: RunLayout, before: KnownRecord | None) -> KnownRecord:
    """The same for who asks again and again: the manifest of a finished run is read again when it is another one.

    Args:
        storage: Where the run is kept.
        run: The run.
        before: What was told the last time.
    """
    files = {file.name: file for file in storage.list_files(run.experiment_id)}
    manifest = files.get(run.manifest.rpartition("/")[2])
    version = None if manifest is None or LEASE_NAME in files else manifest.version
    if before is not None and before.manifest is not None and before.manifest == version:
        return before
    record, is_summed_up = _record(storage, run, is_leased=LEASE_NAME in files)
    return KnownRecord(record, version if is_summed_up else None)


def _record(storage: Storage, run: RunLayout, *, is_leased: bool) -> tuple[RunRecord, bool]:
    """What is told of a run, and whether its summary tells it all."""
    from scythe_cli.run.outcomes.summary import read_summary
    from scythe_cli.run.records import RunRecord

    summary = read_summary(storage, run)
    manifest = _brief_manifest(storage, run) if summary is None else None
    complete = summary is not None or _is_complete(storage, run)
    described = summary or manifest
    counts = summary.counts if summary else None
    record = RunRecord(
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
    return record, summary is not None


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


def runs_by_version(
    storage: Storage, experiment: str | None = None, *, known: Mapping[tuple[str, str], list[datetime]] | None = None
) -> list[tuple[str, str, list[datetime]]]:
    """When the runs of each version were allocated (UTC), oldest first; experiments by name, newest version first.

    Args:
        storage: Where to look.
        experiment: Only this one.
        known: The same of versions, by experiment and version, whose folders are not listed, if they are still there.

    Raises:
        NotFoundError: If there is no such experiment.
    """
    if experiment is None:
        versions = _versions_by_experiment(storage)
    else:
        is_name = all(map(is_folder_name, experiment.split("/")))
        versions = {experiment: version_names(storage, experiment) if is_name else []}
        if not versions[experiment]:
            names = list_experiments(storage)
            hint = hint_for(experiment, names) or "`scythe allocate FILE` makes a first run."
            raise NotFoundError(f"{storage.location} has no runs of {experiment!r}", hint=hint)
    pairs = [(name, version) for name, found in versions.items() for version in reversed(found)]
    told = dict(known or {})
    unknown = [pair for pair in pairs if pair not in told]
    stamps = each_of(storage, lambda pair: run_times(storage, *pair), unknown)
    told.update(zip(unknown, stamps, strict=True))
    return [(*pair, told[pair]) for pair in pairs]
