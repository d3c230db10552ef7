"""What specs print: the child's standard output and error go to a file, from which each spec's part is taken.

A file, not a pipe: nobody has to read while a spec runs, and what a spec printed before it ended its process is there.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import select
import sys
from pathlib import Path
from typing import TextIO

from scythe_cli.executor.rows.failure import PACKAGE_FOLDER

__all__ = ["Capture", "has_whole_stack", "log_line", "read_output", "split_fault"]


LIMIT_BYTES = 64 * 1024

_FAULT = re.compile(r"^(Fatal Python error: |Stack \(most recent call first\)|Current thread 0x)", re.MULTILINE)
_FAULT_FRAME = re.compile(r'^  File "(.*)", line (\S+) in (.*)$', re.MULTILINE)

_CLIENTS = ("httpx", "httpcore", "botocore", "aiobotocore", "s3fs", "urllib3")


class Capture:
    """The child's side.

    Args:
        fd: The file that descriptors 1 and 2 write to, opened for appending.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._streams: list[TextIO] = [sys.stdout, sys.stderr]
        for stream in self._streams:
            if isinstance(stream, io.TextIOWrapper):
                # by lines, so that a crash loses little, and a flush after each spec has nothing to do
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        _make_c_stdio_line_buffered()
        self._expected = (sys.stdout, sys.stderr)
        self.has_seen = False
        self._watched: int | None = None
        # tells of descriptors that are closed, and of nothing else, with one call of the system for both
        self._closed = select.poll()
        for number in (1, 2):
            self._closed.register(number, 0)

    def watch(self, fd: int) -> None:
        """Look at another descriptor as well, in the same call of the system: `has_seen` tells that it is readable."""
        self._watched = fd
        self._closed.register(fd, select.POLLIN)

    def install_logging(self) -> None:
        """Send what goes through `logging` there too, unless the user's module has set up logging itself."""
        self._expected = (sys.stdout, sys.stderr)  # the user's module may have put others there
        root = logging.getLogger()
        if root.handlers:
            return
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        for name in _CLIENTS:
            # they write whole URLs at INFO, and those of signed requests hold a secret
            logging.getLogger(name).setLevel(logging.WARNING)

    def move_to(self, fd: int) -> None:
        """Go on with another file, in a process that was forked: descriptors 1 and 2 write to it by now."""
        self._fd = fd

    def flush(self) -> None:
        """Write what the streams hold, before a process ends without doing so."""
        for stream in self._streams:
            with contextlib.suppress(ValueError, OSError):
                stream.flush()

    def take(self) -> str | None:
        """What was written since the last call; None when that is nothing."""
        stdout, stderr = self._streams
        try:
            stdout.flush()
            stderr.flush()
            events = self._closed.poll(0)
        except (ValueError, OSError):
            events = [(1, 0)]  # closed by the user, or a full disk
        is_open = not events
        if events:
            self.has_seen = any(fd == self._watched for fd, _ in events)
            is_open = all(fd == self._watched for fd, _ in events)
        if not is_open:
            self._reopen()
        if sys.stdout is not self._expected[0] or sys.stderr is not self._expected[1]:
            sys.stdout, sys.stderr = self._expected
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if not size:
            return None
        text = _read(self._fd, size)
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        return text

    def _reopen(self) -> None:
        """Make the descriptors and streams anew, so that the next spec can print."""
        expected: list[TextIO] = list(self._expected)
        for position, name in enumerate(("stdout", "stderr")):
            number = position + 1
            os.dup2(self._fd, number)
            stream = self._streams[position]
            if stream.closed:
                new = open(  # noqa: SIM115 - of a descriptor, and for as long as the process lives
                    number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
                )
                expected = [new if each is stream else each for each in expected]
                self._streams[position] = new
                setattr(sys, f"__{name}__", new)
        self._expected = (expected[0], expected[1])


def log_line(text: str) -> None:
    """Write a line to the output: the sink of `spec.log`.

    A function of a module, so that a spec can be pickled to processes that the user's code starts.
    """
    with contextlib.suppress(ValueError, AttributeError):  # closed by the user
        # not `sys.stdout`, which the user's code may have redirected for a while
        sys.__stdout__.write(text + "\n")  # pyright: ignore[reportOptionalMemberAccess]


def _make_c_stdio_line_buffered() -> None:
    """Let C code that prints with stdio be seen at once too; where that is not known how, it is seen later."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "stdout" if sys.platform == "linux" else "__stdoutp")
        line_buffered = 1
        libc.setvbuf(stdout, None, line_buffered, 0)
    except (ImportError, OSError, ValueError, AttributeError):
        pass


def read_output(path: Path) -> str | None:
    """What the output file of a child holds; None when that is nothing."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        return _read(fd, size) if size else None
    finally:
        os.close(fd)


def _read(fd: int, size: int) -> str:
    if size <= LIMIT_BYTES:
        return _decode(os.pread(fd, size, 0))
    half = LIMIT_BYTES // 2
    head, tail = os.pread(fd, half, 0), os.pread(fd, half, size - half)
    return f"{_decode(head)}\n… {size - 2 * half:,} bytes left out …\n{_decode(tail)}"


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def has_whole_stack(output: str | None) -> bool:
    """Whether `faulthandler` has written the stack down to the frames of this package, or as far as it goes."""
    if output is None:
        return False
    return any(match[1].startswith(PACKAGE_FOLDER) for match in _FAULT_FRAME.finditer(output)) or output.endswith(
        "\n  ...\n"
    )


def split_fault(output: str | None) -> tuple[str | None, str | None]:
    """Take apart the output of a dead child: what its spec printed, and the stack that `faulthandler` wrote after it.

    The stack is put into the order of Python's tracebacks, without the frames of this package that called the user's.
    """
    if output is None:
        return None, None
    match = _FAULT.search(output)
    if match is None:
        return output, None
    fault = output[match.start() :]
    frames: list[str] = []
    for filename, line, function in _FAULT_FRAME.findall(fault):
        if filename.startswith(PACKAGE_FOLDER):
            break
        frames.append(f'  File "{filename}", line {line}, in {function}')
    lines = ["Traceback (most recent call last):", *reversed(frames)] if frames else []
    if fault.startswith("Fatal"):
        lines.append(fault.splitlines()[0])
    return output[: match.start()] or None, "\n".join(lines) or None
