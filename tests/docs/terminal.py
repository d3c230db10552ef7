"""Run command lines as at a terminal of 80 columns: those of `scythe` in this process, others in a shell."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from scythe_cli.cli.app import app

COLUMNS = 80
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


@dataclass(frozen=True)
class Shown:
    """What a command line left on the screen: stdout, and then what went to stderr, without progress."""

    code: int
    out: str
    err: str


def run_at_terminal(line: str, *, cwd: Path, env: Mapping[str, str], timeout_s: float = 300) -> Shown:
    """Run a command line in a shell whose stdout is a terminal; stderr is a file, so that progress is in lines."""
    with _Terminal() as terminal, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=terminal.theirs, stderr=err
        )
        terminal.close_theirs()
        code = process.wait(timeout=timeout_s)
        err.seek(0)
        return Shown(code, terminal.read(), err.read().decode())


def run_app_at_terminal(arguments: Sequence[str]) -> Shown:
    """The same for a command line of `scythe`, in this process."""
    with (
        _Terminal() as terminal,
        open(terminal.theirs, "w", encoding="utf-8", closefd=False) as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        code = 0
        with mock.patch.object(sys, "stdout", out), mock.patch.object(sys, "stderr", err):
            try:
                app(list(arguments))
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0
        out.flush()
        terminal.close_theirs()
        err.seek(0)
        return Shown(code, terminal.read(), err.read())


class _Terminal:
    """A terminal, and what is shown on it; `theirs` is the side of the command."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=_read_all, args=(self._ours, self._chunks), daemon=True)
        self._is_open = True

    def __enter__(self) -> _Terminal:
        self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close_theirs()
        self._reader.join(timeout=60)
        os.close(self._ours)

    def close_theirs(self) -> None:
        """Leave the side of the command to those who have it."""
        if self._is_open:
            os.close(self.theirs)
            self._is_open = False

    def read(self) -> str:
        """What was shown, when all that write to it have ended."""
        self._reader.join(timeout=60)
        return _ESCAPES.sub("", b"".join(self._chunks).decode().replace("\r\n", "\n"))


def _read_all(descriptor: int, chunks: list[bytes]) -> None:
    # a terminal whose other side is closed gives an error, not an end
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
