"""What a storage holds: experiments, versions and runs.

Which there are is told by the names of folders alone. Folders that are no experiment, version or run are somebody
else's and are passed over. Listing asks a storage once for each experiment and version, and about a run itself twice,
however many files are inside.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from scythe_cli.core.names import is_experiment_name
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.versions import latest_run, list_runs, list_versions, run_times, version_names
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    from scythe_cli.run.manifest import RunManifest
    from scythe_cli.run.records import RunRecord


__all__ = [
    "VersionRecord",
    "each_of",
    "find_run",
    "list_experiments",
    "run_record",
    "runs_by_version",
]


logger = logging.getLogger(__name__)

_REQUESTS_AT_ONCE = 16

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
    names = sorted(filter(is_experiment_name, storage.list_folders("")))
    versions = each_of(storage, lambda name: version_names(storage, name), names)
    return {name: found for name, found in zip(names, versions, strict=True) if found}


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
        reference: `latest`, `<experiment>`, `<experiment>/<version>`, `<experiment>/<version>/<timestamp>`, or an
            unambiguous beginning of one of these.

    Raises:
        NotFoundError: If no run, or more than one, fits.
    """
    text = reference.removeprefix(storage.location).strip("/")
    exact = RunLayout.from_experiment_id(text)
    if exact is not None and is_experiment_name(exact.experiment) and storage.exists(exact.manifest):
        return exact
    experiments = list_experiments(storage)
    if not experiments:
        raise NotFoundError(
            f"there are no runs in {storage.location}",
            hint="`scythe allocate FILE` makes one; --storage looks elsewhere.",
        )
    if text in ("latest", ""):
        runs = [run for name in experiments if (run := latest_run(storage, name)) is not None]
        if not runs:
            raise NotFoundError(f"there are no runs in {storage.location}")
        return max(runs, key=lambda run: run.timestamp)
    parts = text.split("/")
    if len(parts) > 3:
        raise NotFoundError(
            f"{reference!r} is no run", hint="A run is named <experiment>/<version>/<timestamp>, or 'latest'."
        )
    from scythe_cli.core.semver import SemVer

    if parts[0] not in experiments and SemVer.parse(parts[0]) is not None:
        raise NotFoundError(
            f"{reference!r} is a version, and no run",
            hint=f"A version comes after its experiment, as in {experiments[0]}/{text}.",
        )
    experiment = _pick(parts[0], experiments, "experiment", storage)
    if len(parts) == 1:
        run = latest_run(storage, experiment)
        if run is None:
            raise NotFoundError(f"experiment {experiment!r} has no runs in {storage.location}")
        return run
    versions = {str(version): version for version in list_versions(storage, experiment)}
    version = versions[_pick(parts[1], list(versions), f"version of {experiment}", storage)]
    runs = {run.experiment_id.rsplit("/", 1)[1]: run for run in list_runs(storage, experiment, version)}
    if len(parts) == 2 or not parts[2] or parts[2] == "latest":
        if not runs:
            raise NotFoundError(f"{experiment}/{version} has no runs in {storage.location}")
        return list(runs.values())[-1]
    return runs[_pick(parts[2], list(runs), f"run of {experiment}/{version}", storage)]


def _pick(text: str, names: list[str], what: str, storage: Storage) -> str:
    if text in names:
        return text
    fitting = [name for name in names if name.startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NotFoundError(f"{text!r} fits more than one {what}: {_listed(fitting)}", hint="Write some more of it.")
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are: {_listed(names)}." if names else None
    raise NotFoundError(f"no {what} is called {text!r} in {storage.location}", hint=hint)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[-6:])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


def run_record(storage: Storage, run: RunLayout) -> RunRecord:
    """What the folder's name and the manifest of a run say.

    A manifest that cannot be read is told in the log: one damaged file does not hide the other runs.
    """
    from scythe_cli.run.manifest import UnreadableManifestError, read_manifest
    from scythe_cli.run.records import RunRecord

    manifest: RunManifest | None = None
    try:
        manifest = read_manifest(storage, run, brief=True)
    except UnreadableManifestError as error:
        logger.warning("%s", error.message)
    return RunRecord(
        experiment_id=run.experiment_id,
        experiment=run.experiment,
        version=str(run.version),
        timestamp=run.timestamp,
        uri=storage.uri(run.experiment_id),
        n_specs=manifest.n_specs if manifest else None,
        engine=manifest.engine if manifest else None,
        complete=_is_complete(storage, run),
    )


def _is_complete(storage: Storage, run: RunLayout) -> bool:
    from scythe_cli.storage.base import ForeignKeyError

    try:
        return storage.exists(run.table("scalars"))
    except ForeignKeyError as error:
        logger.warning("%s", error.message)
        return False


def runs_by_version(storage: Storage, experiment: str | None = None) -> list[tuple[str, str, list[datetime]]]:
    """When the runs of each version were allocated (UTC), oldest first; experiments by name, newest version first.

    Raises:
        NotFoundError: If there is no such experiment.
    """
    if experiment is None:
        versions = _versions_by_experiment(storage)
    else:
        versions = {experiment: version_names(storage, experiment) if is_experiment_name(experiment) else []}
        if not versions[experiment]:
            names = list_experiments(storage)
            hint = hint_for(experiment, names) or "`scythe allocate FILE` makes a first run."
            raise NotFoundError(f"{storage.location} has no runs of {experiment!r}", hint=hint)
    pairs = [(name, version) for name, found in versions.items() for version in reversed(found)]
    stamps = each_of(storage, lambda pair: run_times(storage, *pair), pairs)
    return [(name, version, found) for (name, version), found in zip(pairs, stamps, strict=True)]
