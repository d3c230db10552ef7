"""What a storage holds: experiments, versions and runs.

Which there are is told by the names of folders alone. Folders that are no experiment, version or run are somebody
else's and are passed over. Listing asks a storage once for each experiment and version, and about a run itself twice,
however many files are inside.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from scythe_cli.core.names import is_folder_name, parse_version
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError
from scythe_cli.run.layout import RUN_FOLDERS, RunLayout, parse_timestamp
from scythe_cli.run.versions import latest_run, list_runs, list_versions, run_times, version_names
from scythe_cli.storage.base import ManyAtOnce, Page, Storage

__all__ = [
    "Seen",
    "VersionRecord",
    "each_of",
    "find_run",
    "list_experiments",
    "runs_by_version",
]


_REQUESTS_AT_ONCE = 16
_DEEPEST = 4
_MAX_FOLDERS = 2_000
_MANY = 8
"""From how many folders on they are listed together."""
_PAGE = 1_000
_FEWEST_EACH = 25
"""Of how many versions such a page has to tell: a server that has to look at each file takes long for it."""

Seen = dict[str, str | None]
"""The files directly in the folder of a run, each with its version."""

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


def runs_by_version(
    storage: Storage,
    experiment: str | None = None,
    *,
    known: Mapping[tuple[str, str], list[datetime]] | None = None,
    seen: dict[str, Seen] | None = None,
) -> list[tuple[str, str, list[datetime]]]:
    """When the runs of each version were allocated (UTC), oldest first; experiments by name, newest version first.

    Args:
        storage: Where to look.
        experiment: Only this one.
        known: The same of versions, by experiment and version, whose folders are not listed, if they are still there.
        seen: Gets what was seen in the folders of runs along the way, by their `experiment_id`.

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
    if isinstance(storage, ManyAtOnce) and len(unknown) >= _MANY:
        told |= _glanced(storage, unknown, {} if seen is None else seen)
        unknown = [pair for pair in unknown if pair not in told]
    stamps = each_of(storage, lambda pair: run_times(storage, *pair), unknown)
    told.update(zip(unknown, stamps, strict=True))
    return [(*pair, told[pair]) for pair in pairs]


def _glanced(
    storage: ManyAtOnce, pairs: Sequence[tuple[str, str]], seen: dict[str, Seen]
) -> dict[tuple[str, str], list[datetime]]:
    """The runs of versions, listed together; where they have few files, one list tells all of several versions."""
    told: dict[tuple[str, str], list[datetime]] = {}
    for name in dict.fromkeys(name for name, _ in pairs):
        versions = sorted((version for each, version in pairs if each == name), key=lambda version: f"{version}/")
        for version, files in _walked(storage, name, versions).items():
            folders: dict[str, Seen] = {}
            for file, tag in files.items():
                stamp, slash, inner = file.partition("/")
                if slash:
                    folders.setdefault(stamp, {}).update({} if "/" in inner else {inner: tag})
            told[name, version] = _times(folders)
            seen |= {f"{name}/{version}/{stamp}": found for stamp, found in folders.items()}
    rest = [pair for pair in pairs if pair not in told]
    pages = storage.list_many([(f"{name}/{version}", "") for name, version in rest], most=_PAGE, flat=False)
    told.update((pair, _times(page.folders)) for pair, page in zip(rest, pages, strict=True) if page and page.is_last)
    return told


def _times(stamps: Iterable[str]) -> list[datetime]:
    return sorted(moment for stamp in stamps if (moment := parse_timestamp(stamp)) is not None)


def _walked(storage: ManyAtOnce, experiment: str, versions: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """The files of versions, in the order of their names, as far as pages of a thousand have several of them each."""
    if len(versions) < _MANY:
        return {}
    (first,) = storage.list_many([(experiment, f"{versions[0]}/")], most=_PAGE)
    found = _whole_versions(first)
    n_each = sum(version in found for version in versions) * 9 // 10
    if first is not None and not first.is_last and n_each >= _FEWEST_EACH:
        begins = [version for version in versions if version not in found][::n_each]
        for page in storage.list_many([(experiment, f"{version}/") for version in begins], most=_PAGE):
            found |= _whole_versions(page)
    return {version: found[version] for version in versions if version in found}


def _whole_versions(page: Page | None) -> dict[str, dict[str, str | None]]:
    """The files of those versions of which none can be on the next page."""
    found: dict[str, dict[str, str | None]] = {}
    version = ""
    for name, tag in page.files.items() if page else ():
        version, _, inner = name.partition("/")
        found.setdefault(version, {})[inner] = tag
    if page and not page.is_last:
        found.pop(version, None)
    return found
