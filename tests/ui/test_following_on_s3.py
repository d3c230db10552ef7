"""A store elsewhere is asked little: a list of runs once, a run that goes on once a second for all who look at it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.run.ledger import write_part
from scythe_cli.run.outcomes.summary import RunSummary, put_summary
from scythe_cli.storage.opening import open_storage
from scythe_cli.ui import run_list
from scythe_cli.ui.run_list import RunList
from scythe_cli.ui.store import RunStore
from tests import servers
from tests.made_runs import make_run, outcomes
from tests.stores import make_store

pytestmark = pytest.mark.live


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    with servers.versitygw(tmp_path_factory.mktemp("versitygw")) as running:
        running.new_bucket("stores")
        yield running


@pytest.fixture
def s3(server: servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> servers.S3Server:
    server.use(monkeypatch)
    return server


class Asked:
    """What a server has been asked since the last time."""

    def __init__(self, server: servers.S3Server) -> None:
        self.server = server
        self.n = len(server.requests())

    def __call__(self) -> Counter[str]:
        requests = self.server.requests()[self.n :]
        self.n += len(requests)
        return Counter(request.operation for request in requests)


def made(server: servers.S3Server, name: str, n_versions: int, *, runs_each: int = 1, experiments: int = 1) -> Path:
    assert server.root is not None
    folder = server.root / "stores" / name
    make_store(folder, n_versions, runs_each=runs_each, experiments=experiments)
    return folder


def test_a_list_of_many_runs_is_asked_for_once_and_then_for_what_is_new(s3: servers.S3Server) -> None:
    made(s3, "list", 20, runs_each=3, experiments=2)
    asked, clock = Asked(s3), Clock()
    runs = RunList(open_storage("s3://stores/list"), clock)

    first = runs.listed(0, 10, None)
    assert first["n"] == 120
    # experiments, the versions of each, what is inside of these, and the manifest of each shown run
    assert asked() == Counter(ListObjectsV2=1 + 2 + 2, GetObject=10)
    for _ in range(50):
        clock.now_s += 0.1
        assert runs.listed(0, 10, None) == first
    assert not asked()

    clock.now_s += 6
    assert runs.listed(0, 10, None) == first  # at once: what is new is told the next time
    runs.settle()
    # the newest version of each experiment is looked into
    assert asked() == Counter(ListObjectsV2=1 + 2 + 2)
    clock.now_s += 60
    assert runs.listed(0, 10, None) == first
    runs.settle()
    # that the manifests are the same is told by a list
    assert asked() == Counter(ListObjectsV2=1 + 2 + 2 + 10)


def test_new_runs_appear_and_removed_ones_vanish(s3: servers.S3Server) -> None:
    folder = made(s3, "news", 3, runs_each=2)
    clock = Clock()
    storage = open_storage("s3://stores/news")
    runs = RunList(storage, clock)
    assert runs.listed(0, 50, None)["n"] == 6

    def next_list() -> list[str]:
        clock.now_s += 10
        runs.listed(0, 50, None)
        runs.settle()
        return [run["experiment_id"] for run in runs.listed(0, 50, None)["runs"]]

    storage.write_bytes("energy0/v1.2.0/2026-02-01_00-00-00/manifest.yml", b"{}")
    storage.write_bytes("energy0/v1.3.0/2026-02-02_00-00-00/manifest.yml", b"{}")
    storage.write_bytes("other/v1.0.0/2026-02-03_00-00-00/manifest.yml", b"{}")
    names = next_list()
    assert names[:3] == [
        "other/v1.0.0/2026-02-03_00-00-00",
        "energy0/v1.3.0/2026-02-02_00-00-00",
        "energy0/v1.2.0/2026-02-01_00-00-00",
    ]
    assert len(names) == 9
    storage.delete_tree("energy0/v1.1.0")
    assert len(next_list()) == 7
    # a run that is added to an old version is found when all is listed again
    storage.write_bytes("energy0/v1.0.0/2026-02-04_00-00-00/manifest.yml", b"{}")
    assert len(next_list()) == 7
    clock.now_s += run_list._WHOLE_S  # pyright: ignore[reportPrivateUsage]
    assert len(next_list()) == 8
    storage.write_bytes("energy0/v1.0.0/2026-02-05_00-00-00/manifest.yml", b"{}")
    assert runs.listed(0, 50, None, again=True)["n"] == 9
    assert folder.is_dir()


def test_a_run_that_is_summed_up_anew_is_read_anew(s3: servers.S3Server) -> None:
    made(s3, "again", 1, runs_each=2)
    clock = Clock()
    storage = open_storage("s3://stores/again")
    runs = RunList(storage, clock)
    before = runs.listed(0, 50, None)["runs"]
    assert [run["state"] for run in before] == ["succeeded", "succeeded"]

    (newest, *_) = runs._known({})  # pyright: ignore[reportPrivateUsage]
    put_summary(storage, newest, RunSummary(counts=StateCounts(failed=1)))
    clock.now_s += 61
    after = runs.listed(0, 50, None)["runs"]
    assert [run["state"] for run in after] == ["failed", "succeeded"]


def test_a_run_that_goes_on_is_listed_once_a_second_however_many_look_at_it(
    s3: servers.S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage("s3://stores/going")
    run = make_run(storage, tmp_path / "scratch", 60)
    write_part(storage, run, "a-000001", outcomes([0, 1]))
    clock = Clock()
    monkeypatch.setattr("scythe_cli.ui.following.Follower.clock", clock)
    store = RunStore(storage)
    asked = Asked(s3)
    opened = store.open(run.experiment_id)
    monkeypatch.setattr(opened.follower, "clock", clock)
    with opened.lock:
        assert opened.views()[1].selection.cases.n == 60
    asked()

    seen = set[int]()

    def look() -> None:
        # a page asks how far the run is, and for its cases where that has changed
        mine = store.open(run.experiment_id)
        counts = mine.status().counts
        assert counts is not None
        seen.add(counts.succeeded)
        with mine.lock:
            mine.views()

    for step in range(100):
        clock.now_s += 0.2
        if step % 5 == 0:
            write_part(storage, run, f"a-{step + 2:06d}", outcomes([2 + step // 5]))
        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 0 < asked()["ListObjectsV2"] <= 20
    # and everything was seen, a few seconds later at most
    assert len(seen) >= 5
    assert max(seen) >= 18
