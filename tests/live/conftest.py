"""Live tests: a real engine for all of them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hatchet_servers import HatchetServers, hatchet_servers, missing_servers
from tests.live.fleet import MODULE, LiveProject
from tests.live.lab import Lab
from tests.live.lossy import lossy_proxy
from tests.servers import versitygw
from tests.slurm_cluster import SlurmCluster, missing_slurm, slurm_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.live)
            # the SDK uses what its own dependencies have deprecated
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:hatchet_sdk.*"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its workers have said."""
    report = yield
    project = getattr(item, "funcargs", {}).get("live")
    if report.failed and isinstance(project, LiveProject):
        report.sections += [(worker.log.name, worker.log.read_text()[-4000:]) for worker in project.workers]
    return report


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
    root = tmp_path / "project"
    root.mkdir()
    (root / "live_module.py").write_text(MODULE)
    project = LiveProject(root)
    project.configure()
    yield project
    for worker in project.workers:
        worker.kill()


@pytest.fixture
def lab(live: LiveProject, servers: HatchetServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Lab]:
    with (
        versitygw(tmp_path / "s3") as s3,
        lossy_proxy(urlsplit(s3.endpoint_url).port or 0) as storage,
        lossy_proxy(servers.grpc_port) as engine,
    ):
        s3.new_bucket("runs")
        s3.use(monkeypatch, at=f"http://127.0.0.1:{storage.port}")
        monkeypatch.setenv("HATCHET_CLIENT_HOST_PORT", f"127.0.0.1:{engine.port}")
        live.configure("killing", storage="s3://runs/live")
        yield Lab(live, servers, storage, engine, live.start_worker("--slots", "3"))


@pytest.fixture(scope="session")
def a_cluster() -> Generator[SlurmCluster]:
    """A real Slurm, for the whole session."""
    reason = missing_slurm()
    if reason:
        pytest.skip(reason)
    with slurm_cluster() as running:
        yield running


@pytest.fixture
def cluster(a_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """The same, for the commands that a test runs."""
    for name, value in a_cluster.env.items():
        monkeypatch.setenv(name, value)
    return a_cluster
