"""Processes that fork: whether one may, what becomes of what it leaves behind, and how it ends like another."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Collection
from pathlib import Path

from scythe_cli.core.processes import c_library

__all__ = ["adopt_orphans", "end_like", "fork", "fork_cost_s", "kill_orphans", "unfit_reason", "wait_for"]


_PR_SET_CHILD_SUBREAPER = 36
_TASKS = Path("/proc/self/task")
_HARMLESS = frozenset({"jemalloc_bg_thd", "polars-ooc-clea"})
"""Threads that a fork does no harm to: jemalloc, in PyArrow, starts its own again; the one of Polars removes temporary
files, while the threads that compute start at the first use."""

_GPU_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/render")


def fork() -> int:
    """Fork this process, of which `unfit_reason` has said that it may be."""
    if sys.version_info < (3, 12):
        return os.fork()
    with warnings.catch_warnings():
        # Python warns of any thread, also of harmless ones
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def fork_cost_s(times: int) -> float:
    """The time of the processor that a fork and the end of the new process take: the least of some, in seconds."""
    least_s = math.inf
    for _ in range(times):
        started_s = _cpu_s()
        pid = fork()
        if not pid:
            os._exit(0)
        wait_for(pid)
        least_s = min(least_s, _cpu_s() - started_s)
    return least_s


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + usage.ru_utime + usage.ru_stime


def unfit_reason() -> str | None:
    """Why this process should not be forked; None where it can be.

    A thread does not exist in the new process, and what it has locked stays locked there for ever. Libraries that
    expect a fork (OpenBLAS) end their threads before it, so ask after one fork.
    """
    threads = [name for name in _threads() if name not in _HARMLESS]
    if threads:
        import threading

        own = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
        names = ", ".join(sorted(set(own or threads)))
        return f"loading it started {len(threads)} thread{'s' * (len(threads) > 1)} ({names})"
    with contextlib.suppress(OSError):
        for fd in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(fd.readlink()).startswith(_GPU_DEVICES):
                    return "loading it opened a GPU"
    return None


def _threads() -> list[str]:
    """The names of the threads beside the main one."""
    names: list[str] = []
    for task in _TASKS.iterdir():
        if task.name != str(os.getpid()):
            with contextlib.suppress(OSError):  # it has just ended
                names.append((task / "comm").read_text(encoding="utf-8", errors="replace").strip())
    return names


def adopt_orphans() -> None:
    """Become the parent of those that descendants leave behind, so that they can be found and ended."""
    with contextlib.suppress(OSError, AttributeError, ImportError):
        c_library().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans(known: Collection[int] = ()) -> None:
    """End the children of this process that it has not started itself.

    Args:
        known: Those that it has.
    """
    while orphans := [pid for pid in _children() if pid not in known]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    pid = os.getpid()
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()]
    except OSError:
        return []


def wait_for(pid: int) -> int:
    """Wait for the end of a child, and return its exit code, or the number of the signal that ended it, negative."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def end_like(status: int) -> None:
    """End this process at once as another has ended.

    Args:
        status: See `wait_for`.
    """
    if status < 0:
        import faulthandler

        faulthandler.disable()  # the other one has written its stack
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)
