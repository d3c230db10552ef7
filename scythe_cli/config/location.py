"""Where the runs of a project are kept.

Listing what is there asks for nothing else, and should take no longer than the listing: so this loads neither the
models of the configuration nor anything that reads tables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from scythe_cli.config.file import DEFAULT_STORAGE, find_config, read_config
from scythe_cli.errors import ConfigError
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage

__all__ = ["environment_has", "find_location", "find_storage", "locate"]


_TABLES = {"scythe", "hatchet", "slurm", "experiments"}
_KEYS = {"storage", "engine", "workers"}


def find_storage(config: Path | None = None, *, storage: str | None = None, start: Path | None = None) -> Storage:
    """Open the place where the runs of a project are kept; the same as `open_project(…).storage`.

    The configuration is checked only as far as it could change the answer: mistakes in the table of an experiment do
    not matter here.

    Args:
        config: The configuration file; looked for from `start` upwards unless given.
        storage: A folder or s3://bucket/prefix, instead of what the environment or the file says.
        start: Where the search begins; the working directory unless given.

    Raises:
        ConfigError: If the file is not there or not right.
    """
    location, root = _find(config, storage, start)
    if location is None:
        # something is wrong, which a full check finds and puts into words
        from scythe_cli.config.schema import load_config

        path = (config or find_config((start or Path.cwd()).absolute()) or Path.cwd()).absolute()
        location = locate(storage, load_config(path).scythe.storage, root)
    return open_storage(location, base=root)


def find_location(config: Path | None = None, *, storage: str | None = None, start: Path | None = None) -> str:
    """The place itself, as the `location` of its storage names it; nothing is opened, and no client is loaded.

    Raises:
        ConfigError: If the file is not there, or not right.
    """
    location, root = _find(config, storage, start)
    if location is None:
        raise ConfigError("the configuration does not say where to keep runs")
    return location.rstrip("/") if "://" in location else open_storage(location, base=root).location


def _find(config: Path | None, storage: str | None, start: Path | None) -> tuple[str | None, Path]:
    start = (start or Path.cwd()).absolute()
    path = config or find_config(start)
    root = start if path is None else path.absolute().parent
    configured = DEFAULT_STORAGE if path is None else _storage_of(read_config(path.absolute()))
    return None if configured is None else locate(storage, configured, root), root


def locate(storage: str | None, configured: str, root: Path) -> str:
    """Where runs are kept: the option, then the environment (both seen from here), then the file (from its folder)."""
    from_outside = storage or None
    if from_outside is None and environment_has("SCYTHE_STORAGE_"):
        from scythe_cli.model.settings import ScytheStorageSettings

        from_outside = ScytheStorageSettings().location
    return _absolute(configured, root) if from_outside is None else _absolute(from_outside, Path.cwd())


def _absolute(location: str, folder: Path) -> str:
    if "://" in location:
        return location
    try:
        return str(folder / Path(location).expanduser())
    except (RuntimeError, ValueError):
        return location  # the home of nobody known, or no path at all: `open_storage` says so


def environment_has(prefix: str) -> bool:
    """Whether there are settings to read at all: the library that reads them loads as long as a listing takes."""
    return any(name.upper().startswith(prefix) for name in os.environ)


def _storage_of(document: Mapping[str, Any]) -> str | None:
    """What a configuration says about the storage; None if a mistake may have kept it from being said."""
    table = document.get("scythe", {})
    if not document.keys() <= _TABLES or not isinstance(table, dict):
        return None
    settings = cast("dict[str, Any]", table)
    location = settings.get("storage", DEFAULT_STORAGE)
    return location if settings.keys() <= _KEYS and isinstance(location, str) and location else None
