"""Credentials that expire in mid-run: they are read again; without new ones the message says what to do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scythe_cli.errors import StorageError
from scythe_cli.services.project import open_project
from scythe_cli.storage.opening import open_storage
from tests import servers

from .conftest import Inside
from .proxy import fault_proxy
from .stores import Expiring

pytestmark = pytest.mark.live


@pytest.fixture(params=["file", "process"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Expiring]:
    with (
        servers.moto() as server,  # which takes any token
        fault_proxy(server.endpoint_url, share=0.0, seed=random.randrange(2**32)) as proxy,
    ):
        server.new_bucket("expiring")
        prefix = uuid4().hex  # all servers in this process have the same buckets
        monkeypatch.setenv("SCYTHE_STORAGE_URI", f"s3://expiring/{prefix}")
        store = Expiring(tmp_path, "expiring", prefix, proxy, server, request.param)
        store.use(monkeypatch)
        yield store


def write_cases(folder: Path, n: int, name: str = "cases.csv", pause_s: float = 0.0) -> None:
    (folder / name).write_text("x,pause_s\n" + "".join(f"{i},{pause_s}\n" for i in range(n)))


def test_credentials_that_are_renewed_in_mid_run(recorded: Path, inside: Inside, store: Expiring) -> None:
    write_cases(recorded, 60, pause_s=0.05)
    thread = store.in_mid_run(renewed=True)
    ran = inside(recorded, "allocate", "cases.csv")
    thread.join()
    assert ran.code == 0, ran.err
    assert store.n_refused > 0
    assert open_project(start=recorded).run().scalars().height == 60

    # whatever a command does first
    write_cases(recorded, 62, "more.csv")
    token = "second"
    for number, command in enumerate(
        (("status",), ("retry",), ("results", "show"), ("allocate", "more.csv", "--into", "latest"), ("doctor",))
    ):
        store.expired, token = token, f"{number}"
        store.write(token)
        refused = store.n_refused
        ran = inside(recorded, *command)
        assert ran.code == 0, ran.err
        assert store.n_refused > refused


def test_credentials_that_are_not_renewed(recorded: Path, inside: Inside, store: Expiring) -> None:
    write_cases(recorded, 60, pause_s=0.05)
    thread = store.in_mid_run(renewed=False)
    ran = inside(recorded, "allocate", "cases.csv")
    thread.join()
    assert ran.code == 4
    assert "the credentials have expired (ExpiredToken)" in ran.err
    assert "Renew them, for example with `aws sso login`. ~/.aws/credentials is read again in mid-run" in ran.err
    assert "Finished cases are kept: `scythe retry energy/v1.0.0/" in ran.err
    assert store.n_refused < 40

    store.write("second")
    ran = inside(recorded, "retry")
    assert ran.code == 0, ran.err
    assert open_project(start=recorded).run().scalars()["y"].to_list() == [i**2 for i in range(60)]


def test_a_question_that_is_answered_by_a_status_alone(store: Expiring) -> None:
    """To a HEAD request, a server says 400 and no more."""
    storage = open_storage("s3://expiring/x")
    storage.write_bytes("a", b"1")
    store.expired = "first"
    with pytest.raises(StorageError, match=r"the request is refused \(400\), as it is when credentials have expired"):
        storage.exists("a")
    refused = store.n_refused
    assert 2 <= refused <= 4  # once more with what was read again; the client asks for the region as well
    store.write("second")
    assert storage.exists("a")
    assert store.n_refused <= refused + 2


def test_credentials_that_never_were_good_are_not_asked_for_twice(store: Expiring) -> None:
    store.expired = "first"
    storage = open_storage("s3://expiring/x")
    with pytest.raises(StorageError, match=r"the credentials have expired \(ExpiredToken\)"):
        storage.write_bytes("a", b"1")
    assert store.n_refused == 1
