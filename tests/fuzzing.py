"""What the tests have in common that try out input of any kind: how many cases, and who may write where."""

from __future__ import annotations

import os
import sys
import tempfile
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from scythe_cli.cli.output import clean
from scythe_cli.errors import ScytheError
from scythe_cli.storage.atomic_files import TEMP_PREFIX

NIGHTLY_CASES = 10_000
NIGHTLY = os.environ.get("SCYTHE_NIGHTLY") == "1"  # read here: while a test runs there is no such variable


def cases(n: int, at_night: int = NIGHTLY_CASES) -> settings:
    """How many cases a test tries: `n`, or with SCYTHE_NIGHTLY=1 `at_night`."""
    return settings(max_examples=at_night if NIGHTLY else n, deadline=None, suppress_health_check=list(HealthCheck))


# the arguments that are paths, each with that which is the folder that it is taken from, where there is one
_PATHS: dict[str, list[tuple[int, int | None]]] = {
    "open": [(0, None)],
    "os.mkdir": [(0, 2)],
    "os.remove": [(0, 1)],
    "os.rmdir": [(0, 1)],
    "os.truncate": [(0, None)],
    "os.chmod": [(0, 2)],
    "os.chown": [(0, 3)],
    "os.utime": [(0, 3)],
    "os.rename": [(0, 2), (1, 3)],
    "os.link": [(1, 3)],
    "os.symlink": [(1, 2)],
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_written: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _written is None or event not in _PATHS:
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
        return
    for position, folder in _PATHS[event]:
        path = arguments[position]
        if not isinstance(path, (str, bytes, os.PathLike)):
            continue
        if event == "open" and isinstance(path, str) and path.startswith(TEMP_PREFIX):
            continue  # in a folder that the event does not tell; where it goes is told when it is renamed
        fd = -1 if folder is None else arguments[folder]
        # abspath, not resolve: links stay as they are written
        base = os.readlink(f"/proc/self/fd/{fd}") if fd >= 0 else os.getcwd()  # noqa: PTH109, PTH115
        _written.append(os.path.abspath(os.path.join(base, os.fsdecode(path))))  # noqa: PTH100, PTH118


# it cannot be removed again; it does nothing unless something is watched
sys.addaudithook(_watch)


@contextmanager
def writes_only_below(*folders: Path) -> Generator[None]:
    """Fail when Python writes, makes or removes anything elsewhere than in these folders and in places of its own."""
    global _written
    own = os.path.join(tempfile.gettempdir(), "scythe-")  # noqa: PTH118 - it is the beginning of a name
    inside = [f"{folder}{os.sep}" for folder in folders]
    allowed = (own, os.environ["SCYTHE_CACHE_DIR"], *inside, *map(str, folders), "/dev/null")
    _written = []
    try:
        yield
        strange = [path for path in _written if not path.startswith(allowed) and "__pycache__" not in path]
        assert not strange, f"written to {strange[:3]}"
    finally:
        _written = None


def check_message(error: ScytheError, *, longest: int = 20_000) -> None:
    """An error says something, not without end, and in a way that the command line can show."""
    text = clean(f"{error.message}\n{error.hint or ''}")
    assert error.message.strip()
    assert len(text) < longest, f"{len(text)} characters"
    assert not any(unicodedata.category(c) == "Cc" for c in text if c not in "\n\t"), text
    text.encode("utf-8", "backslashreplace")


@st.composite
def spoiled(draw: st.DrawFn, whole: bytes, pieces: list[bytes]) -> bytes:
    """Some bytes with a few changes: cut, doubled, replaced, or with something put between."""
    data = whole
    for _ in range(draw(st.integers(1, 4))):
        a = draw(st.integers(0, len(data)))
        b = min(len(data), a + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(["insert", "replace", "cut", "double", "drop the rest", "flip"]))
        piece = draw(st.sampled_from(pieces) | st.binary(max_size=6))
        if kind == "insert":
            data = data[:a] + piece + data[a:]
        elif kind == "replace":
            data = data[:a] + piece + data[b:]
        elif kind == "cut":
            data = data[:a] + data[b:]
        elif kind == "double":
            data = data[:b] + data[a:b] * draw(st.integers(1, 3)) + data[b:]
        elif kind == "drop the rest":
            data = data[:a]
        elif a < len(data):
            data = data[:a] + bytes([data[a] ^ (1 << draw(st.integers(0, 7)))]) + data[a + 1 :]
    return data
