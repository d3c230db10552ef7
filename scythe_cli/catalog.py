"""What a storage holds: experiments, versions and runs, by the names of their folders alone.

Folders that are no experiment, version or run are somebody else's and are passed over.
"""

from __future__ import annotations

import difflib

from scythe_cli.errors import InvalidInputError, NotFoundError
from scythe_cli.layout import RunLayout, check_experiment_name, parse_timestamp
from scythe_cli.storage import Storage
from scythe_cli.versioning import SemVer

__all__ = ["find_run", "latest_run", "list_experiments", "list_runs", "list_versions"]


def list_experiments(storage: Storage) -> list[str]:
    """The names of the experiments that have a version, sorted."""
    return sorted(name for name in storage.list_folders("") if _is_name(name) and list_versions(storage, name))


def _is_name(name: str) -> bool:
    try:
        check_experiment_name(name)
    except InvalidInputError:
        return False
    return True


def list_versions(storage: Storage, experiment: str) -> list[SemVer]:
    """The versions of an experiment, oldest first; a version folder without a run counts as well."""
    versions = [SemVer.parse(name) for name in storage.list_folders(experiment)]
    return sorted(version for version in versions if version is not None)


def list_runs(storage: Storage, experiment: str, version: SemVer) -> list[RunLayout]:
    """The runs of a version, oldest first."""
    stamps = [parse_timestamp(name) for name in storage.list_folders(f"{experiment}/{version}")]
    return sorted(RunLayout(experiment, version, stamp) for stamp in stamps if stamp is not None)


def latest_run(storage: Storage, experiment: str) -> RunLayout | None:
    """The newest run of the newest version that has one."""
    for version in reversed(list_versions(storage, experiment)):
        runs = list_runs(storage, experiment, version)
        if runs:
            return runs[-1]
    return None


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
    if exact is not None and _is_name(exact.experiment) and storage.exists(exact.manifest):
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
