"""How much memory a process and those that it started use, and how a process is kept from asking for more."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

__all__ = ["descendants", "limit_own_memory", "tree_memory_bytes"]


_PROC = Path("/proc")


def tree_memory_bytes(pid: int, limit_bytes: int) -> int:
    """The resident memory of a process tree.

    Forked processes share pages, and a sum counts these several times; so beyond the limit they are counted by the
    share of each, which takes longer.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        total = int(process.memory_info().rss)
        children = descendants(pid)
        if not children:
            return total
        processes = [process]
        for child in children:
            with contextlib.suppress(psutil.Error):
                processes.append(psutil.Process(child))
        total = sum(_rss(p) for p in processes)
        return total if total <= limit_bytes else sum(_share(p) for p in processes)
    except psutil.Error:
        return 0


def _rss(process: Any) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _share(process: Any) -> int:
    import psutil

    try:
        info = process.memory_full_info()
        return int(getattr(info, "pss", info.rss))
    except psutil.Error:
        return 0


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found: list[int] = []
    if not (_PROC / str(pid) / "task" / str(pid) / "children").exists():
        import psutil

        with contextlib.suppress(psutil.Error):
            found = [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return found
    # asking the kernel for the children of one process takes microseconds; going through all processes does not
    todo = [pid]
    while todo:
        tasks = _PROC / str(todo.pop()) / "task"
        with contextlib.suppress(OSError):
            for task in os.listdir(tasks):  # noqa: PTH208 - called often
                with contextlib.suppress(OSError):
                    children = [int(child) for child in (tasks / task / "children").read_bytes().split()]
                    found += children
                    todo += children
    return found


def limit_own_memory(limit_bytes: int) -> None:
    """Let this process get no more than this, so that one large request fails instead of ending the process.

    What the interpreter and libraries have reserved but not used does not count. Linux only.
    """
    import sys

    if sys.platform != "linux":
        return
    import resource

    try:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
        reserved = (int(status["VmData"].split()[0]) - int(status["RssAnon"].split()[0])) * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = limit_bytes + max(0, reserved)
        resource.setrlimit(
            resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    except (OSError, ValueError, KeyError, IndexError):
        return  # the parent watches as well
