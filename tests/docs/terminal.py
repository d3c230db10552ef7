"""Run command lines as at a terminal of 80 columns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import tempfile
import termios
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 80
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


@dataclass(frozen=True)
class Shown:
    """What a command line left on the screen: stdout, and then what went to stderr, without progress."""

    code: int
    out: str
    err: str


def run_at_terminal(line: str, *, cwd: Path, env: Mapping[str, str], timeout_s: float = 120) -> Shown:
    """Run a command line in a shell whose stdout is a terminal; stderr is a file, so that progress is in lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=theirs, stderr=err
        )
        os.close(theirs)
        chunks: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(ours, chunks), daemon=True)
        reader.start()
        code = process.wait(timeout=timeout_s)
        reader.join(timeout=10)
        os.close(ours)
        err.seek(0)
        text = b"".join(chunks).decode().replace("\r\n", "\n")
        return Shown(code, _ESCAPES.sub("", text), err.read().decode())


def _read_all(descriptor: int, chunks: list[bytes]) -> None:
    # a terminal whose other side is closed gives an error, not an end
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
