from __future__ import annotations

import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scythe_cli.core.processes import start_of
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.run import lease as lease_module
from scythe_cli.run.active import read_running
from scythe_cli.run.lease import (
    Lease,
    LeaseRecord,
    abandoned_claims,
    hold_lease,
    read_owner,
)
from scythe_cli.storage.base import Storage
from scythe_cli.storage.local import LocalStorage
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.clocks import shifted
from tests.made_runs import LAYOUT
from tests.served_storage import ServedStorage
from tests.server_clock import let_pass
from tests.waiting import wait_for

KEY = LAYOUT.key(".lease")


@pytest.fixture(params=["local", pytest.param("versitygw", marks=pytest.mark.live)])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    if request.param == "local":
        yield open_storage(tmp_path / "runs")
        return
    with servers.versitygw(tmp_path / "s3") as server:
        server.new_bucket("lease")
        server.use(monkeypatch)
        yield open_storage("s3://lease/p")


def foreign(**changes: Any) -> LeaseRecord:
    """The lease of a process on another machine, fresh unless told otherwise."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "token": uuid4().hex,
        "host": "node-7",
        "machine": "node-7 elsewhere",
        "pid": 4711,
        "process_start": 1.0,
        "since": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "expires": now + timedelta(seconds=60),
    }
    return LeaseRecord(**{**fields, **changes})


def expired() -> LeaseRecord:
    return foreign(expires=datetime.now(UTC) - timedelta(seconds=lease_module.GRACE_S + 1))


def test_held_lease_refuses_others_and_names_its_owner(storage: Storage) -> None:
    with (
        hold_lease(storage, LAYOUT),
        pytest.raises(UsageError, match=rf"another process is working on energy/v1.*process {os.getpid()}, since 20"),
    ):
        Lease(storage, LAYOUT)
    assert not storage.exists(KEY)
    with hold_lease(storage, LAYOUT):
        assert storage.exists(KEY)


def test_lease_of_another_machine_holds_until_it_expires(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(KEY, foreign().to_bytes())
    with pytest.raises(UsageError, match="node-7, process 4711, since 2026-01-02 03:04:05 UTC") as caught:
        Lease(storage, LAYOUT)
    assert "can be taken over at" in (caught.value.hint or "")
    storage.write_bytes(KEY, expired().to_bytes())
    let_pass(monkeypatch, 100)
    with hold_lease(storage, LAYOUT):
        assert LeaseRecord.from_bytes(storage.read_bytes(KEY)) is not None
        assert abandoned_claims(storage, LAYOUT) == []
    assert not storage.exists(KEY)


def test_clocks_may_differ_a_little(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.write_bytes(KEY, foreign(expires=datetime.now(UTC) - timedelta(seconds=5)).to_bytes())
    with pytest.raises(UsageError, match="another process"):
        Lease(storage, LAYOUT)


@pytest.mark.processes
def test_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom scythe_cli.run.lease import Lease\nfrom scythe_cli.storage.opening import open_storage\n"
        "from tests.made_runs import LAYOUT\nLease(open_storage(sys.argv[1]), LAYOUT)\nos.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False, timeout=60)
    assert done.returncode == -9
    storage = open_storage(tmp_path)
    record = LeaseRecord.from_bytes(storage.read_bytes(KEY))
    assert record is not None
    assert record.expires > datetime.now(UTC)
    with hold_lease(storage, LAYOUT):
        pass


def test_process_id_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    with hold_lease(storage, LAYOUT):
        mine = json.loads(storage.read_bytes(KEY))
        parent = os.getppid()
        theirs = {**mine, "token": "theirs", "pid": parent, "process_start": start_of(parent)}
    storage.write_bytes(KEY, json.dumps(theirs).encode())
    with pytest.raises(UsageError, match=rf"another process is working.*process {parent}"):
        Lease(storage, LAYOUT)
    storage.write_bytes(KEY, json.dumps({**theirs, "process_start": theirs["process_start"] - 3600}).encode())
    with hold_lease(storage, LAYOUT):
        pass


def test_lease_that_could_not_be_removed_does_not_bind_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path)
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise StorageError("no")

        patch.setattr(type(storage), "delete", refuse)
        with hold_lease(storage, LAYOUT):
            pass
    assert storage.exists(KEY)
    with hold_lease(storage, LAYOUT):
        pass
    assert not storage.exists(KEY)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"token": "../../x"}', b"null"])
def test_unreadable_lease_has_no_owner(tmp_path: Path, content: bytes) -> None:
    storage = open_storage(tmp_path)
    storage.write_bytes(KEY, content)
    with hold_lease(storage, LAYOUT):
        pass
    assert storage.list_tree(LAYOUT.experiment_id) == []


ABSURD: list[dict[str, Any]] = [
    {"expires": "2099-01-01T00:00:00+00:00"},
    {"expires": "9999-12-31T23:59:59+00:00"},
    {"expires": "0001-01-01T00:00:00+14:00"},
    {"since": "0001-01-01T00:00:00+14:00"},
    {"since": "9999-12-31T23:59:59-14:00"},
    {"pid": 0},
    {"pid": -1},
    {"pid": 10**30},
    {"pid": float("inf")},
    {"process_start": float("nan")},
    {"process_start": float("inf")},
    {"process_start": -1e308},
    {"host": "x" * 1_000_000},
    {"token": "é"},
]


@pytest.mark.parametrize("fields", ABSURD, ids=str)
@pytest.mark.parametrize("here", [True, False], ids=["here", "elsewhere"])
def test_absurd_times_and_numbers_lock_nobody_out(tmp_path: Path, fields: dict[str, Any], here: bool) -> None:
    """A lease that was written long ago holds no longer than any, whatever it says; nor does a claim."""
    storage = open_storage(tmp_path / "runs")
    record = expired() if here else foreign()
    document = json.loads(record.to_bytes()) | ({"machine": lease_module.machine()} if here else {}) | fields
    data = json.dumps(document).encode()
    for key in (KEY, f"{KEY}-{document['token']}-1", f"{KEY}-unreadable-1"):
        storage.write_bytes(key, data)
        path = storage.local_path(key)
        assert path is not None
        long_ago = time.time() - 3600
        os.utime(path, (long_ago, long_ago))
    owner = read_owner(storage, LAYOUT)
    if owner is not None:
        assert "expires" not in fields
        assert len(owner.describe()) < 300
        read_running(owner, LAYOUT.experiment_id)
        with pytest.raises(UsageError, match="another process is working"):
            Lease(storage, LAYOUT)
        return
    with hold_lease(storage, LAYOUT):
        pass


def test_a_fresh_lease_of_a_wrong_clock_holds_until_it_is_not_renewed(storage: Storage) -> None:
    storage.write_bytes(KEY, foreign(expires=datetime(2099, 1, 1, tzinfo=UTC)).to_bytes())
    soon = re.compile(r"It can be taken over at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC if it is dead")
    with pytest.raises(UsageError) as refused:
        Lease(storage, LAYOUT)
    found = soon.search(refused.value.hint or "")
    assert found is not None
    at = datetime.fromisoformat(f"{found[1]}+00:00")
    assert at - datetime.now(UTC) < timedelta(seconds=75)


def test_claims_without_end_are_told(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.write_bytes(KEY, b"")
    for number in range(1, 100):
        storage.write_bytes(f"{KEY}-unreadable-{number}", b"")
    with pytest.raises(StorageError, match=r"99 unused claims(.|\n)*begin with \.lease-"):
        Lease(storage, LAYOUT)


def _take_over_with_a_wrong_clock(location: str, shift_s: float, start: Any, results: Any, all_tried: Any) -> None:
    lease_module.datetime = shifted(timedelta(seconds=shift_s))  # type: ignore[misc]
    storage = open_storage(location)
    start.wait()
    try:
        Lease(storage, LAYOUT)
    except UsageError:
        results.put(False)
    else:
        results.put(True)
        all_tried.wait(60)


@pytest.mark.processes
def test_eight_processes_with_skewed_clocks_take_over_once(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    storage.write_bytes(KEY, expired().to_bytes())
    context = multiprocessing.get_context("fork")
    start, results, all_tried = context.Barrier(8), context.Queue(), context.Event()
    shifts = [-9.0, -6.0, -3.0, 0.0, 0.5, 3.0, 6.0, 9.0]
    processes = [
        context.Process(target=_take_over_with_a_wrong_clock, args=(storage.location, shift, start, results, all_tried))
        for shift in shifts
    ]
    for process in processes:
        process.start()
    assert sum(results.get(timeout=60) for _ in processes) == 1
    all_tried.set()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert LeaseRecord.from_bytes(storage.read_bytes(KEY)) is not None


@pytest.mark.parametrize("abandoned", [True, False])
def test_exactly_one_takes_an_expired_lease_over(
    storage: Storage, abandoned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_pass(monkeypatch, 100)
    old = expired()
    storage.write_bytes(KEY, old.to_bytes())
    if abandoned:
        # somebody died while taking it over
        storage.write_bytes(f"{KEY}-{old.token}-1", expired().to_bytes())
        storage.write_bytes(f"{KEY}-{old.token}-2", b"")
    gate = threading.Barrier(6)

    def one(_: int) -> Lease | None:
        gate.wait()
        try:
            return Lease(storage, LAYOUT)
        except UsageError:
            return None

    with ThreadPoolExecutor(6) as pool:
        leases = [lease for lease in pool.map(one, range(6)) if lease is not None]
    assert len(leases) == 1
    assert leases[0].lost_to is None
    leases[0].release()
    assert not storage.exists(KEY)
    assert abandoned_claims(storage, LAYOUT) == []


def test_lease_is_renewed_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.02)
    storage = open_storage(tmp_path)
    with hold_lease(storage, LAYOUT):
        first = LeaseRecord.from_bytes(storage.read_bytes(KEY))
        assert first is not None

        def is_later() -> bool:
            now = LeaseRecord.from_bytes(storage.read_bytes(KEY))
            return now is not None and now.token == first.token and now.expires > first.expires

        wait_for(is_later, 60.0)
        storage.delete(KEY)  # somebody tidies up
        wait_for(lambda: storage.exists(KEY), 60.0)


def test_owner_that_was_away_finds_out_and_leaves_the_new_lease_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.02)
    storage = open_storage(tmp_path)
    lost = threading.Event()
    lease = Lease(storage, LAYOUT, lost.set)
    lease.check()
    storage.write_bytes(KEY, foreign().to_bytes())
    assert lost.wait(60)
    with pytest.raises(StorageError, match=r"was taken over by another process \(node-7, process 4711"):
        lease.check()
    lease.release()
    assert storage.exists(KEY)


def test_storage_that_fails_for_a_while_does_not_cost_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.02)
    storage = open_storage(tmp_path)
    with hold_lease(storage, LAYOUT) as lease:
        before = storage.read_bytes(KEY)
        with monkeypatch.context() as patch:
            tries: list[str] = []

            def refuse(self: object, key: str, **_: object) -> bytes:
                tries.append(key)
                raise StorageError("no")

            patch.setattr(type(storage), "read_bytes", refuse)
            wait_for(lambda: len(tries) > 2, 60.0)
        wait_for(lambda: storage.read_bytes(KEY) != before, 60.0)
        lease.check()


def stop_clock(monkeypatch: pytest.MonkeyPatch, at: datetime) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return at

    monkeypatch.setattr(lease_module, "datetime", Stopped)


NOW = datetime(2026, 5, 6, 12, 0, 0, tzinfo=UTC)


def test_a_lease_has_run_out_only_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    record = foreign(expires=NOW)
    assert not record.owner_is_gone(NOW + timedelta(seconds=10))
    assert record.owner_is_gone(NOW + timedelta(seconds=10, microseconds=1))


@pytest.mark.parametrize(
    ("expires_s", "age_s", "written_s", "holds_for_s"),
    [
        # two clocks that may both be right: what the lease says
        (60.0, None, -3600.0, 60.0),
        (70.0, None, -3600.0, 70.0),
        (-10.0, None, -3600.0, -10.0),
        (-11.0, None, 0.0, None),
        (60.0, 3600.0, -3600.0, 60.0),
        (5.0, 3600.0, -3600.0, 5.0),
        (-10.0, 0.0, 0.0, -10.0),
        # a time that no owner with such a clock writes: by when it was written
        (71.0, None, -30.0, 30.0),
        (71.0, None, -70.0, -10.0),
        (71.0, None, -71.0, None),
        (3600.0, None, 10.0, 70.0),
        (3600.0, None, 11.0, None),
        # a server that tells the time: by that alone
        (-3600.0, 20.0, -3600.0, 40.0),
        (3600.0, 20.0, -3600.0, 40.0),
        (-11.0, 0.0, -3600.0, 60.0),
        (71.0, 70.0, 0.0, -10.0),
        (71.0, 71.0, 0.0, None),
        (-3600.0, -10.0, 0.0, 70.0),
        # one that says that the lease is of the future does not
        (-3600.0, -11.0, 0.0, None),
        (3600.0, -11.0, 0.0, 60.0),
    ],
)
def test_for_how_long_a_lease_is_believed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expires_s: float,
    age_s: float | None,
    written_s: float,
    holds_for_s: float | None,
) -> None:
    stop_clock(monkeypatch, NOW)
    storage = ServedStorage(tmp_path)
    record = foreign(expires=NOW + timedelta(seconds=expires_s))
    storage.write_bytes(KEY, record.to_bytes())
    os.utime(tmp_path / KEY, ((NOW + timedelta(seconds=written_s)).timestamp(),) * 2)
    if age_s is not None:
        storage.ages_s[KEY] = age_s
    owner = read_owner(storage, LAYOUT)
    if holds_for_s is None:
        assert owner is None
    else:
        assert owner == replace(record, expires=NOW + timedelta(seconds=holds_for_s))


def test_who_is_refused_is_told_by_whom_and_until_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch, NOW)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    storage = open_storage(tmp_path)
    east = timezone(timedelta(hours=2))
    since, expires = datetime(2026, 5, 6, 9, 30, tzinfo=east), datetime(2026, 5, 6, 14, 0, 30, tzinfo=east)
    storage.write_bytes(KEY, foreign(since=since, expires=expires).to_bytes())
    with pytest.raises(UsageError) as refused:
        Lease(storage, LAYOUT)
    monkeypatch.undo()
    time.tzset()
    assert refused.value.message == (
        f"another process is working on {LAYOUT.experiment_id}: node-7, process 4711, since 2026-05-06 07:30:00 UTC"
    )
    assert refused.value.hint == (
        "Wait until it has finished, or stop it. It can be taken over at 2026-05-06 12:00:40 UTC if it is dead."
    )


def test_who_is_about_to_take_an_unreadable_lease_over_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path)
    storage.write_bytes(KEY, b"")
    storage.write_bytes(f"{KEY}-unreadable-1", foreign().to_bytes())
    waited: list[float] = []
    monkeypatch.setattr(lease_module.time, "sleep", waited.append)
    with pytest.raises(UsageError) as refused:
        Lease(storage, LAYOUT)
    assert waited == [0.5] * 3
    assert refused.value.message == f"another process is working on {LAYOUT.experiment_id}: its owner cannot be read"
    assert refused.value.hint == "Wait until it has finished, or stop it."
    assert sorted(storage.list_tree("")) == [KEY, f"{KEY}-unreadable-1"]
    # of one that can be read it is told whose it was
    old = expired()
    storage.write_bytes(KEY, old.to_bytes())
    storage.write_bytes(f"{KEY}-{old.token}-1", foreign().to_bytes())
    with pytest.raises(UsageError, match="node-7, process 4711"):
        Lease(storage, LAYOUT)
    storage.delete(f"{KEY}-{old.token}-1")
    storage.write_bytes(KEY, b"")
    # it has done so, and ended, meanwhile
    monkeypatch.setattr(lease_module.time, "sleep", lambda _: storage.delete_tree(LAYOUT.experiment_id))
    with hold_lease(storage, LAYOUT):
        assert storage.list_tree("") == [KEY]


def test_who_comes_second_removes_no_claim_but_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(tmp_path)
    old, new = expired(), foreign()
    storage.write_bytes(KEY, old.to_bytes())
    storage.write_bytes(f"{KEY}-{old.token}-1", expired().to_bytes())
    create = LocalStorage.create

    def create_late(self: LocalStorage, key: str, data: bytes) -> bool:
        is_made = create(self, key, data)
        if key.endswith("-2"):
            assert is_made
            self.write_bytes(KEY, new.to_bytes())
        return is_made

    monkeypatch.setattr(LocalStorage, "create", create_late)
    with pytest.raises(UsageError, match="node-7, process 4711"):
        Lease(storage, LAYOUT)
    assert LeaseRecord.from_bytes(storage.read_bytes(KEY)) == new
    assert abandoned_claims(storage, LAYOUT) == [f"{KEY}-{old.token}-1"]


def test_a_lease_that_is_given_back_in_this_moment_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(tmp_path)
    storage.write_bytes(KEY, foreign().to_bytes())
    create = LocalStorage.create

    def create_early(self: LocalStorage, key: str, data: bytes) -> bool:
        monkeypatch.setattr(LocalStorage, "create", create)
        is_made = create(self, key, data)
        self.delete(KEY)
        return is_made

    monkeypatch.setattr(LocalStorage, "create", create_early)
    with hold_lease(storage, LAYOUT):
        owner = read_owner(storage, LAYOUT)
        assert owner is not None
        assert owner.pid == os.getpid()


def test_a_lease_whose_answer_was_lost_is_held_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(tmp_path)
    create = LocalStorage.create
    monkeypatch.setattr(LocalStorage, "create", lambda self, key, data: create(self, key, data) and False)
    with hold_lease(storage, LAYOUT):
        assert storage.list_tree("") == [KEY]
    assert storage.list_tree("") == []


def test_before_what_must_not_be_done_twice_the_lease_is_looked_at(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    with hold_lease(storage, LAYOUT) as lease:
        lease.confirm()
        mine = storage.read_bytes(KEY)
        storage.delete(KEY)  # nobody has it
        lease.confirm()
        theirs = foreign()
        storage.write_bytes(KEY, theirs.to_bytes())
        with pytest.raises(StorageError) as lost:
            lease.confirm()
        assert lost.value.message == f"{LAYOUT.experiment_id} was taken over by another process ({theirs.describe()})"
        assert lost.value.hint == "This process did not respond for too long. Its finished cases are kept."
        assert lease.lost_to == theirs
        storage.write_bytes(KEY, mine)


def test_a_lease_that_may_not_be_removed_says_that_nobody_holds_it(tmp_path: Path) -> None:
    storage = ServedStorage(tmp_path)
    storage.refuse_deletes()
    with hold_lease(storage, LAYOUT):
        fields = json.loads(storage.read_bytes(KEY))
    assert json.loads(storage.read_bytes(KEY)) == fields | {"expires": "1970-01-01T00:00:00+00:00"}
    storage.write_bytes(KEY, json.dumps(fields | {"expires": "1970-01-01T00:00:00+00:00", "machine": "m"}).encode())
    assert read_owner(storage, LAYOUT) is None
    with hold_lease(storage, LAYOUT):
        assert read_owner(storage, LAYOUT) is not None


def test_only_claims_of_a_lease_are_abandoned_claims(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    for name in (".lease", ".lease-abc-1", ".leases", "manifest.yml", "final/.lease-abc-2"):
        storage.write_bytes(LAYOUT.key(*name.split("/")), b"")
    assert abandoned_claims(storage, LAYOUT) == [f"{KEY}-abc-1"]


def test_what_a_lease_says_is_read_again_as_it_was() -> None:
    record = foreign(token="t" * 64, pid=2**31 - 1, process_start=-0.5)
    assert LeaseRecord.from_bytes(record.to_bytes()) == record
    long = LeaseRecord.from_bytes(foreign(host="h" * 300).to_bytes())
    assert long is not None
    assert long.host == "h" * 200
    for change in ({"token": "t" * 65}, {"token": "a b"}, {"token": ""}, {"pid": 2**31}, {"pid": 0}):
        assert LeaseRecord.from_bytes(foreign(**change).to_bytes()) is None
    assert LeaseRecord.from_bytes(foreign(pid=1).to_bytes()) is not None
    for change in ({"since": "2026-01-01T00:00:00"}, {"expires": "2026-01-01T00:00:00"}):
        assert LeaseRecord.from_bytes(json.dumps(json.loads(foreign().to_bytes()) | change).encode()) is None


def test_a_lease_says_who_holds_it_and_for_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch, NOW)
    storage = open_storage(tmp_path)
    with hold_lease(storage, LAYOUT):
        owner = read_owner(storage, LAYOUT)
    assert owner is not None
    assert (owner.host, owner.machine, owner.pid) == (socket.gethostname(), lease_module.machine(), os.getpid())
    assert owner.process_start == start_of(os.getpid())
    assert (owner.since, owner.expires) == (NOW, NOW + timedelta(seconds=60))
    assert read_owner(storage, LAYOUT) is None


def test_a_renewal_moves_the_end_and_sees_who_has_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch, NOW)
    storage = open_storage(tmp_path)
    with hold_lease(storage, LAYOUT) as lease:
        mine = read_owner(storage, LAYOUT)
        assert mine is not None
        for seconds in (15, 30):
            stop_clock(monkeypatch, NOW + timedelta(seconds=seconds))
            lease._renew()
            assert read_owner(storage, LAYOUT) == replace(mine, expires=NOW + timedelta(seconds=seconds + 60))
            storage.delete(KEY)  # then it is made again
        lease._renew()
        assert read_owner(storage, LAYOUT) == replace(mine, expires=NOW + timedelta(seconds=90))
        theirs = foreign(expires=NOW + timedelta(seconds=60))
        storage.write_bytes(KEY, theirs.to_bytes())
        lease._renew()
        assert lease.lost_to == theirs
        assert LeaseRecord.from_bytes(storage.read_bytes(KEY)) == theirs
