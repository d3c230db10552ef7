"""What one spec may use, how much memory it does use, and how a run is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from scythe_cli.core.states import Isolation, KeepFiles, RetryOn, RetryRule, StartMethod
from scythe_cli.model.experiment import ExperimentOptions
from scythe_cli.model.needs import Needs

__all__ = ["Limits", "StopSignal", "descendants", "kill_marked", "limit_own_memory", "tree_memory_bytes"]


_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one spec may use.

    Attributes:
        execution_timeout_s: How long one attempt may take; fetching and uploading its files included.
        memory_limit_bytes: Memory of its process, with the processes that it starts; None for no limit.
        retries: How often it is run again when it did not succeed.
        isolation: Whether specs share processes; see `Isolation`.
        rows_per_process: How many specs one process runs at most; None for what `isolation` says.
        working_directory: `row` for a folder of its own for each spec, `project`, or a path.
        keep_files: Of which specs the files in a folder of their own are kept; see `KeepFiles`.
        start_method: How processes are started; see `StartMethod`.
        startup_timeout_s: How long the experiment may take to be loaded.
        retry_on: After what it is run again.
        needs: What it takes of the machine while it runs.
        threads: How many threads numerical libraries start in its process; None for its share of the cores.
    """

    execution_timeout_s: float
    memory_limit_bytes: int | None
    retries: int
    isolation: Isolation = "auto"
    rows_per_process: int | None = None
    working_directory: str = "row"
    keep_files: KeepFiles = "never"
    start_method: StartMethod = "auto"
    startup_timeout_s: float = 300.0
    retry_on: tuple[RetryOn, ...] = get_args(RetryOn)
    needs: Needs = field(default_factory=Needs, hash=False)
    threads: int | None = None

    @property
    def retry(self) -> RetryRule:
        """How often one is run again, and after what."""
        return RetryRule(self.retries, self.retry_on)

    @classmethod
    def of(cls, options: ExperimentOptions) -> Limits:
        """The limits that an experiment says."""
        return cls(
            execution_timeout_s=options.execution_timeout.total_seconds(),
            memory_limit_bytes=options.memory_limit_bytes,
            retries=options.retry_rule.times,
            retry_on=options.retry_rule.states,
            isolation=options.isolation,
            rows_per_process=options.rows_per_process,
            working_directory=options.working_directory,
            keep_files=options.keep_files,
            start_method=options.start_method,
            startup_timeout_s=options.startup_timeout.total_seconds(),
            needs=options.needs,
            threads=options.threads,
        )


class StopSignal:
    """Asks a run to stop; can be used from any thread, and from a signal handler.

    A loop that waits for several things waits for one of the descriptors as well; each becomes readable when it is
    time and stays so, so that any number of loops can wait for the same signal.
    """

    def __init__(self) -> None:
        self._draining = False
        self._killing = False
        self._drain_read, self._drain_write = os.pipe()
        self._kill_read, self._kill_write = os.pipe()

    def drain(self) -> None:
        """Start nothing new; what runs is finished."""
        if not self._draining:
            self._draining = True
            os.write(self._drain_write, b"x")

    def kill(self) -> None:
        """End what runs, at once."""
        if not self._killing:
            self._draining = self._killing = True
            os.write(self._kill_write, b"x")

    @property
    def draining(self) -> bool:
        """Whether nothing new is to be started."""
        return self._draining

    @property
    def killing(self) -> bool:
        """Whether what runs is to be ended."""
        return self._killing

    @property
    def drain_fd(self) -> int:
        """Readable once `drain` was called."""
        return self._drain_read

    @property
    def kill_fd(self) -> int:
        """Readable once `kill` was called."""
        return self._kill_read

    def __del__(self) -> None:
        for fd in (self._drain_read, self._drain_write, self._kill_read, self._kill_write):
            with contextlib.suppress(OSError):
                os.close(fd)


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
    pids: list[int] = []
    if not (_PROC / str(pid) / "task" / str(pid) / "children").exists():
        import psutil

        with contextlib.suppress(psutil.Error):
            pids = [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return pids
    # asking the kernel for the children of one process takes microseconds; going through all processes does not
    todo = [pid]
    while todo:
        tasks = _PROC / str(todo.pop()) / "task"
        with contextlib.suppress(OSError):
            for task in os.listdir(tasks):  # noqa: PTH208 - called often
                with contextlib.suppress(OSError):
                    children = [int(child) for child in (tasks / task / "children").read_bytes().split()]
                    pids += children
                    todo += children
    return pids


def kill_marked(mark: str) -> None:
    """End all processes of this user with this setting in their environment. Linux only.

    They are those that a row has put into a session of their own, and whose ancestors were all killed.
    """
    setting = mark.encode()
    with contextlib.suppress(OSError):
        for pid in map(int, filter(str.isdigit, os.listdir(_PROC))):  # noqa: PTH208 - there may be thousands
            with contextlib.suppress(OSError):
                if setting in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)


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
