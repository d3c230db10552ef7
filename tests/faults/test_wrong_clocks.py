"""Clocks that differ by an hour: that of this machine, of the one that holds a lease, and of the S3 server."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scythe_cli.errors import StorageError, UsageError
from scythe_cli.run import lease as lease_module
from scythe_cli.run import versions as versions_module
from scythe_cli.run.lease import LEASE_S, LeaseRecord, hold_lease, read_owner
from scythe_cli.run.versions import claim_run
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.clocks import shifted
from tests.made_runs import LAYOUT
from tests.server_clock import let_pass

from .comparing import final_tables
from .conftest import Inside
from .proxy import FaultProxy, fault_proxy

pytestmark = pytest.mark.live

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    with servers.versitygw(tmp_path_factory.mktemp("s3")) as server:
        server.new_bucket("clocks")
        yield server


@pytest.fixture
def proxy(server: servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(server.endpoint_url, share=0.0, seed=random.randrange(2**32)) as proxy:
        server.use(monkeypatch, at=proxy.endpoint_url)
        yield proxy


@pytest.fixture
def storage(proxy: FaultProxy) -> Storage:
    del proxy
    return open_storage(f"s3://clocks/{uuid4().hex}")


def shift(monkeypatch: pytest.MonkeyPatch, module: Any, shift_s: float) -> None:
    """Let a module see another time."""
    monkeypatch.setattr(module, "datetime", shifted(timedelta(seconds=shift_s)))


def leased(owner_s: float, age_s: float) -> bytes:
    """A lease that a process on another machine, whose clock is wrong, has renewed some time ago."""
    renewed = datetime.now(UTC) + timedelta(seconds=owner_s - age_s)
    return LeaseRecord(
        token=uuid4().hex,
        host="node-7",
        machine="node-7 elsewhere",
        pid=4711,
        process_start=1.0,
        since=renewed,
        expires=renewed + timedelta(seconds=LEASE_S),
    ).to_bytes()


OFF_S = (0.0, HOUR_S, -HOUR_S)
# the server's is wrong, or others are in any way
CLOCKS = [(owner_s, own_s, 0.0) for owner_s in OFF_S for own_s in OFF_S]
CLOCKS += [(off_s, off_s, server_s) for off_s in OFF_S for server_s in OFF_S if server_s]


@pytest.mark.parametrize(("owner_s", "own_s", "server_s"), CLOCKS)
def test_a_lease_is_held_while_its_owner_lives(
    storage: Storage, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, owner_s: float, own_s: float, server_s: float
) -> None:
    proxy.clock_s = server_s
    shift(monkeypatch, lease_module, own_s)
    key = LAYOUT.key(".lease")
    storage.write_bytes(key, leased(owner_s, age_s=5))
    with pytest.raises(UsageError, match=r"another process is working on .*: node-7, process 4711"):
        lease_module.Lease(storage, LAYOUT)
    assert read_owner(storage, LAYOUT) is not None

    if server_s <= 0:  # by a server that is ahead, it is older still
        let_pass(monkeypatch, 100 - server_s)
    storage.write_bytes(key, leased(owner_s, age_s=100))
    assert read_owner(storage, LAYOUT) is None
    with hold_lease(storage, LAYOUT):
        pass


@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S])
def test_a_claim_is_held_while_its_owner_lives(storage: Storage, monkeypatch: pytest.MonkeyPatch, off_s: float) -> None:
    held_since = (datetime.now(UTC) + timedelta(seconds=off_s)).isoformat()
    owner = {"held_since": held_since, "machine": "node-7 elsewhere", "pid": 4711, "process_start": 1.0}
    storage.write_bytes("energy/.v1.0.0.claim", json.dumps(owner).encode())
    assert str(claim_run(storage, "energy", "minor", lambda run: b"").version) == "v1.1.0"
    other = open_storage(f"{storage.location}/other")
    other.write_bytes("energy/.v1.0.0.claim", json.dumps(owner).encode())
    let_pass(monkeypatch, 700)
    assert str(claim_run(other, "energy", "minor", lambda run: b"").version) == "v1.0.0"
    shift(monkeypatch, versions_module, off_s)
    third = open_storage(f"{storage.location}/third")
    assert str(claim_run(third, "energy", "minor", lambda run: b"").version) == "v1.0.0"


@pytest.mark.parametrize(
    ("server_s", "words"), [(HOUR_S, "60 minutes behind"), (-HOUR_S, "60 minutes ahead of"), (0.0, None)]
)
def test_a_server_that_refuses_says_whose_clock_is_wrong(
    recorded: Path, inside: Inside, proxy: FaultProxy, server_s: float, words: str | None
) -> None:
    proxy.clock_s = server_s
    proxy.rules.append(lambda request: "skewed")
    (recorded / "cases.csv").write_text("x\n1\n2\n")
    for command in (("allocate", "cases.csv"), ("status",), ("retry",)):
        ran = inside(recorded, *command, "--storage", f"s3://clocks/{uuid4().hex}")
        assert ran.code == 4
        said = f"the clock of this machine is {words} that of the S3 server" if words else "or that of the server"
        assert said in ran.err
        assert "hint: Set the clock, for example with NTP." in ran.err
    assert not (recorded / "calls").exists()


@pytest.mark.parametrize(
    ("server_s", "words"), [(HOUR_S, "60 minutes behind"), (-HOUR_S, "60 minutes ahead of"), (0.0, "access is denied")]
)
def test_a_question_that_is_refused_by_a_status_alone(
    storage: Storage, proxy: FaultProxy, server_s: float, words: str
) -> None:
    """To a HEAD request, a server says 403 and the time."""
    proxy.clock_s = server_s
    proxy.rules.append(lambda request: "skewed")
    with pytest.raises(StorageError, match=words):
        storage.exists("a")


@pytest.mark.parametrize(("server_s", "words"), [(HOUR_S, "behind"), (-HOUR_S, "ahead of"), (0.0, None)])
def test_a_server_that_does_not_refuse(
    recorded: Path,
    inside: Inside,
    proxy: FaultProxy,
    server: servers.S3Server,
    monkeypatch: pytest.MonkeyPatch,
    server_s: float,
    words: str | None,
) -> None:
    """The run is right, and the clock is named."""
    proxy.clock_s = server_s
    place = uuid4().hex
    monkeypatch.setenv("SCYTHE_STORAGE_URI", f"s3://clocks/{place}")
    (recorded / "cases.csv").write_text("x\n1\n2\n")
    (recorded / "more.csv").write_text("x\n1\n2\n3\n")
    for command in (("allocate", "cases.csv"), ("retry",), ("allocate", "more.csv", "--into", "latest")):
        ran = inside(recorded, *command, "--json")
        assert ran.code == 0, ran.err
        said = [notice for notice in ran.json["notices"] if "the clock of this machine" in notice]
        assert len(said) == bool(words)
        assert all(f"is 60 minutes {words} that of the S3 server" in notice for notice in said)
    status = inside(recorded, "status", "--json").json
    assert (status["counts"]["succeeded"], status["gathered"], status["notice"]) == (3, True, None)
    assert server.root is not None
    (run,) = (server.root / "clocks" / place).glob("energy/*/*")
    assert final_tables(run)["scalars"]["y"].to_list() == [1.0, 4.0, 9.0]
    assert ("the clock of this machine" in inside(recorded, "doctor").out) == bool(words)
