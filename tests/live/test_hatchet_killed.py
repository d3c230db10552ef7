"""What becomes of a worker's own processes when it is killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from scythe_cli.core.records import StateCounts
from tests.live.fleet import Allocation, LiveProject
from tests.waiting import wait_for


def _pids(worker_pid: int) -> set[int]:
    """A process, and all that it has started."""
    import psutil

    return {worker_pid, *(child.pid for child in psutil.Process(worker_pid).children(recursive=True))}


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_processes_of_a_killed_worker_end_with_it(live: LiveProject) -> None:
    """They may hold a GPU, or a licence."""
    live.configure("killed", specs_per_task=1)
    worker = live.start_worker("--slots", "3")
    allocation = Allocation(live, live.write_cases(6, sleep_s=lambda _: 3000.0))
    wait_for(lambda: len(live.calls()) >= 3, 120)
    pids = _pids(worker.process.pid)
    assert len(pids) >= 5
    worker.kill()
    began_s = time.monotonic()
    wait_for(lambda: not any(map(_is_alive, pids)), 30)
    took_s = time.monotonic() - began_s
    print(f"{len(pids)} processes were gone after {took_s:.1f} s")
    live.hurry()
    live.start_worker("--slots", "3")
    began_s = time.monotonic()
    assert allocation.result(180).counts == StateCounts(succeeded=6)
    print(f"all was done elsewhere after {time.monotonic() - began_s:.0f} s")
    assert os.getpid() not in pids
    assert took_s < 5
