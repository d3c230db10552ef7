"""Whether the process that left something behind is still there, although numbers of processes are used again.

And what a process does whose terminal is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "address_space",
    "c_library",
    "discard_output",
    "end_with_parent",
    "is_alive",
    "leave_terminal",
    "machine",
    "start_of",
    "user_and_host",
]


# elsewhere the start is computed from the time of boot, which moves a little when the clock is set
_TOLERANCE_S = 0.015 if sys.platform == "linux" else 5.0
_GONE = "gone"
_PR_SET_PDEATHSIG = 1


@cache
def c_library() -> Any:
    """The functions of the C library that Python has no own for.

    Raises:
        ImportError: If this Python has no `ctypes`.
        OSError: If there is no such library.
    """
    import ctypes

    return ctypes.CDLL(None)


@cache
def machine() -> str:
    """A name for the space in which process ids have a meaning; containers have spaces of their own."""
    parts = [socket.gethostname()]
    if sys.platform == "linux":
        with suppress(OSError):
            parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
            parts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - the link leads to no path
    return " ".join(parts)


@cache
def user_and_host() -> tuple[str, str]:
    """Whose process this is, and where it runs."""
    from getpass import getuser

    try:
        user = getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        user = str(os.getuid())
    return user, socket.gethostname()


def address_space() -> int | None:
    """How many bytes of addresses this process may have (`ulimit -v`), raised as far as it may be; None for any number.

    Libraries reserve far more than they use: when they get none, they abort or wait for ever.
    """
    if sys.platform != "linux":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
            soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


def start_of(pid: int) -> float | None:
    """When a process began.

    Returns:
        Seconds: on Linux since the machine was started, which no change of the clock moves; elsewhere since 1970. None
        when there is no such process any more, or when it may not be looked at.
    """
    start = _look(pid)
    return start if isinstance(start, float) else None


def is_alive(pid: int, start: float) -> bool:
    """Whether the process with this number that began then still runs; in doubt it does."""
    actual = _look(pid)
    if isinstance(actual, float):
        return abs(actual - start) < _TOLERANCE_S
    return actual is None


def end_with_parent() -> None:
    """Have this process killed when the thread that has started it ends, however that does. Linux only."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError, ImportError):
        parent = os.getppid()
        c_library().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it has ended at this very moment
            os.kill(os.getpid(), signal.SIGKILL)


def leave_terminal() -> None:
    """Write nothing more to a terminal that is gone, where each word would be an error."""
    for fd in (1, 2):
        with suppress(OSError):
            # such a one is a device still, but no terminal any more
            if stat.S_ISCHR(os.fstat(fd).st_mode) and not os.isatty(fd):
                discard_output(fd)


def discard_output(fd: int) -> None:
    """Let what is written to a descriptor go nowhere."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, fd)
    os.close(devnull)


def _look(pid: int) -> float | str | None:
    """When a process began; `_GONE` when it has ended, None when that cannot be known."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return _GONE
    except OSError:
        pass  # of another user
    return _look_on_linux(pid) if sys.platform == "linux" else _look_elsewhere(pid)


def _look_on_linux(pid: int) -> float | str | None:
    try:
        # the name of the program, in parentheses, may hold anything
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        state, ticks = fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
    # one that has ended and was not waited for
    return _GONE if state in (b"Z", b"X") else ticks / os.sysconf("SC_CLK_TCK")


def _look_elsewhere(pid: int) -> float | str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return _GONE if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return _GONE
    except psutil.Error:
        return None
