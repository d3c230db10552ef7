"""The groups of the tests: what each may do, in which order they run, and how long each took.

A group follows from where a test lies and what it is marked with. It is a marker as well, so `pytest -m unit` runs one.
"""

from __future__ import annotations

import multiprocessing.util
import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from functools import wraps
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests import warm

TESTS = Path(__file__).parent

GROUPS = {
    "live": "needs the real servers that `make servers` installs",
    "browser": "the page of `scythe ui` in a real Chromium",
    "docs": "does what a document says",
    "acceptance": "the main job as a user runs it",
    "faults": "what goes wrong costs no more than it must",
    "processes": "starts processes, or runs specs in some",
    "cli": "command lines",
    "contract": "what every storage and every engine must do",
    "property": "any input, in this process",
    "unit": "one thing, in this process, in less than a tenth of a second",
}
"""With what each is; those that take longest come first, so that no worker is alone at the end."""

QUICK = ("property", "unit")
"""Groups whose tests start no process."""

WARM = ("acceptance", "browser", "docs", "faults", "processes", "cli", "contract")
"""Groups whose runs, in this process, have templates as `tests/warm.py` makes them."""

REAL = (
    "tests/executor/",
    "tests/faults/test_hostile_input.py",
    "tests/faults/test_secrets_and_terminals.py",
    "tests/faults/test_soak.py",
    "tests/faults/test_specs_that_crash.py",
)
"""Where templates are real all the same: the executor's own tests, and those of rows that do harm."""

SLOW_S = 0.1
"""A unit test that takes longer is named in the summary of a verbose run; how long it takes fails no test."""


def group_of(item: pytest.Item) -> str:
    """The group of a test."""
    if item.get_closest_marker("live"):
        return "live"
    folder, *_ = item.path.relative_to(TESTS).parts
    if folder in GROUPS and folder not in QUICK:
        return folder
    if item.path.stem.startswith("test_contract"):
        return "contract"
    if item.get_closest_marker("processes"):
        return "processes"
    return "property" if item.path.stem.endswith("_properties") else "unit"


def quick(module: pytest.Module) -> bool:
    """Whether no test of a file starts a process."""
    return all(group_of(item) in QUICK for item in module.session.items if item.path == module.path)


class NoProcesses:
    """Has a test fail that starts a process, while it is asked to."""

    def __init__(self) -> None:
        self.started: list[str] | None = None
        self.is_over = False  # what is started now ends what whole sessions share, such as a cluster
        for place, name in (
            (subprocess.Popen, "__init__"),
            (BaseProcess, "start"),
            (multiprocessing.util, "spawnv_passfds"),  # that of queues and semaphores, once
            *((os, name) for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system")),
        ):
            setattr(place, name, self._watched(getattr(place, name)))

    def _watched(self, start: Any) -> Any:
        @wraps(start)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.started is not None and not self.is_over:
                self.started.append(f"{start.__module__}.{start.__qualname__}")
                pytest.fail("a test of this group starts no process; mark it with `processes`")
            return start(*args, **kwargs)

        return watched


class GroupsPlugin:
    """Marks tests with their groups, orders them, and sums up what they took."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.no_processes = NoProcesses()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark the tests before others choose by markers."""
        for item in items:
            item.add_marker(group_of(item))
        if not self.config.pluginmanager.has_plugin("randomly"):
            order = list(GROUPS)
            items.sort(key=lambda item: order.index(group_of(item)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let no test of the quick groups start a process."""
        self.no_processes.started = [] if group_of(item) in QUICK else None
        warm.starts_ahead = group_of(item) not in QUICK
        warm.is_used = group_of(item) in WARM and not item.nodeid.startswith(REAL)
        try:
            return (yield)
        finally:
            self.no_processes.started = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> None:
        """With the last test, fixtures of the session end as well."""
        self.no_processes.is_over = nextitem is None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say in each report of which group it is."""
        report = yield
        report.group = group_of(item)
        started = self.no_processes.started
        # what failed there may have been taken for an error of the process, or in another thread
        if call.when == "teardown" and started and report.passed:
            report.outcome = "failed"
            report.longrepr = f"a test of this group starts no process; it called {', '.join(started)}"
        return report

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Tell how long each group took, and why live tests were skipped."""
        reports = [report for some in terminalreporter.stats.values() for report in some if hasattr(report, "group")]
        if not reports:
            return
        workers = self.config.getoption("numprocesses", None) or 1
        title = f"seconds of each group, in {workers} processes" if workers > 1 else "seconds of each group"
        terminalreporter.section(title)
        for line in told(reports, verbose=self.config.get_verbosity() > 0):
            terminalreporter.write_line(line)


def told(reports: Iterable[Any], *, verbose: bool = False) -> list[str]:
    """A line for each group: its seconds, its tests, and what was skipped."""
    seconds: defaultdict[str, float] = defaultdict(float)
    tests: defaultdict[str, set[str]] = defaultdict(set)
    skipped: defaultdict[str, Counter[str]] = defaultdict(Counter)
    slow: list[tuple[float, str]] = []
    for report in reports:
        seconds[report.group] += report.duration
        tests[report.group].add(report.nodeid)
        if report.skipped and isinstance(report.longrepr, tuple):
            skipped[report.group][report.longrepr[2].removeprefix("Skipped: ")] += 1
        if report.group == "unit" and report.when == "call" and report.duration > SLOW_S:
            slow.append((report.duration, report.nodeid))
    lines: list[str] = []
    for group in sorted(seconds, key=lambda group: -seconds[group]):
        line = f"{group:<12}{seconds[group]:>8.1f} s {len(tests[group]):>6} tests"
        reasons = "; ".join(f"{n} skipped: {reason}" for reason, n in skipped[group].most_common())
        lines.append(f"{line}  {reasons}".rstrip())
    if verbose:
        lines += [f"unit test of {duration:.2f} s: {nodeid}" for duration, nodeid in sorted(slow, reverse=True)]
    return lines
