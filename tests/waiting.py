"""Waiting for what other processes and threads do: for an event, and with a limit that no machine is too slow for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["is_running", "wait_for"]


def wait_for(condition: Callable[[], object], timeout_s: float, *, every_s: float = 0.01) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_s} s"
        time.sleep(every_s)


def is_running(pid: int) -> bool:
    """Whether there is a process, and not only what is kept of it for its parent."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
