"""Isolation for all tests, and the rule that live tests may be skipped only where their servers are missing."""

from __future__ import annotations

import gc
import logging
import os
import platform
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from scythe_cli.registry import ExperimentRegistry
from scythe_cli.run import manifest
from tests.commands import forget_modules_since, loaded_modules
from tests.fuzzing import NIGHTLY
from tests.groups import GROUPS, QUICK, GroupsPlugin, group_of, quick
from tests.limits import LimitsPlugin
from tests.shortcuts import hurry_s3, keep_files_in_memory, take_shortcuts

keep_files_in_memory()
take_shortcuts()

# a first example may have to import a library, on a machine that is busy; what is tried is the same each time, so that
# a change is judged by what it does: the nightly rounds try anything, and more of it
settings.register_profile("scythe", deadline=None, derandomize=not NIGHTLY, max_examples=500 if NIGHTLY else 30)
# of a mutant it is enough to know that a test fails: to look for a small example of that takes long
settings.register_profile("mutants", settings.get_profile("scythe"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("mutants" if "MUTANT_UNDER_TEST" in os.environ else "scythe")

# a shell that starts the tests in the background has them ignore SIGINT, and with them every process that they start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# and so does `nohup` with SIGHUP
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_SETTINGS = ("SCYTHE_", "AWS_", "HATCHET_CLIENT_")
_KEPT = ("SCYTHE_SERVERS_DIR", "SCYTHE_REQUIRE_LIVE", "AWS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """No settings from outside, a cache of its own, an empty registry, and the import state as it was."""
    for name in os.environ:
        if name.startswith(_SETTINGS) and name not in _KEPT:
            monkeypatch.delenv(name)
    monkeypatch.setenv("SCYTHE_CACHE_DIR", str(tmp_path / "cache"))
    # in the project's own folder there is an experiments.toml, and code that hundreds of files belong to
    monkeypatch.chdir(tmp_path)
    if group_of(request.node) in QUICK:
        # git would be a process; in the folder of a test it finds no checkout anyway
        monkeypatch.setattr(manifest, "_git_state", lambda folder: (None, None))
    with _as_it_was(tmp_path):
        yield


@pytest.fixture(scope="module", autouse=True)
def isolated_module(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """The same for what the fixtures of a module import and set."""
    is_quick = quick(request.node)
    with pytest.MonkeyPatch.context() as patch, _as_it_was(tmp_path_factory.getbasetemp()):
        if is_quick:
            # git would be a process; in the folder of a test it finds no checkout anyway
            patch.setattr(manifest, "_git_state", lambda folder: (None, None))
        yield
    # what a module leaves open is told as its own fault, and not as that of a test that runs later
    if not is_quick:
        gc.collect()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Know the groups, and the limits: none for the long rounds, unless there is an option."""
    if NIGHTLY and config.getoption("timeout", 0) is None:
        config.option.timeout = 0
    config.pluginmanager.register(LimitsPlugin(), "limits")
    config.pluginmanager.register(GroupsPlugin(config), "groups")
    for group, what in GROUPS.items():
        config.addinivalue_line("markers", f"{group}: {what}")
    platform.platform()  # it asks a process, once: not in the first test that writes a manifest


@contextmanager
def _as_it_was(folder: Path) -> Generator[None]:
    """Restore registry, import state and log level; of the modules, those below `folder` are dropped."""
    ExperimentRegistry.clear()
    path, modules = list(sys.path), loaded_modules()
    logger = logging.getLogger("scythe_cli")
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(logging.NOTSET)  # commands that run in this process set it
    forget_modules_since(modules, folder)
    sys.path[:] = path
    ExperimentRegistry.clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long rounds, unless SCYTHE_NIGHTLY is set."""
    if NIGHTLY:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in nightly]


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Load all libraries and tests without looking for garbage: hardly anything of it is."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Prepare for the tests once all libraries and tests are loaded."""
    hurry_s3()
    gc.enable()
    gc.set_threshold(10_000)
    # the bytecode of a module which a test writes again within a second would be taken for that of the new one
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    # what is loaded stays loaded: the collector need not look at it again and again
    gc.collect()
    gc.freeze()
    # what asks whether something is frozen would count half a million objects each time
    n_frozen = gc.get_freeze_count()
    gc.get_freeze_count = lambda: n_frozen


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many as there are cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_ANYWHERE = ("tests/docs/", "tests/faults/")
"""Tests that are long and share nothing: each may run in another process than the next."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, and all that need the engine, of which there is one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file.startswith("tests/live/test_slurm"):
                return "live on slurm"
            if file.startswith("tests/live/"):
                return "live"
            return nodeid if file.startswith(_ANYWHERE) else file

        def remove_node(self, node: Any) -> str | None:
            """The test in which a process ended has failed: xdist would try it again, and again."""
            units = self.assigned_work.get(node, {}).values()
            for unit in units:
                for nodeid, completed in unit.items():
                    if not completed:
                        unit[nodeid] = True
                        super().remove_node(node)
                        return nodeid
            return super().remove_node(node)

    config.option.loadscopereorder = False  # files with few tests are often the longest
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With SCYTHE_REQUIRE_LIVE set, a test with real servers or a browser that is skipped has failed."""
    report = yield
    if report.skipped and group_of(item) in ("live", "browser") and os.environ.get("SCYTHE_REQUIRE_LIVE"):
        report.outcome = "failed"
        report.longrepr = f"a test that is required was skipped: {report.longrepr}"
    return report
