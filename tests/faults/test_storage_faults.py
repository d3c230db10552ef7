"""Runs on a storage that fails now and then, and on one that is full."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.services.project import open_project
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.projects import make_project

from .comparing import final_tables, strangers
from .conftest import CONFIG, Inside, nightly, rounds, told_seed
from .proxy import FAULTS, FaultProxy, fault_proxy

ROUNDS = rounds(20)


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultProxy, servers.S3Server]]:
    seed = told_seed()
    with servers.versitygw(tmp_path / "s3") as server, fault_proxy(server.endpoint_url, share=0.05, seed=seed) as proxy:
        server.new_bucket("faulty")
        server.use(monkeypatch, at=proxy.endpoint_url)
        yield proxy, server


@pytest.mark.live
@pytest.mark.nightly
def test_runs_are_complete_on_a_storage_that_fails_now_and_then(
    tmp_path: Path, inside: Inside, proxy: tuple[FaultProxy, servers.S3Server]
) -> None:
    folder = make_project(tmp_path / "p", config=CONFIG)
    (folder / "weather.epw").write_text("sunny")
    (folder / "cases.csv").write_text(
        "area,mode,weather\n" + "".join(f"{i},{('well', 'report', 'raise')[i % 3]},weather.epw\n" for i in range(60))
    )
    assert inside(folder, "allocate", "cases.csv").code == 1
    expected = final_tables(next((folder / "runs").glob("energy/*/*")))
    files = expected.pop("result_file_refs")["report"].is_not_null().to_list()

    for number in range(ROUNDS):
        ran = inside(folder, "allocate", "cases.csv", "--storage", f"s3://faulty/{number}", "--json")

        assert ran.code == 1, ran.err
        (run,) = (tmp_path / "s3" / "buckets" / "faulty" / str(number)).glob("energy/v1.0.0/*")
        found = final_tables(run)
        assert found.pop("result_file_refs")["report"].is_not_null().to_list() == files
        for name, table in expected.items():
            columns = [name for name in table.columns if name != "weather"]
            assert found[name].select(columns).equals(table.select(columns)), name
        assert sorted(path.read_text() for path in (run / "results" / "report").iterdir()) == sorted(
            f"area {i:.1f}" for i in range(60) if i % 3 == 1
        )
        assert strangers(run) == []
    print(dict(proxy[0].seen))
    assert sum(n for fault, n in proxy[0].seen.items() if fault) > 0


SLOW = """
import os, time
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: int

class Answer(ExperimentOutputSpec):
    y: int

@ExperimentRegistry.Register()
def simulate(spec: Case) -> Answer:
    time.sleep(float(os.environ["PAUSE_S"]))
    return Answer(y=spec.x**2)
"""


@pytest.mark.live
@pytest.mark.parametrize("kind", ["503", "reset", "hang"] if nightly() else ["503"])
def test_run_that_lost_its_storage_goes_on_when_it_is_back(
    tmp_path: Path,
    inside: Inside,
    proxy: tuple[FaultProxy, servers.S3Server],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """The storage is away from the middle of the run on, for longer than it is waited for."""
    faults, _ = proxy
    faults.share, faults.kinds = 0.0, (kind,)
    folder = make_project(tmp_path / "p", code=SLOW, config=CONFIG)
    (folder / "cases.csv").write_text("x\n" + "".join(f"{i}\n" for i in range(40)))
    bucket = tmp_path / "s3" / "buckets" / "faulty" / "lost"

    monkeypatch.setenv("PAUSE_S", "0.1")
    with monkeypatch.context() as patch:

        def lose() -> None:
            until = time.monotonic() + 60
            while not list(bucket.glob("energy/*/*/outcomes/*.pq")) and time.monotonic() < until:
                time.sleep(0.02)
            # not before: a busy machine may take its time as well
            patch.setattr("scythe_cli.storage.s3_client.PATIENCE_S", 0.2)
            patch.setattr("scythe_cli.storage.s3_client.READ_TIMEOUT_S", 1.0)
            faults.share = 1.0

        thread = threading.Thread(target=lose)
        thread.start()
        ran = inside(folder, "allocate", "cases.csv", "--storage", "s3://faulty/lost")
        thread.join()
    assert ran.code == 4
    run = next(bucket.glob("energy/v1.0.0/*"))
    what = {"503": "the server keeps answering SlowDown", "reset": "cannot be reached", "hang": "connection was lost"}
    assert what[kind] in ran.err
    assert f"Finished cases are kept: `scythe retry energy/v1.0.0/{run.name} --storage s3://" in ran.err
    assert "` resumes it." in ran.err

    faults.share = 0.0
    monkeypatch.setenv("PAUSE_S", "0")
    status = open_project(start=folder, storage="s3://faulty/lost").run().status()
    assert status.counts is not None
    assert 0 < status.counts.succeeded < 40
    assert status.counts.succeeded + status.counts.pending == 40
    assert inside(folder, "retry", "--storage", "s3://faulty/lost").code == 0
    assert final_tables(run)["scalars"]["y"].to_list() == [i**2 for i in range(40)]
    assert strangers(run) == []


@pytest.mark.live
@pytest.mark.parametrize("kind", FAULTS if nightly() else ["lost answer"])
def test_what_was_created_is_known_as_one_s_own(proxy: tuple[FaultProxy, servers.S3Server], kind: str) -> None:
    """Whatever became of the answer: else an allocation would take its own folder for that of another."""
    faults, _ = proxy
    faults.kinds, faults.share = (kind,), 0.4
    storage = open_storage("s3://faulty/created")
    assert all(storage.create(f"{kind}-{i}", b"same") for i in range(6))
    assert not any(storage.create(f"{kind}-{i}", b"same") for i in range(6))


@pytest.mark.live
def test_server_that_never_answers_is_given_up_and_asked_again(
    proxy: tuple[FaultProxy, servers.S3Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before it asks for the body of a request, for which the client itself would wait for ever."""
    monkeypatch.setattr("scythe_cli.storage.s3_client.READ_TIMEOUT_S", 1.0)
    faults, _ = proxy
    storage = open_storage("s3://faulty/hung")
    faults.share = 0.0
    storage.write_bytes("before", b"1")
    faults.kinds, faults.share = ("hang",), 1.0
    timer = threading.Timer(1.5, lambda: setattr(faults, "share", 0.0))
    timer.start()
    assert storage.create("key", b"x" * 10_000)
    timer.join()
    assert faults.seen["hang"] > 0
    assert storage.read_bytes("key") == b"x" * 10_000
    assert not storage.create("key", b"y")


N_BULKY = 400
BULKY = """
import random, time
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: int

class Answer(ExperimentOutputSpec):
    noise: str

@ExperimentRegistry.Register()
def simulate(spec: Case) -> Answer:
    time.sleep(0.003)
    return Answer(noise=random.Random(spec.x).randbytes(4_000).hex())
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be made by root, where mounting is allowed")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_disk_that_is_full_in_mid_run(tmp_path: Path, small_disk: Path, inside: Inside) -> None:
    folder = make_project(tmp_path / "p", code=BULKY, config=CONFIG)
    pl.DataFrame({"x": range(N_BULKY)}).write_csv(folder / "cases.csv")
    runs = str(small_disk / "runs")

    ran = inside(folder, "allocate", "cases.csv", "--storage", runs)

    assert ran.code == 4
    assert "no space is left on the device" in ran.err
    assert "hint: Free some space" in ran.err
    assert "Finished cases are kept: `scythe retry energy/v1.0.0/" in ran.err
    run = next((small_disk / "runs").glob("energy/*/*"))
    assert not [file for file in strangers(run) if file != ".lease"]
    if nightly():
        again = inside(folder, "retry", "--storage", runs)
        assert again.code == 4
        assert "no space is left" in again.err

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    retried = inside(folder, "retry", "--storage", runs)
    assert retried.code == 0, retried.err
    scalars = final_tables(run)["scalars"]
    assert scalars["sort_index"].to_list() == list(range(N_BULKY))
    assert scalars["noise"].to_list() == [random.Random(i).randbytes(4_000).hex() for i in range(N_BULKY)]
    assert strangers(run) == []
