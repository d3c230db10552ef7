"""What the process of the tests does without, since it takes long and shows nothing."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from scythe_cli.run import manifest

_MOST = 256
_FEW = ("polars", "pyarrow", "pydantic", "scythe-experiments")
_all_packages, _dump, _load = manifest._packages, manifest.dump_yaml, manifest.load_yaml


def take_shortcuts() -> None:
    """Take them, in this process; before other modules import what is replaced here."""
    # only a machine that loses its power could tell
    os.fsync = _written
    manifest._packages = _some_packages
    manifest.dump_yaml = _dump_once
    manifest.load_yaml = _load_once


def _written(fd: Any) -> None:
    """Do not wait for the disk."""


@cache
def _some_packages() -> dict[str, str]:
    """Some of what is installed: a manifest with all that is needed to work on the project is long."""
    return {name: version for name, version in _all_packages().items() if name in _FEW}


_dumped: dict[str, bytes] = {}


def _dump_once(document: Mapping[str, Any]) -> bytes:
    """Write the schemas of a model once: hundreds of runs have the same."""
    try:
        text = json.dumps(document)
        if json.loads(text) != document:
            return _dump(document)
    except (TypeError, ValueError):
        return _dump(document)
    if text not in _dumped:
        if len(_dumped) > _MOST:
            _dumped.clear()
        _dumped[text] = _dump(document)
    return _dumped[text]


def _load_once(data: bytes, name: str) -> dict[str, Any]:
    """Read the same document once."""
    return copy.deepcopy(_loaded(bytes(data), name)) if len(data) < 100_000 else _load(data, name)


@lru_cache(maxsize=_MOST)
def _loaded(data: bytes, name: str) -> dict[str, Any]:
    return _load(data, name)
