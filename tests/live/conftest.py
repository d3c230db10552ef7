"""Live tests: a real engine for all of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.hatchet_servers import HatchetServers, hatchet_servers, missing_servers
from tests.live.fleet import MODULE, LiveProject


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.live)
            # the SDK uses what its own dependencies have deprecated
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:hatchet_sdk.*"))


@pytest.fixture(scope="session")
def servers() -> Generator[HatchetServers]:
    """PostgreSQL and the engine, for the whole session."""
    reason = missing_servers()
    if reason:
        pytest.skip(reason)
    with hatchet_servers() as running:
        yield running


@pytest.fixture
def hatchet_env(servers: HatchetServers, monkeypatch: pytest.MonkeyPatch) -> HatchetServers:
    """The variables of a client, and a client that is made anew."""
    for name, value in servers.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("scythe_cli.engines.hatchet.connection._clients", {})
    return servers


@pytest.fixture
def live(hatchet_env: HatchetServers, tmp_path: Path) -> Generator[LiveProject]:
    """A project whose workers are ended after the test."""
    del hatchet_env
    project = LiveProject.make(tmp_path / "project")
    yield project
    project.end_workers()


@pytest.fixture(scope="module")
def make_shared(
    servers: HatchetServers, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[..., LiveProject]]:
    """Makes a project whose worker of two slots lives as long as the tests of a module.

    Its worker takes the nodes of all runs, and the specs of all runs of its experiments: a test with workers of its
    own in the same module needs an experiment of another name.
    """
    projects: list[LiveProject] = []

    def make(module: str = MODULE, prepare: Callable[[LiveProject], None] = lambda _: None) -> LiveProject:
        folder = tmp_path_factory.mktemp("shared")
        project = LiveProject.make(folder / "project", module)
        prepare(project)
        projects.append(project)
        project.start_worker("--slots", "2", env={**servers.env, "SCYTHE_CACHE_DIR": str(folder / "cache")})
        return project

    yield make
    for project in projects:
        project.end_workers()


@pytest.fixture(scope="module")
def shared_project(make_shared: Callable[..., LiveProject]) -> LiveProject:
    """A project of `MODULE` with a worker."""
    return make_shared()


@pytest.fixture
def shared(hatchet_env: HatchetServers, shared_project: LiveProject, tmp_path: Path) -> LiveProject:
    """A project with a worker, which other tests use as well, and a storage of its own."""
    del hatchet_env
    shared_project.begin_anew(str(tmp_path / "runs"))
    return shared_project
