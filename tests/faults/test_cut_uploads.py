"""Large files whose upload in parts is cut off: the object is whole or absent, and no upload is left for ever."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.errors import StorageError
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.projects import make_project

from .comparing import strangers
from .conftest import CONFIG, Inside
from .proxy import FaultProxy, Request, fault_proxy
from .stores import is_begin, is_complete, is_part, spoil

pytestmark = pytest.mark.live

MEGABYTE = 1 << 20


class Cut:
    """A proxy before a server, with what the server has."""

    def __init__(self, proxy: FaultProxy, server: servers.S3Server) -> None:
        self.proxy = proxy
        self._client = server.client()

    def close(self) -> None:
        self._client.close()

    def uploads(self) -> list[str]:
        return [upload["Key"] for upload in self._client.list_multipart_uploads(Bucket="cut").get("Uploads", [])]

    def begin(self, key: str) -> None:
        """What a process does that is killed in the middle."""
        upload: Any = self._client.create_multipart_upload(Bucket="cut", Key=key)["UploadId"]
        self._client.upload_part(Bucket="cut", Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 5 * MEGABYTE)


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cut]:
    with (
        servers.versitygw(tmp_path / "s3") as server,
        fault_proxy(server.endpoint_url, share=0.0, seed=random.randrange(2**32)) as proxy,
    ):
        server.new_bucket("cut")
        server.use(monkeypatch, at=proxy.endpoint_url)
        monkeypatch.setattr("scythe_cli.storage.s3.SINGLE_PUT_BYTES", MEGABYTE)
        monkeypatch.setattr("scythe_cli.storage.s3_writing.PART_BYTES", 5 * MEGABYTE)
        found = Cut(proxy, server)
        yield found
        found.close()


@pytest.fixture
def storage(cut: Cut) -> Storage:
    return open_storage("s3://cut/runs")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(21 * MEGABYTE + 17))
    return path


@pytest.mark.parametrize("chosen", [is_begin, is_part, is_complete])
@pytest.mark.parametrize("fault", ["reset", "lost answer", "cut answer", "500", "503"])
def test_an_upload_that_is_cut_off_is_finished(
    cut: Cut, storage: Storage, source: Path, chosen: Callable[[Request], bool], fault: str
) -> None:
    seen = spoil(cut.proxy, chosen, fault, times=2)
    storage.put_file(source, "large")
    assert seen
    assert storage.read_bytes("large") == source.read_bytes()
    assert cut.uploads() == []


@pytest.mark.parametrize("chosen", [is_begin, is_part, is_complete])
def test_an_upload_that_cannot_be_finished_leaves_nothing(
    cut: Cut, storage: Storage, source: Path, monkeypatch: pytest.MonkeyPatch, chosen: Callable[[Request], bool]
) -> None:
    monkeypatch.setattr("scythe_cli.storage.s3_client.PATIENCE_S", 1.0)
    storage.write_bytes("large", b"before")
    seen = spoil(cut.proxy, chosen, "500")
    with pytest.raises(StorageError, match="cannot write s3://cut/runs/large: the server keeps answering"):
        storage.put_file(source, "large")
    assert 1 < len(seen) < 20
    assert storage.read_bytes("large") == b"before"
    assert cut.uploads() == []


def test_a_completion_of_which_no_answer_ever_comes_is_not_taken_for_a_failure_of_the_file(
    cut: Cut, storage: Storage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends with an error, and what is there is the whole file."""
    monkeypatch.setattr("scythe_cli.storage.s3_client.PATIENCE_S", 1.0)
    spoil(cut.proxy, lambda request: is_complete(request) or request.method == "HEAD", "lost answer")
    with pytest.raises(StorageError, match="cannot"):
        storage.put_file(source, "large")
    cut.proxy.rules.clear()
    assert storage.read_bytes("large") == source.read_bytes()
    assert cut.uploads() == []


def test_an_upload_that_somebody_has_ended_is_begun_once_more(cut: Cut, storage: Storage, source: Path) -> None:
    begun: list[Request] = []

    def rule(request: Request) -> str | None:
        if is_begin(request):
            begun.append(request)
        return "no upload" if is_complete(request) and len(begun) == 1 else None

    cut.proxy.rules.append(rule)
    lost = spoil(cut.proxy, is_complete, "reset", times=1)
    cut.proxy.rules.reverse()  # first no answer, and then the server knows nothing of it
    storage.put_file(source, "large")
    assert (len(begun), len(lost)) == (2, 1)
    assert storage.read_bytes("large") == source.read_bytes()
    assert cut.uploads() == []


def test_uploads_of_killed_processes_are_ended_with_the_run(cut: Cut, tmp_path: Path, inside: Inside) -> None:
    folder = make_project(tmp_path / "p", config=CONFIG)
    (folder / "weather.epw").write_bytes(b"sunny" * 3 * MEGABYTE)
    (folder / "cases.csv").write_text("area,mode,weather\n1,well,weather.epw\n2,raise,weather.epw\n")
    spoil(cut.proxy, is_part, "reset", times=2)
    assert inside(folder, "allocate", "cases.csv", "--storage", "s3://cut/runs").code == 1
    (run,) = (tmp_path / "s3" / "buckets" / "cut" / "runs").glob("energy/*/*")
    (artifact,) = (path for path in (run / "artifacts").rglob("*") if path.is_file())
    assert artifact.read_bytes() == (folder / "weather.epw").read_bytes()

    name = f"runs/energy/v1.0.0/{run.name}"
    cut.begin(f"{name}/results/report/0.txt")
    cut.begin("runs/energy/elsewhere.txt")
    assert inside(folder, "retry", "--storage", "s3://cut/runs").code == 1
    assert cut.uploads() == ["runs/energy/elsewhere.txt"]
    assert [file for file in strangers(run) if ".sgwtmp" not in file] == []
    cut.begin(f"{name}/results/report/0.txt")
    assert inside(folder, "runs", "prune", "--keep", "0", "--storage", "s3://cut/runs", "--yes").code == 0
    assert cut.uploads() == ["runs/energy/elsewhere.txt"]
