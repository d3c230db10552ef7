"""What the process of the tests does without, since it takes long and shows nothing."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import typer.testing

from scythe_cli.run import manifest
from scythe_cli.storage import download

_MOST = 1024
_MEMORY = "/dev/shm"
_MUCH_BYTES = 8 << 30
_FEW = ("polars", "pyarrow", "pydantic", "scythe-experiments")
_all_packages, _dump, _load = manifest._packages, manifest.dump_yaml, manifest.load_yaml


def take_shortcuts() -> None:
    """Take them, in this process; before other modules import what is replaced here."""
    # only a machine that loses its power could tell
    os.fsync = _written
    download._FIRST_WAIT_S = 0.001  # a server of a test is there again at once
    manifest._packages = _some_packages
    manifest.dump_yaml = _dump_once
    manifest.load_yaml = _load_once
    # all commands are put together for each command line: that takes longer than most of them
    typer.testing._get_command = cache(typer.testing._get_command)


def hurry_s3() -> None:
    """Ask a server of a test soon again, as it is there at once; where its client is loaded, which takes a while."""
    if (client := sys.modules.get("scythe_cli.storage.s3_client")) is not None:
        vars(client).update(_FIRST_WAIT_S=0.01, _SPREAD_S=0.01)


def keep_files_in_memory() -> None:
    """Have temporary folders in memory, where there is much of it: a disk takes milliseconds to remove each.

    Whoever sets TMPDIR says where else.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK | os.X_OK):
        return
    there = os.statvfs(_MEMORY)
    if there.f_bavail * there.f_frsize > _MUCH_BYTES and not there.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = _MEMORY
        tempfile.tempdir = None  # it may have been asked for already


def _written(fd: Any) -> None:
    """Do not wait for the disk."""


@cache
def _some_packages() -> dict[str, str]:
    """Some of what is installed: a manifest with all that is needed to work on the project is long."""
    return {name: version for name, version in _all_packages().items() if name in _FEW}


_pieces: dict[str, bytes] = {}
_values: dict[bytes, dict[str, Any]] = {}
_KEY = re.compile(rb"^(?=[A-Za-z_]\w*:)", re.MULTILINE)


def _dump_once(document: Mapping[str, Any]) -> bytes:
    """Write each entry of a document once: hundreds of runs have the same schemas, and most of a manifest."""
    try:
        texts = [json.dumps({key: value}) for key, value in document.items()]
        same = {key: value for text in texts for key, value in json.loads(text).items()} == document
    except (TypeError, ValueError):
        return _dump(document)
    if not texts or not same:
        return _dump(document)
    return b"".join(map(_dump_piece, texts))


def _dump_piece(text: str) -> bytes:
    if text not in _pieces:
        if len(_pieces) > _MOST:
            _pieces.clear()
            _values.clear()
        value = json.loads(text)
        _pieces[text] = _dump(value)
        _values[_pieces[text]] = value
    return _pieces[text]


def _load_once(data: bytes, name: str) -> dict[str, Any]:
    """Read nothing that was written here, and the same document once."""
    pieces = [piece.rstrip(b"\n") + b"\n" for piece in _KEY.split(bytes(data)) if piece and not _is_comment(piece)]
    document = {key: value for piece in pieces for key, value in _values.get(piece, {}).items()}
    if pieces and len(document) == len(pieces):
        return copy.deepcopy(document)
    return copy.deepcopy(_loaded(bytes(data), name)) if len(data) < 100_000 else _load(data, name)


def _is_comment(piece: bytes) -> bool:
    return piece.startswith(b"#") and piece.count(b"\n") == 1


@lru_cache(maxsize=_MOST)
def _loaded(data: bytes, name: str) -> dict[str, Any]:
    return _load(data, name)
