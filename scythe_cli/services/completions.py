"""What a shell can complete: names of runs and columns, as earlier commands have seen them.

A completion reads one small file in the user's cache and asks no storage and no engine, so that it is never slow. What
it offers may be out of date: each command that lists runs, makes one, or looks at columns brings the file up to date.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from scythe_cli.core.folders import cache_folder

__all__ = ["Names", "recall", "remember_columns", "remember_run", "remember_runs"]


_MOST_RUNS = 200
_MOST_COLUMNS = 2000

Names = dict[str, dict[str, list[str]]]
"""`<experiment>` to `<version>` to time stamps; or `<experiment>` to `<table>` to columns."""


def recall(location: str) -> tuple[Names, Names]:
    """What is known of the runs at a place.

    Args:
        location: The folder or S3 URL.

    Returns:
        The runs by experiment and version, versions and runs newest first; and the columns by experiment and table.
    """
    known = _read(location)
    return known["runs"], known["columns"]


def remember_runs(location: str, runs: Mapping[str, Mapping[str, Iterable[str]]], *, whole: bool) -> None:
    """Take note of a listing.

    Args:
        location: What was listed.
        runs: By experiment and version, the newest first.
        whole: Whether these are all experiments, and not some of them.
    """
    with _changed(location) as known:
        if whole:
            known["runs"].clear()
        for experiment, versions in runs.items():
            known["runs"][experiment] = {name: list(stamps)[:_MOST_RUNS] for name, stamps in versions.items()}


def remember_run(location: str, experiment_id: str) -> None:
    """Take note of one run that is there."""
    experiment, version, stamp = experiment_id.rsplit("/", 2)
    with _changed(location) as known:
        versions = known["runs"].setdefault(experiment, {})
        stamps = versions.setdefault(version, [])
        if stamp not in stamps:
            versions[version] = sorted([*stamps, stamp], reverse=True)[:_MOST_RUNS]
            known["runs"][experiment] = dict(sorted(versions.items(), key=lambda item: _rank(item[0]), reverse=True))


def remember_columns(location: str, experiment: str, table: str, columns: Iterable[str]) -> None:
    """Take note of a table, and of its columns where they are known; `""` stands for inputs and outputs."""
    names = list(columns)[:_MOST_COLUMNS]
    with _changed(location) as known:
        tables = known["columns"].setdefault(experiment, {})
        if names or table not in tables:
            tables[table] = names


def _rank(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.lstrip("v").split(".") if part.isdecimal())


def _path(location: str) -> Path:
    return cache_folder() / "completions" / f"{sha256(location.encode()).hexdigest()[:24]}.json"


def _read(location: str) -> dict[str, Names]:
    found: dict[str, Names] = {"runs": {}, "columns": {}}
    try:
        document: Any = json.loads(_path(location).read_text(encoding="utf-8"))
        for part, names in found.items():
            for experiment, groups in document[part].items():
                names[experiment] = {str(name): [str(each) for each in items] for name, items in groups.items()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {"runs": {}, "columns": {}}  # there is none yet, or it is damaged: then it is made anew
    return found


@contextmanager
def _changed(location: str) -> Generator[dict[str, Names]]:
    """What is known, to be changed inside; a cache that cannot be written is nobody's problem."""
    known = _read(location)
    before = json.dumps(known)
    yield known
    after = json.dumps(known)
    if after == before:
        return
    from tempfile import NamedTemporaryFile

    path = _path(location)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".new", delete=False) as file:
            file.write(after)
        Path(file.name).replace(path)
