"""Runs in a store that lists late: what was just written is missing, and what was just deleted is still listed.

The lists of most tests never catch up, so that nothing depends on when somebody looks. `forget` makes this process know
no more of the store than a new one would.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.errors import StorageError
from scythe_cli.run.final.gather import Known, gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import LedgerWriter
from scythe_cli.run.outcomes.part_list import list_parts
from scythe_cli.services.project import open_project
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.made_runs import LAYOUT, make_run, outcomes, write_part
from tests.waiting import wait_for

from .comparing import final_tables, strangers
from .conftest import Inside
from .lagging import Lag
from .proxy import FaultProxy, fault_proxy

pytestmark = pytest.mark.live

NEVER = 1e9


@dataclass
class Late:
    """A store that lists late.

    Attributes:
        proxy: What stands before it.
        buckets: Where the server keeps its buckets: the truth.
        forget: Makes this process forget what it has written.
    """

    proxy: FaultProxy
    buckets: Path
    forget: Callable[[], None]

    @property
    def lag(self) -> Lag:
        assert self.proxy.lag is not None
        return self.proxy.lag


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Late]:
    with (
        servers.versitygw(tmp_path / "s3") as server,
        fault_proxy(server.endpoint_url, share=0.0, seed=random.randrange(2**32)) as proxy,
    ):
        server.new_bucket("late")
        proxy.lag = Lag(NEVER)
        server.use(monkeypatch, at=proxy.endpoint_url)
        monkeypatch.setenv("SCYTHE_STORAGE_URI", "s3://late/runs")

        def forget() -> None:
            monkeypatch.setattr("scythe_cli.storage.s3_client._latest", None)

        yield Late(proxy, tmp_path / "s3" / "buckets" / "late" / "runs", forget)


def write_cases(folder: Path, n: int, name: str = "cases.csv", pause_s: float = 0.0) -> None:
    (folder / name).write_text("x,pause_s\n" + "".join(f"{i},{pause_s}\n" for i in range(n)))


def calls(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "calls").read_text().split()]


def the_run(late: Late, version: str = "v1.0.0") -> tuple[str, Path]:
    (path,) = (late.buckets / "energy" / version).iterdir()
    return f"energy/{version}/{path.name}", path


def test_a_run_and_all_that_is_done_with_it(recorded: Path, inside: Inside, late: Late, tmp_path: Path) -> None:
    write_cases(recorded, 100, pause_s=0.02)  # so that it has several parts
    ran = inside(recorded, "allocate", "cases.csv", "--json")
    assert ran.code == 1, ran.err
    assert ran.json["counts"]["succeeded"] == 99
    name, run = the_run(late)
    assert len(list((run / "outcomes").glob("*.pq"))) > 1
    assert final_tables(run)["scalars"].height == 99
    assert late.lag.n_hidden > 0

    late.forget()
    status = inside(recorded, "status", name, "--json").json
    assert (status["counts"]["succeeded"], status["counts"]["failed"], status["gathered"]) == (99, 1, True)
    assert status["tables"] == ["errors", "scalars", "steps"]
    late.forget()
    assert inside(recorded, "results", "fetch", name, "--dest", str(tmp_path / "dest")).code == 0
    assert pl.read_parquet(tmp_path / "dest" / "scalars.pq").height == 99

    late.forget()
    again = inside(recorded, "retry", name, "--json")
    assert again.json["counts"]["failed"] == 1, again.err
    assert sorted(calls(recorded)) == sorted([*range(100), 96])  # the failed one alone

    late.forget()
    write_cases(recorded, 110, "more.csv", pause_s=0.02)
    grown = inside(recorded, "allocate", "more.csv", "--into", name, "--json")
    assert grown.json["counts"]["succeeded"] == 109, grown.err
    assert sorted(calls(recorded)) == sorted([*range(110), 96])
    assert final_tables(run)["scalars"]["y"].to_list() == [i**2 for i in range(110) if i != 96]
    assert strangers(run) == []


def test_two_allocations_get_two_versions(recorded: Path, inside: Inside, late: Late) -> None:
    write_cases(recorded, 3)
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        late.forget()
        ran = inside(recorded, "allocate", "cases.csv", "--json")
        assert (ran.code, ran.json["version"]) == (0, version), ran.err
    late.forget()
    kept = inside(recorded, "allocate", "cases.csv", "--bump", "keep", "--json")
    assert kept.json["version"] == "v1.0.0"  # all that a list could tell, and nobody else's folder
    assert len({path.parent for path in late.buckets.glob("energy/*/*/manifest.yml")}) == 4


def test_a_run_that_was_cut_off_runs_no_case_again(
    recorded: Path, inside: Inside, late: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cases(recorded, 60, pause_s=0.05)
    with monkeypatch.context() as patch:

        def lose() -> None:
            wait_for(lambda: len(list(late.buckets.glob("energy/*/*/outcomes/*.pq"))) >= 2, 60)
            patch.setattr("scythe_cli.storage.s3_client.PATIENCE_S", 0.2)
            late.proxy.kinds, late.proxy.share = ("503",), 1.0

        thread = threading.Thread(target=lose)
        thread.start()
        assert inside(recorded, "allocate", "cases.csv").code == 4
        thread.join()
    late.proxy.share = 0.0
    name, run = the_run(late)
    kept = pl.concat([pl.read_parquet(part, columns=["sort_index"]) for part in (run / "outcomes").glob("*.pq")])
    before = calls(recorded)

    late.forget()
    ran = inside(recorded, "retry", name)
    assert ran.code == 0, ran.err
    assert not set(calls(recorded)[len(before) :]) & set(kept["sort_index"].to_list())
    assert final_tables(run)["scalars"]["y"].to_list() == [i**2 for i in range(60)]


@pytest.fixture
def made(late: Late, tmp_path: Path) -> tuple[Storage, RunLayout]:
    """A run of four cases, one of which has no outcome, by writers that noted nothing."""
    storage = open_storage("s3://late/runs")
    run = make_run(storage, tmp_path / "scratch", 4)
    write_part(storage, run, "early", outcomes(range(3)))
    late.forget()
    return open_storage("s3://late/runs"), run


def test_a_gather_waits_for_outcomes_that_are_known(made: tuple[Storage, RunLayout], late: Late) -> None:
    storage, run = made
    thread = threading.Timer(1.0, lambda: setattr(late.lag, "lag_s", 0.0))
    thread.start()
    gathered = gather(storage, run, known=Known(n_ended=3))
    thread.join()
    assert gathered.counts == StateCounts(succeeded=3, pending=1)
    assert late.lag.n_hidden > 0


def test_a_gather_asks_for_parts_that_are_known(made: tuple[Storage, RunLayout]) -> None:
    storage, run = made
    assert gather(storage, run, known=Known(parts=["early.pq"])).counts == StateCounts(succeeded=3, pending=1)


@pytest.mark.parametrize(
    ("known", "what"), [(Known(n_ended=3), "3 outcomes were"), (Known(parts=["lost.pq"]), r"part lost\.pq was")]
)
def test_a_gather_refuses_what_stays_away(
    made: tuple[Storage, RunLayout], monkeypatch: pytest.MonkeyPatch, known: Known, what: str
) -> None:
    monkeypatch.setattr("scythe_cli.run.final.gather.LISTS_LAG_S", 0.5)
    storage, run = made
    with pytest.raises(StorageError, match=rf"^{what} written to s3://late/runs/.*, and cannot be found") as error:
        gather(storage, run, known=known)
    assert "No table was made" in str(error.value.hint)
    assert not storage.exists(run.table("scalars"))


def test_what_a_process_has_done_is_in_its_lists(late: Late) -> None:
    storage = open_storage("s3://late/runs")
    for key in ("a/1", "a/2", "b/c/3"):
        storage.write_bytes(key, key.encode())
    assert [file.name for file in storage.list_files("a")] == ["1", "2"]
    assert storage.list_folders("") == ["a", "b"]
    assert storage.list_tree("") == ["a/1", "a/2", "b/c/3"]
    late.lag.lag_s = 0.0
    assert len(storage.list_tree("")) == 3  # the proxy sees now how they are listed
    late.lag.lag_s = NEVER
    storage.write_bytes("a/1", b"another")
    storage.rename("a/2", "a/4")
    assert [(file.name, file.size_bytes) for file in storage.list_files("a")] == [("1", 7), ("4", 3)]
    assert late.lag.n_shown > 0
    storage.delete_tree("a")
    assert storage.list_tree("") == ["b/c/3"]


def test_parts_are_found_behind_those_that_were_set_aside(late: Late) -> None:
    storage, run = open_storage("s3://late/runs"), LAYOUT
    writer = LedgerWriter(storage, run, "local-20260101T000000-0a1b2c3d")
    for row in range(5):
        writer.add(outcomes([row]))
        writer.flush()
    storage.rename(run.outcome_part(f"{writer.prefix}-000001"), f"{run.outcome_part('x')}.damaged")
    storage.delete(run.outcome_part(f"{writer.prefix}-000003"))
    late.forget()
    found = list_parts(open_storage("s3://late/runs"), run)
    assert [part.name[-9:-3] for part in found] == ["000002", "000004", "000005"]
    assert all(part.size_bytes > 0 for part in found)


def test_a_damaged_part_that_is_still_listed_is_set_aside_once(recorded: Path, inside: Inside, late: Late) -> None:
    write_cases(recorded, 10)
    assert inside(recorded, "allocate", "cases.csv").code == 0
    name, run = the_run(late)
    part, *_ = sorted((run / "outcomes").glob("*.pq"))
    late.lag.lag_s = 0.0
    late.forget()
    assert inside(recorded, "status", name).code == 0
    late.lag.lag_s = NEVER
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 1
    open_storage("s3://late/runs").write_bytes(f"{name}/outcomes/{part.name}", bytes(data))
    late.forget()
    ran = inside(recorded, "retry", name, "--json")
    assert ran.code == 0, ran.err
    assert sum("is damaged" in notice for notice in ran.json["notices"]) == 1
    assert final_tables(run)["scalars"].height == 10
    assert strangers(run) == []


def test_status_says_that_outcomes_are_not_listed(
    recorded: Path, inside: Inside, late: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet notes no writers: who looks in this moment is told, and a retry waits before it runs anything again."""
    write_cases(recorded, 10)
    assert inside(recorded, "allocate", "cases.csv").code == 0
    name, run = the_run(late)
    (run / "outcomes" / "writers.json").unlink()
    late.forget()
    status = inside(recorded, "status", name, "--json").json
    assert status["counts"]["pending"] == 10
    assert "does not list the outcomes of 10 cases" in status["notice"]
    late.forget()
    monkeypatch.setattr("scythe_cli.services.runs.retry._LOOK_S", 0.1)
    timer = threading.Timer(1.0, lambda: setattr(late.lag, "lag_s", 0.0))
    timer.start()
    ran = inside(recorded, "retry", name)
    timer.join()
    assert "nothing to run" in ran.err + ran.out
    assert len(calls(recorded)) == 10
    late.lag.lag_s = NEVER
    late.forget()
    monkeypatch.setattr("scythe_cli.services.runs.retry.LISTS_LAG_S", 0.3)
    ran = inside(recorded, "retry", name, "--json")
    assert any("no longer has the outcomes of 10 cases" in notice for notice in ran.json["notices"])
    assert open_project(start=recorded).run(name).status().counts == StateCounts(succeeded=10)
