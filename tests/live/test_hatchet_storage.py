"""Fleets whose runs are kept in an object store, also in one that is not like Amazon's: a run is right, or refused.

The rules of such stores are those of the local engine's tests. By day a run has a few dozen rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from scythe_cli.core import names
from scythe_cli.core.records import StateCounts
from scythe_cli.errors import EngineError, StorageError
from tests.clocks import shifted
from tests.faults.comparing import final_tables, strangers
from tests.faults.conftest import nightly
from tests.faults.lagging import Lag
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.faults.stores import (
    NOT_EXCLUSIVE,
    Expiring,
    is_begin,
    is_complete,
    is_part,
    refuse_deletes,
    spoil,
)
from tests.live.fleet import Allocation, LiveProject
from tests.servers import S3Server, moto, versitygw
from tests.waiting import wait_for

N = 400 if nightly() else 40
HOUR_S = 3600.0
FILE_BYTES = 33 << 20  # it is sent in parts

WITH_FILES = f"""
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float
    weather: FileReference

class Result(ExperimentOutputSpec):
    y: float
    report: FileReference

@ExperimentRegistry.Register(retries=0, execution_timeout="2m")
def simulate(spec: Case, tempdir: Path) -> Result:
    report = tempdir / "report.bin"
    with report.open("wb") as file:
        file.write(f"case {{spec.x:.0f}}".encode())
        file.truncate({FILE_BYTES})
    return Result(y=Path(spec.weather).stat().st_size * spec.x, report=report)
"""


_local_tables: dict[str, dict[str, pl.DataFrame]] = {}
"""By their sampling files: tables of runs on this machine."""


@dataclass
class Odd:
    """A fleet, and a store that is odd as soon as a test makes it so.

    Attributes:
        live: The project.
        proxy: What is before the store.
        server: The store.
        place: Where runs are, in the bucket `runs`.
    """

    live: LiveProject
    proxy: FaultProxy
    server: S3Server
    place: str
    monkeypatch: pytest.MonkeyPatch
    settings: dict[str, object] = field(
        default_factory=lambda: {"max_depth": 1, "factor": 2, "specs_per_task": max(2, N // 20)}
    )

    def expected(self, cases: Path) -> dict[str, pl.DataFrame]:
        """The tables of a run on this machine, in a folder."""
        self.live.configure(**self.settings)
        text = cases.read_text()
        if text not in _local_tables:
            local = self.live.open("local").allocate(cases)
            _local_tables[text] = final_tables(self.live.root / "runs" / local.experiment_id)
            (self.live.root / "calls.txt").unlink(missing_ok=True)
        self.live.configure(storage=f"s3://runs/{self.place}", **self.settings)
        return _local_tables[text]

    def check(self, run_id: str, expected: dict[str, pl.DataFrame], *, but: tuple[str, ...] = ()) -> None:
        """See that a run has these tables, and that its folder has nothing else than a run."""
        run = self.copy_of(run_id)
        found = final_tables(run)
        assert sorted(found) == sorted(expected)
        for name, table in expected.items():
            same = table.drop("traceback", strict=False), found[name].drop("traceback", strict=False)
            assert same[1].drop(but, strict=False).equals(same[0].drop(but, strict=False)), name
        assert strangers(run, engine="hatchet") == []

    def copy_of(self, run_id: str) -> Path:
        """What the store has of a run, in a folder."""
        client = self.server.client()
        folder = self.live.root / "copy"
        for file in client.list_objects_v2(Bucket="runs", Prefix=f"{self.place}/{run_id}/")["Contents"]:
            path = folder / file["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file("runs", file["Key"], str(path))
        client.close()
        return folder / self.place / run_id

    def forget(self) -> None:
        """Let the next command know as little of the store as a new process."""
        self.monkeypatch.setattr("scythe_cli.storage.s3_client._latest", None)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with versitygw(tmp_path_factory.mktemp("s3")) as server:
        server.new_bucket("runs")
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[S3Server]:
    """A server that looks at no signature: headers can be taken away, and it takes any token."""
    with moto() as server:
        server.new_bucket("runs")
        yield server


@pytest.fixture
def odd(
    request: pytest.FixtureRequest, live: LiveProject, gateway: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Odd]:
    server = request.getfixturevalue(request.param) if hasattr(request, "param") else gateway
    with fault_proxy(server.endpoint_url, share=0.0, seed=random.randrange(2**32)) as proxy:
        server.use(monkeypatch, at=proxy.endpoint_url)
        yield Odd(live, proxy, server, uuid4().hex, monkeypatch)


def test_run_in_an_object_store_makes_few_requests(
    live: LiveProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with versitygw(tmp_path / "s3") as server:
        server.use(monkeypatch)
        server.new_bucket("runs")
        live.configure(storage="s3://runs/live", max_depth=1, factor=2, specs_per_task=1)
        live.start_worker("--slots", "2")
        result = live.open().allocate(live.write_cases(80))
        assert result.counts == StateCounts(succeeded=80)
        assert live.open().run().scalars().height == 80
        assert server.access_log is not None
        assert len(server.access_log.read_text().splitlines()) < 120


def test_run_in_a_store_that_lists_late(odd: Odd) -> None:
    """What was written in the last five seconds is missing in lists: in those of the nodes, and of who comes next."""
    live = odd.live
    cases = live.write_cases(N, fails=lambda i: i == 7)
    expected = odd.expected(cases)
    odd.proxy.lag = lag = Lag(5.0)
    live.start_worker("--slots", "2")
    live.start_worker("--slots", "2")
    result = live.open().allocate(cases)
    assert result.counts == StateCounts(succeeded=N - 1, failed=1), result.notices
    odd.check(result.experiment_id, expected)
    assert lag.n_hidden > 0

    # the outcomes are not listed yet, and those of the retry are not either when its tables are made
    odd.forget()
    live.write_module(lambda code: code.replace("if spec.fails:", "if False:"))
    for worker in live.workers:
        worker.kill()
    live.start_worker("--slots", "2")
    again = live.open().retry(result.experiment_id, accept_new_code=True)
    assert again.counts == StateCounts(succeeded=N), again.notices
    assert len(live.calls()) == N + 1
    assert live.open().run(result.experiment_id).scalars().height == N


@pytest.mark.parametrize("odd", ["plain"], indirect=True)
def test_nothing_is_run_in_a_store_that_does_not_create_exclusively(odd: Odd) -> None:
    live = odd.live
    cases = live.write_cases(N, fails=lambda i: i == 7)
    expected = odd.expected(cases)
    live.start_worker("--slots", "2")
    run = live.open().allocate(cases)
    assert run.counts == StateCounts(succeeded=N - 1, failed=1), run.notices
    for kind in NOT_EXCLUSIVE:
        make_odd, what = kind.values
        odd.proxy.rules.clear()
        odd.proxy.without = None
        make_odd(odd.proxy)  # type: ignore[operator]
        for command in (lambda: live.open().allocate(cases), lambda: live.open().retry(run.experiment_id)):
            odd.forget()
            with pytest.raises(StorageError, match=str(what)):
                command()
    # a run that had been queued would have been taken before this one
    odd.proxy.rules.clear()
    odd.proxy.without = None
    again = live.open().retry(run.experiment_id)
    assert again.counts == run.counts
    assert len(live.calls()) == N + 1
    assert len(live.open().runs()) == 1
    odd.check(run.experiment_id, expected, but=("attempt",))


def test_uploads_that_are_cut_off_are_finished(odd: Odd) -> None:
    """Those of input files by the command, and those of output files by workers."""
    live = odd.live
    (live.root / "live_module.py").write_text(WITH_FILES)
    with (live.root / "w.epw").open("wb") as weather:
        weather.truncate(FILE_BYTES)
    n = 8 if nightly() else 3
    cases = live.root / "cases.csv"
    cases.write_text("x,weather\n" + "".join(f"{i},w.epw\n" for i in range(n)))
    odd.settings["specs_per_task"] = 1
    expected = odd.expected(cases)
    live.start_worker("--slots", "2")
    spoiled = [
        spoil(odd.proxy, chosen, fault, times=2)
        for chosen in (is_begin, is_part, is_complete)
        for fault in ("reset", "lost answer", "500")
    ]
    result = live.open().allocate(cases)
    assert result.counts == StateCounts(succeeded=n), result.notices
    assert all(spoiled)
    odd.check(result.experiment_id, expected, but=("weather", "report"))
    reports = (odd.live.root / "copy" / odd.place / result.experiment_id / "results" / "report").iterdir()
    assert sorted((file.stat().st_size, file.read_bytes()[:7].rstrip(b"\0")) for file in reports) == sorted(
        (FILE_BYTES, f"case {i}".encode()) for i in range(n)
    )
    client = odd.server.client()
    assert not client.list_multipart_uploads(Bucket="runs").get("Uploads")
    client.close()


@pytest.mark.parametrize("server_s", [HOUR_S, -HOUR_S])
def test_a_store_whose_clock_is_wrong(odd: Odd, server_s: float) -> None:
    live = odd.live
    cases = live.write_cases(N, fails=lambda i: i == 7)
    expected = odd.expected(cases)
    odd.proxy.clock_s = server_s
    live.start_worker("--slots", "2")
    result = live.open().allocate(cases)
    assert result.counts == StateCounts(succeeded=N - 1, failed=1), result.notices
    odd.check(result.experiment_id, expected)
    words = "behind" if server_s > 0 else "ahead of"
    assert any(f"is 60 minutes {words} that of the S3 server" in notice for notice in result.notices)

    # one that refuses requests for that reason
    spoil(odd.proxy, lambda _: True, "skewed")
    for command in (lambda: live.open().allocate(cases), lambda: live.open().retry(result.experiment_id)):
        with pytest.raises(StorageError, match=f"the clock of this machine is 60 minutes {words}"):
            command()
    assert len(live.calls()) == N


@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S])
def test_a_run_is_cancelled_by_a_machine_whose_clock_is_wrong(
    odd: Odd, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    """What it had begun by then counts; and by a machine whose clock is right, it is finished."""
    live = odd.live
    cases = live.write_cases(N, sleep_s=lambda _: 60.0)
    live.configure(storage=f"s3://runs/{odd.place}", **(odd.settings | {"specs_per_task": 1}))
    live.start_worker("--slots", "2")
    allocation = Allocation(live, cases)
    wait_for(lambda: len(live.calls()) >= 2, 120)
    with monkeypatch.context() as patch:
        patch.setattr(names, "datetime", shifted(timedelta(seconds=off_s)))
        counts = live.open().cancel(grace_s=1.0).counts
    live.hurry()
    allocation.result(120)
    assert counts is not None
    n_begun = len(live.calls())
    assert n_begun <= 4
    assert counts.succeeded + counts.cancelled == N

    again = live.open().retry()
    assert again.counts == StateCounts(succeeded=N), again.notices
    assert len(live.calls()) - n_begun <= N


@dataclass
class OfExpiring:
    """A store whose credentials expire, a worker that uses it, and a file of cases with the tables that they have."""

    store: Expiring
    cases: Path
    expected: dict[str, pl.DataFrame]


@pytest.fixture
def expiring(odd: Odd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OfExpiring:
    cases = odd.live.write_cases(N, fails=lambda i: i == 7, sleep_s=lambda _: 0.1)
    expected = odd.expected(cases)
    store = Expiring(tmp_path, "runs", odd.place, odd.proxy, odd.server, "file")
    store.use(monkeypatch)
    odd.live.start_worker("--slots", "2")
    return OfExpiring(store, cases, expected)


@pytest.mark.parametrize("odd", ["plain"], indirect=True)
def test_credentials_that_are_renewed_in_mid_run(odd: Odd, expiring: OfExpiring) -> None:
    live, cases = odd.live, expiring.cases
    thread = expiring.store.in_mid_run(renewed=True)
    result = live.open().allocate(cases)
    thread.join()
    assert result.counts == StateCounts(succeeded=N - 1, failed=1), result.notices
    assert expiring.store.n_refused > 0
    odd.check(result.experiment_id, expiring.expected)


@pytest.mark.parametrize("odd", ["plain"], indirect=True)
def test_credentials_that_are_not_renewed(odd: Odd, expiring: OfExpiring) -> None:
    live, cases = odd.live, expiring.cases
    thread = expiring.store.in_mid_run(renewed=False)
    # which of the two is told depends on what is asked for first: a HEAD request is answered by a status alone
    expired = (
        r"(the credentials have expired \(ExpiredToken\)|\(400\), as it is when credentials have expired)\. Renew them"
    )
    with pytest.raises(EngineError, match=expired) as told:
        live.open().allocate(cases)
    thread.join()
    assert "scythe retry" in str(told.value.hint)

    expiring.store.write("second")
    (run,) = live.open().runs()
    result = live.open().retry(f"{run.experiment}/{run.version}", force=True)
    assert result.counts == StateCounts(succeeded=N - 1, failed=1), result.notices
    odd.check(result.experiment_id, expiring.expected, but=("attempt",))


def test_a_bucket_that_refuses_deletes(odd: Odd) -> None:
    live = odd.live
    cases = live.write_cases(N, fails=lambda i: i == 7)
    expected = odd.expected(cases)
    odd.proxy.rules.append(refuse_deletes)
    live.start_worker("--slots", "2")
    for number in range(2):
        result = live.open().allocate(cases) if not number else live.open().retry()
        assert result.counts == StateCounts(succeeded=N - 1, failed=1), result.notices
        odd.check(result.experiment_id, expected, but=("attempt",))
        kept = [notice for notice in result.notices if "s3://runs does not let files be deleted" in notice]
        assert len(kept) == 1
    assert odd.proxy.seen["denied"] > 0
