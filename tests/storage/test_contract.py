"""What every storage must do; run against a local folder, a real S3 server, and moto."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scythe_cli.engines.hatchet.nodes.worker import warm_up
from scythe_cli.errors import ConfigError, StorageError
from scythe_cli.storage import s3_client
from scythe_cli.storage.base import MissingKeyError, Storage
from scythe_cli.storage.opening import open_storage
from scythe_cli.storage.s3_client import client_of_process
from scythe_cli.testing.storages import StorageContract, race
from tests import servers

BUCKET = "contract"


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    with servers.versitygw(tmp_path_factory.mktemp("versitygw")) as server:
        server.new_bucket(BUCKET)
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[servers.S3Server]:
    with servers.moto() as server:
        server.new_bucket(BUCKET)
        yield server


@pytest.fixture(params=["local", pytest.param("versitygw", marks=pytest.mark.live), "moto"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if request.param == "local":
        return open_storage(tmp_path / "ru ns")
    server: servers.S3Server = request.getfixturevalue("real_server" if request.param == "versitygw" else "moto_server")
    server.use(monkeypatch)
    return open_storage(f"s3://{BUCKET}/pre fix/{uuid4().hex}")


class TestContract(StorageContract):
    """Each of ours."""

    @pytest.fixture(autouse=True)
    def _say_which(self, request: pytest.FixtureRequest) -> None:
        self.kind = request.node.callspec.params["storage"]

    def write_many(self, storage: Storage, keys: list[str]) -> None:
        """Without a request for each where the server is in this process."""
        if self.kind != "moto":
            super().write_many(storage, keys)
            return
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for key in keys:
            backend.put_object(BUCKET, storage.uri(key).removeprefix(f"s3://{BUCKET}/"), b"")


class TestLocal:
    def test_nothing_is_made_before_the_first_write(self, tmp_path: Path) -> None:
        storage = open_storage("runs", base=tmp_path)
        assert storage.location == str(tmp_path / "runs")
        assert storage.list_folders("") == []
        assert not storage.exists("a")
        assert list(tmp_path.iterdir()) == []
        storage.write_bytes("a", b"")
        assert (tmp_path / "runs" / "a").exists()

    def test_relative_to_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert open_storage("a/../b").location == str(tmp_path / "b")
        assert open_storage(Path("a")).location == str(tmp_path / "a")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert open_storage("~/x", base=Path("/elsewhere")).location == str(tmp_path / "x")

    @pytest.mark.parametrize("step", ["fsync", "replace", "link"])
    def test_a_failure_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        storage = open_storage(tmp_path / "runs")
        storage.write_bytes("a", b"old")

        def full(*args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (os, "replace"), "link": (os, "link")}[step], full)
        if step != "link":
            with pytest.raises(StorageError, match=r"cannot write .*no space is left") as error:
                storage.write_bytes("a", b"new")
            assert error.value.hint
            with pytest.raises(StorageError, match="no space is left"):
                storage.put_file(tmp_path / "runs" / "a", "b")
        if step != "replace":
            with pytest.raises(StorageError, match="no space is left"):
                storage.create("c", b"")
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]
        assert storage.read_bytes("a") == b"old"

    def test_create_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unsupported(*args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

        monkeypatch.setattr(os, "link", unsupported)
        storage = open_storage(tmp_path)
        assert sum(race(lambda i: storage.create("a", b"%d" % i))) == 1
        assert not storage.create("a", b"x")
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_unfinished_files_are_not_listed(self, tmp_path: Path) -> None:
        storage = open_storage(tmp_path)
        (tmp_path / ".scythe-tmp-1").write_bytes(b"")
        (tmp_path / ".hidden").write_bytes(b"")
        assert storage.list_tree("") == [".hidden"]
        assert [file.name for file in storage.list_files("")] == [".hidden"]

    @pytest.mark.parametrize(
        "call",
        [
            lambda s: s.write_bytes("a", b""),
            lambda s: s.create("a", b""),
            lambda s: s.read_bytes("a"),
            lambda s: s.exists("a"),
            lambda s: s.size("a"),
            lambda s: s.list_folders(""),
            lambda s: s.list_files("x"),
            lambda s: s.list_tree(""),
            lambda s: s.delete("a"),
            lambda s: s.delete_tree("a"),
        ],
    )
    def test_a_root_that_is_a_file(self, tmp_path: Path, call: Callable[[Storage], object]) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError, match="not a directory"):
            call(open_storage(tmp_path / "file"))

    def test_check_of_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        (check,) = open_storage(tmp_path / "file" / "runs").check()
        assert (check.name, check.ok) == ("write", False)
        assert "not a directory" in check.detail

    @pytest.mark.parametrize(
        ("code", "message"),
        [(errno.EACCES, "permission denied"), (errno.EROFS, "read-only"), (errno.EIO, os.strerror(errno.EIO))],
    )
    def test_what_the_system_refuses(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
    ) -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(code, os.strerror(code))

        storage = open_storage(tmp_path / "runs")
        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(StorageError, match=f"cannot write .*/runs/a: .*{message}"):
            storage.write_bytes("a", b"")
        with pytest.raises(StorageError, match=message):
            storage.create("a", b"")

    def test_modes_follow_the_umask(self, tmp_path: Path) -> None:
        old = os.umask(0o027)
        try:
            open_storage(tmp_path).write_bytes("a", b"")
        finally:
            os.umask(old)
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640

    @pytest.mark.parametrize(
        ("location", "message"),
        [
            ("http://host/x", "web"),
            ("gs://bucket/x", "gs://"),
            ("file:///x", "file://"),
            ("s3://", "no bucket"),
            ("s3:///x", "no bucket"),
            ("s3:/bucket/x", "slash"),
            ("s3://bucket/a/../b", "prefix"),
            ("s3://bucket//b", "prefix"),
            ("s3://b?x/y", "not name a valid bucket"),
            ("", "empty"),
            ("  ", "empty"),
            ("a\0b", "NUL"),
        ],
    )
    def test_other_locations_are_refused(self, location: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            open_storage(location)

    def test_credentials_in_a_location_are_not_repeated(self) -> None:
        with pytest.raises(ConfigError) as error:
            open_storage("s3://KEY:hidden-value@bucket/x")
        assert "hidden-value" not in str(error.value)
        assert "AWS_ACCESS_KEY_ID" in str(error.value)

    def test_s3_locations(self) -> None:
        assert open_storage("s3://bucket/").location == "s3://bucket"
        assert open_storage("S3://bucket/a b/").location == "s3://bucket/a b"
        assert open_storage("s3://bucket").uri("a") == "s3://bucket/a"


def _set(monkeypatch: pytest.MonkeyPatch, server: servers.S3Server, **other: str) -> None:
    for name, value in {**server.env, **other}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.live
class TestRealS3:
    def test_missing_bucket(self, real_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        _set(monkeypatch, real_server)
        storage = open_storage("s3://no-such-bucket/prefix")
        for call in (
            lambda: storage.write_bytes("a", b""),
            lambda: storage.create("a", b""),
            lambda: storage.read_bytes("a"),
            lambda: storage.exists("a"),
            lambda: storage.size("a"),
            lambda: storage.list_folders(""),
            lambda: storage.delete_tree("a"),
        ):
            with pytest.raises(StorageError, match=r"s3://no-such-bucket/prefix.*: the bucket does not exist") as error:
                call()
            assert not isinstance(error.value, MissingKeyError)
            assert error.value.hint

    @pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
    def test_wrong_credentials(self, real_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        _set(monkeypatch, real_server, **{name: "hidden-value"})
        storage = open_storage(f"s3://{BUCKET}/x")
        for call in (lambda: storage.write_bytes("a", b""), lambda: storage.list_files("")):
            with pytest.raises(StorageError, match=r"credentials|denied") as error:
                call()
            assert "hidden-value" not in str(error.value)
        with pytest.raises(StorageError, match=r"credentials|denied"):
            storage.exists("a")
        (check,) = storage.check()
        assert not check.ok

    def test_no_credentials(
        self, real_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        _set(monkeypatch, real_server, HOME=str(tmp_path))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StorageError, match="there are no credentials"):
            open_storage(f"s3://{BUCKET}/x").list_files("")

    def test_one_request_for_each_call(self, real_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        _set(monkeypatch, real_server)
        key = f"counted-{uuid4().hex}/a b"
        before = len(real_server.requests())
        storage = open_storage(f"s3://{BUCKET}")
        storage.create(f"first-{uuid4().hex}", b"")  # that a process makes here, which is checked
        storage.write_bytes(key, b"1")
        storage.read_bytes(key)
        storage.exists(key)
        storage.create(f"{key}-new", b"1")
        requests = [r for r in real_server.requests()[before:] if r.key.startswith(key)]
        assert [r.operation for r in requests] == ["PutObject", "GetObject", "HeadObject", "PutObject"]
        assert [r.status for r in requests] == [200, 200, 200, 200]
        storage.create(key, b"1")
        # the second asks whose the object is
        refused = [r for r in real_server.requests()[before:] if r.key.startswith(key)][4:]
        assert [(r.operation, r.status) for r in refused] == [("PutObject", 412), ("HeadObject", 200)]


class TestS3Faults:
    @pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://no-such-host.invalid"])
    def test_a_dead_endpoint_is_told_soon(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        server = servers.S3Server(url.format(port=servers.free_port()), "key", "hidden-value")
        _set(monkeypatch, server)
        assert s3_client.FIRST_CONTACT_S < s3_client.PATIENCE_S
        monkeypatch.setattr(s3_client, "FIRST_CONTACT_S", 0.2)
        # with the patience for a server that has answered it would not come back
        monkeypatch.setattr(s3_client, "PATIENCE_S", 1000.0)
        started = time.monotonic()
        (check,) = open_storage("s3://bucket/prefix").check()
        assert time.monotonic() - started < 60
        assert not check.ok
        assert "cannot be reached" in check.detail
        assert "AWS_ENDPOINT_URL" in check.detail
        assert "hidden-value" not in check.detail

    def test_a_bad_endpoint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _set(monkeypatch, servers.S3Server("nonsense", "key", "secret"))
        with pytest.raises(StorageError, match="endpoint"):
            open_storage("s3://bucket").list_files("")

    def test_passing_faults_are_waited_for(
        self, moto_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _set(monkeypatch, moto_server)
        storage = open_storage(f"s3://{BUCKET}/{uuid4().hex}")
        calls = _disturb(
            monkeypatch, storage, before=[_answer("SlowDown", 503), ConnectionResetError(), TimeoutError()]
        )
        storage.write_bytes("a", b"1")
        assert len(calls) == 4
        assert storage.read_bytes("a") == b"1"

    def test_lasting_faults_are_not(self, moto_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        _set(monkeypatch, moto_server)
        storage = open_storage(f"s3://{BUCKET}/{uuid4().hex}")
        calls = _disturb(monkeypatch, storage, before=[_answer("AccessDenied", 403)] * 5)
        with pytest.raises(StorageError, match="denied"):
            storage.write_bytes("a", b"1")
        assert len(calls) == 1

    def test_patience_ends(self, moto_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        _set(monkeypatch, moto_server)
        monkeypatch.setattr("scythe_cli.storage.s3_client.PATIENCE_S", 0.5)
        storage = open_storage(f"s3://{BUCKET}/{uuid4().hex}")
        _disturb(monkeypatch, storage, before=[_answer("InternalError", 500)] * 50)
        with pytest.raises(StorageError, match="InternalError"):
            storage.write_bytes("a", b"1")

    def test_a_creation_whose_answer_was_lost_is_ours(
        self, moto_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _set(monkeypatch, moto_server)
        storage = open_storage(f"s3://{BUCKET}/{uuid4().hex}")
        assert storage.create("first", b"")  # that a process makes here, which is checked
        calls = _disturb(monkeypatch, storage, after=[ConnectionResetError()])
        assert storage.create("a", b"1")
        assert calls[:2] == ["put_object", "put_object"]
        assert not storage.create("a", b"1")

    def test_a_creation_of_somebody_else_is_not_ours(
        self, moto_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _set(monkeypatch, moto_server)
        storage = open_storage(f"s3://{BUCKET}/{uuid4().hex}")
        assert open_storage(storage.location).create("a", b"the same")
        _disturb(monkeypatch, storage, before=[ConnectionResetError()])
        assert not storage.create("a", b"the same")

    def test_the_content_counts_where_no_metadata_is_kept(
        self, moto_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _set(monkeypatch, moto_server)
        storage = open_storage(f"s3://{BUCKET}/{uuid4().hex}")
        assert storage.create("first", b"")  # that a process makes here, which is checked
        storage.write_bytes("a", b"mine")
        _disturb(monkeypatch, storage, before=[ConnectionResetError()] * 2)
        assert storage.create("a", b"mine")
        storage.write_bytes("b", b"theirs")
        _disturb(monkeypatch, storage, before=[ConnectionResetError()])
        assert not storage.create("b", b"mine")

    def test_all_storages_share_a_client_until_the_environment_changes(
        self, moto_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _set(monkeypatch, moto_server)
        place = f"s3://{BUCKET}/{uuid4().hex}"
        one, other = open_storage(place), open_storage(f"{place}/below")
        client_of_process().prepare(place)
        one.write_bytes("below/a", b"here")
        assert other.read_bytes("a") == b"here"
        assert one._client is other._client is client_of_process()  # type: ignore[attr-defined]
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        assert open_storage(place)._client is not one._client  # type: ignore[attr-defined]

    def test_a_worker_starts_where_the_profile_of_aws_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nosuch")
        with pytest.raises(
            StorageError, match="cannot open s3://bucket/runs: the profile in AWS_PROFILE does not exist"
        ):
            client_of_process().prepare("s3://bucket/runs")
        warm_up("s3://bucket/runs")


def _answer(code: str, status: int) -> Exception:
    from botocore.exceptions import ClientError

    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


def _disturb(
    monkeypatch: pytest.MonkeyPatch,
    storage: Any,
    *,
    before: list[Exception] | None = None,
    after: list[Exception] | None = None,
) -> list[str]:
    """Let the first calls of the client fail, before they are sent or after they were answered."""
    before, after = list(before or []), list(after or [])
    client = storage._client
    original = type(client).call.__get__(client)
    calls: list[str] = []

    def call(operation: str, **parameters: Any) -> Any:
        calls.append(operation)
        if before:
            raise before.pop(0)
        answer = original(operation, **parameters)
        if after:
            raise after.pop(0)
        return answer

    monkeypatch.setattr(client, "call", call)
    return calls
