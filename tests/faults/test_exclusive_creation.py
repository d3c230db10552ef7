"""Stores that ignore `If-None-Match`, cannot do it, or have it the wrong way round: no run begins on them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scythe_cli.errors import StorageError
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.commands import Ran

from .conftest import Inside
from .proxy import FaultProxy, Request, fault_proxy
from .stores import NOT_EXCLUSIVE, ignore

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def plain() -> Iterator[servers.S3Server]:
    """A server that looks at no signature, so that headers can be taken away."""
    with servers.moto() as server:
        server.new_bucket("plain")
        yield server


@pytest.fixture
def proxy(plain: servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(plain.endpoint_url, share=0.0, seed=random.randrange(2**32)) as proxy:
        plain.use(monkeypatch, at=proxy.endpoint_url)
        monkeypatch.setenv("SCYTHE_STORAGE_URI", f"s3://plain/{uuid4().hex}")
        yield proxy


@pytest.fixture
def allocate(recorded: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    (recorded / "cases.csv").write_text("x\n1\n2\n96\n")

    def run(*arguments: str) -> Ran:
        # a new process has seen no store
        monkeypatch.setattr("scythe_cli.storage.s3_client._latest", None)
        return inside(recorded, *(arguments or ("allocate", "cases.csv")))

    return run


def contents(plain: servers.S3Server) -> dict[str, bytes]:
    client = plain.client()
    try:
        names = [file["Key"] for file in client.list_objects_v2(Bucket="plain").get("Contents", [])]
        return {name: client.get_object(Bucket="plain", Key=name)["Body"].read() for name in names}
    finally:
        client.close()


@pytest.mark.parametrize(("spoil", "what"), NOT_EXCLUSIVE)
def test_nothing_is_run_or_changed(
    allocate: Callable[..., Ran],
    proxy: FaultProxy,
    plain: servers.S3Server,
    recorded: Path,
    spoil: Callable[[FaultProxy], None],
    what: str,
) -> None:
    before = contents(plain)
    spoil(proxy)
    ran = allocate()
    assert ran.code == 4
    assert f"the server does not create exclusively (it {what})" in ran.err
    assert "hint: Use an S3 server that honours If-None-Match, or a local folder." in ran.err
    assert contents(plain) == before

    # the same for a run that was made before
    proxy.rules.clear()
    proxy.without = None
    assert allocate().code == 1
    before, n_calls = contents(plain), len((recorded / "calls").read_text())
    spoil(proxy)
    (recorded / "more.csv").write_text("x\n1\n2\n96\n5\n")
    for command in (("retry",), ("allocate", "more.csv", "--into", "latest"), ("allocate", "more.csv")):
        ran = allocate(*command)
        assert ran.code == 4
        assert f"(it {what})" in ran.err
    assert contents(plain) == before
    assert len((recorded / "calls").read_text()) == n_calls
    assert allocate("status").code in (0, 1)  # what only reads needs no exclusive creation
    assert f"(it {what})" in allocate("doctor").out


def test_what_is_there_is_not_replaced(proxy: FaultProxy) -> None:
    """Also not by the first creation of a process, which does not know the store."""
    ignore(proxy)
    storage = open_storage(f"s3://plain/{uuid4().hex}")
    storage.write_bytes("a", b"mine")
    assert not storage.create("a", b"yours")
    assert storage.read_bytes("a") == b"mine"
    with pytest.raises(StorageError, match="has taken a new file twice"):
        storage.create("b", b"yours")
    assert storage.list_tree("") == ["a"]


def test_a_store_is_tried_out_once_by_a_process(proxy: FaultProxy) -> None:
    storage = open_storage(f"s3://plain/{uuid4().hex}")
    assert storage.create("a", b"1")
    n = sum(proxy.seen.values())
    assert n == 3  # whether there is one, one, and another
    assert open_storage(f"{storage.location}/below").create("b", b"2")
    assert sum(proxy.seen.values()) == n + 1
    assert storage.read_bytes("below/b") == b"2"


def test_what_is_removed_in_the_very_moment_is_no_fault(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may remove what was just made, before it is sent once more."""
    storage = open_storage(f"s3://plain/{uuid4().hex}")
    seen: list[str] = []

    def rule(request: Request) -> str | None:
        if "if-none-match" in request.headers:
            seen.append(request.key)
        # the second request comes to a store in which there is nothing any more
        return "without" if len(seen) == 2 and seen[1].endswith("/a") else None

    proxy.rules.append(rule)
    assert storage.create("a", b"1")
    assert len(seen) == 4
    assert storage.list_tree("") == ["a"]
    assert not storage.create("a", b"2")
