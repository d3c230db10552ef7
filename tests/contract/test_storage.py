"""What every storage must do; run against a local folder, a real S3 server, and moto."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scythe_cli.engines.hatchet.nodes.worker import warm_up
from scythe_cli.errors import ConfigError, StorageError
from scythe_cli.storage.base import InvalidKeyError, MissingKeyError, Storage
from scythe_cli.storage.local import LocalStorage
from scythe_cli.storage.opening import open_storage
from scythe_cli.storage.s3_client import client_of_process
from tests import servers

BUCKET = "contract"
ODD_NAMES = ["a b", "ü-日本", "100%", "a%20b", "a+b", "a#b", "a?b=c", "a&b;c", "~x", "a'b\"c", ".hidden", "a:b", "[x]*"]
BAD_KEYS = ["", "/abs", "../up", "a/../b", "a/..", ".", "a/./b", "a//b", "a/", "a\\b", "a\nb", "a\0b", "\x7f", "\ud800"]


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
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return open_storage(f"s3://{BUCKET}/pre fix/{uuid4().hex}")


def _race(work: Callable[[int], bool], n: int = 8) -> list[bool]:
    gate = threading.Barrier(n)

    def one(i: int) -> bool:
        gate.wait()
        return work(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(one, range(n)))


def _create_in_process(location: str, key: str, i: int, start: Any, results: Any) -> None:
    start.wait()
    results.put(open_storage(location).create(key, f"process {i}".encode()))


class TestContract:
    def test_write_and_read(self, storage: Storage) -> None:
        for data in (b"", b"one", b"\0" * 3_000_000):
            storage.write_bytes("a/b/c.bin", data)
            assert storage.read_bytes("a/b/c.bin") == data
            assert storage.size("a/b/c.bin") == len(data)
        assert storage.exists("a/b/c.bin")

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names(self, storage: Storage, name: str) -> None:
        key = f"{name}/{name}.pq"
        storage.write_bytes(key, name.encode())
        assert storage.read_bytes(key) == name.encode()
        assert storage.exists(key)
        assert storage.list_folders("") == [name]
        assert [file.name for file in storage.list_files(name)] == [f"{name}.pq"]
        assert storage.list_tree("") == [key]
        assert storage.key_of(storage.uri(key)) == key
        storage.delete(key)
        assert not storage.exists(key)

    def test_missing_things(self, storage: Storage, tmp_path: Path) -> None:
        for prefix in ("", "no", "no/such"):
            assert storage.list_folders(prefix) == []
            assert storage.list_files(prefix) == []
            assert storage.list_tree(prefix) == []
        assert not storage.exists("no/such")
        for call in (storage.read_bytes, storage.size, lambda key: storage.get_file(key, tmp_path / "copy")):
            with pytest.raises(MissingKeyError, match=r"cannot read .*no/such.*does not exist"):
                call("no/such")
        with pytest.raises(MissingKeyError), storage.open_remote("no/such"):
            pass
        assert not (tmp_path / "copy").exists()
        storage.delete("no/such")
        storage.delete_tree("no")

    def test_a_folder_is_not_a_file(self, storage: Storage) -> None:
        storage.write_bytes("a/b", b"1")
        assert not storage.exists("a")
        for call in (storage.read_bytes, storage.size):
            with pytest.raises(MissingKeyError):
                call("a")
        storage.delete("a")
        assert storage.list_tree("a/b") == []
        assert storage.list_files("a/b") == []
        storage.delete_tree("a/b")
        assert storage.list_tree("") == ["a/b"]

    def test_listings(self, storage: Storage) -> None:
        for key in ("e/v1/x", "e/v1/t/y", "e/v2/t/z", "e/v2-b/t", "e/top", "f/g"):
            storage.write_bytes(key, b"12")
        assert storage.list_folders("") == ["e", "f"]
        assert storage.list_folders("e") == ["v1", "v2", "v2-b"]
        assert storage.list_folders("e/v") == []
        (file,) = storage.list_files("e")
        assert (file.name, file.size_bytes) == ("top", 2)
        assert abs(datetime.now(UTC) - file.modified) < timedelta(minutes=5)
        assert [file.name for file in storage.list_files("e", starting="to")] == ["top"]
        assert storage.list_files("e", starting="v") == storage.list_files("e", starting="x") == []
        assert storage.list_tree("e/v2") == ["e/v2/t/z"]
        assert storage.list_tree("e") == ["e/top", "e/v1/t/y", "e/v1/x", "e/v2-b/t", "e/v2/t/z"]

    def test_listings_are_fresh(self, storage: Storage) -> None:
        storage.write_bytes("a/1", b"")
        assert [file.name for file in storage.list_files("a")] == ["1"]
        open_storage(storage.location).write_bytes("a/2", b"")
        assert [file.name for file in storage.list_files("a")] == ["1", "2"]

    def test_more_than_a_page(self, storage: Storage) -> None:
        names = [f"{i:04d}" for i in range(1_005)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: storage.write_bytes(f"many/{name}/x", b""), names))
        assert storage.list_folders("many") == names
        assert len(storage.list_tree("many")) == len(names)
        storage.delete_tree("many")
        assert storage.list_tree("") == []

    def test_delete_tree_keeps_the_neighbours(self, storage: Storage) -> None:
        for key in ("run/a", "run/b/c", "run2/a", "run-x"):
            storage.write_bytes(key, b"1")
        storage.delete_tree("run")
        assert storage.list_tree("") == ["run-x", "run2/a"]
        assert storage.list_folders("") == ["run2"]
        with pytest.raises(InvalidKeyError):
            storage.delete_tree("")

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_bad_keys_are_refused_before_anything_is_touched(self, storage: Storage, key: str, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"1")
        calls: list[Callable[[], object]] = [
            lambda: storage.uri(key),
            lambda: storage.local_path(key),
            lambda: storage.read_bytes(key),
            lambda: storage.write_bytes(key, b""),
            lambda: storage.create(key, b""),
            lambda: storage.exists(key),
            lambda: storage.size(key),
            lambda: storage.delete(key),
            lambda: storage.delete_tree(key),
            lambda: storage.put_file(source, key),
            lambda: storage.get_file(key, tmp_path / "copy"),
            lambda: storage.list_tree(key or "/"),
            lambda: storage.list_files(key or "/"),
            lambda: storage.list_folders(key or "/"),
        ]
        for call in calls:
            with pytest.raises(InvalidKeyError, match="is no key"):
                call()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]

    def test_uris(self, storage: Storage) -> None:
        assert storage.uri("a/b.pq") == f"{storage.location}/a/b.pq"
        assert storage.key_of(f"{storage.location}/a/b.pq") == "a/b.pq"
        for elsewhere in (f"{storage.location}x/a", storage.location, "/", "s3://other/a", f"{storage.location}/../a"):
            assert storage.key_of(elsewhere) is None

    def test_create_once(self, storage: Storage) -> None:
        assert storage.create("claim/m.yml", b"first")
        assert not storage.create("claim/m.yml", b"first")
        assert not storage.create("claim/m.yml", b"second")
        assert storage.read_bytes("claim/m.yml") == b"first"
        storage.delete("claim/m.yml")
        assert storage.create("claim/m.yml", b"third")

    def test_of_many_threads_one_creates(self, storage: Storage) -> None:
        for i in range(5):
            key = f"race/{i}"
            data = [f"thread {n}".encode() * 1000 for n in range(8)]
            won = _race(lambda n, key=key, data=data: storage.create(key, data[n]))
            assert sum(won) == 1
            assert storage.read_bytes(key) == data[won.index(True)]

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_of_many_processes_one_creates(self, storage: Storage, method: str) -> None:
        storage.write_bytes("warm", b"")  # so that a fork inherits a client that is in use
        context = multiprocessing.get_context(method)
        start, results = context.Event(), context.Queue()
        n = 4 if method == "fork" else 2
        arguments = [(storage.location, "race/p", i, start, results) for i in range(n)]
        processes = [context.Process(target=_create_in_process, args=args) for args in arguments]
        for process in processes:
            process.start()
        start.set()
        won = [results.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
            process.close()
        results.close()
        results.join_thread()
        assert sum(won) == 1

    def test_used_after_a_fork(self, storage: Storage) -> None:
        storage.write_bytes("a", b"parent")
        pid = os.fork()
        if pid == 0:
            try:
                storage.write_bytes("b", storage.read_bytes("a"))
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert storage.read_bytes("b") == b"parent"

    def test_pickles(self, storage: Storage) -> None:
        storage.write_bytes("a", b"1")
        assert pickle.loads(pickle.dumps(storage)).read_bytes("a") == b"1"
        assert open_storage(storage.location) == storage

    def test_files_go_there_and_back(self, storage: Storage, tmp_path: Path) -> None:
        source, copy = tmp_path / "source.bin", tmp_path / "deep" / "copy.bin"
        for size in (0, 10, 3_000_000):
            source.write_bytes(os.urandom(size))
            storage.put_file(source, "files/x.bin")
            storage.get_file("files/x.bin", copy)
            assert copy.read_bytes() == source.read_bytes()
            with storage.open_remote("files/x.bin") as remote:
                assert remote.size_bytes == size
                assert remote.version
                assert b"".join(iter(remote.read, b"")) == source.read_bytes()
        assert sorted(path.name for path in copy.parent.iterdir()) == ["copy.bin"]
        local = storage.local_path("files/x.bin")
        if local is not None:
            assert local.read_bytes() == source.read_bytes()

    def test_a_file_that_is_not_needed_any_more_is_taken(self, storage: Storage, tmp_path: Path) -> None:
        folders = [tmp_path]
        memory = Path("/dev/shm")
        if memory.is_dir() and memory.stat().st_dev != tmp_path.stat().st_dev:
            folders.append(memory)  # another file system, from which a file cannot be moved
        for folder in folders:
            with tempfile.TemporaryDirectory(dir=folder) as name:
                source = Path(name) / "source.bin"
                for content in (b"1", b"22"):
                    source.write_bytes(content)
                    storage.take_file(source, "files/x.bin")
                    assert storage.read_bytes("files/x.bin") == content
        assert storage.list_tree("") == ["files/x.bin"]
        with pytest.raises(StorageError, match=r"cannot read .*absent"):
            storage.take_file(tmp_path / "absent", "x")

    def test_a_large_file_goes_in_parts(
        self, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import scythe_cli.storage.s3 as s3

        monkeypatch.setattr(s3, "SINGLE_PUT_BYTES", 1 << 20)
        monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)
        source = tmp_path / "source.bin"
        source.write_bytes(os.urandom((21 << 20) + 17))
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        storage.put_file(source, "large", sha256=digest)
        storage.get_file("large", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == source.read_bytes()
        with pytest.raises(StorageError, match="changed while"):
            storage.put_file(source, "wrong", sha256="0" * 64)
        assert storage.list_tree("") == ["large"]

    def test_a_file_with_another_hash_is_not_stored(self, storage: Storage, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"1")
        with pytest.raises(StorageError, match="changed while"):
            storage.put_file(source, "x", sha256=hashlib.sha256(b"2").hexdigest())
        assert storage.list_tree("") == []
        with pytest.raises(StorageError, match=r"cannot read .*absent"):
            storage.put_file(tmp_path / "absent", "x")
        with pytest.raises(StorageError, match="cannot read"):
            storage.put_file(tmp_path, "x")

    def test_a_file_that_cannot_be_written_here(self, storage: Storage, tmp_path: Path) -> None:
        storage.write_bytes("a", b"1")
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError, match=r"cannot write .*not a directory"):
            storage.get_file("a", tmp_path / "file" / "copy")

    def test_readers_never_see_a_part(self, storage: Storage) -> None:
        versions = [bytes([i]) * 200_000 for i in range(4)]
        storage.write_bytes("a", versions[0])
        done = threading.Event()

        def write() -> None:
            for i in range(20):
                storage.write_bytes("a", versions[i % 4])
            done.set()

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            while not done.is_set() and not writer.done():
                assert storage.read_bytes("a") in versions
            writer.result()
        assert [file.name for file in storage.list_files("")] == ["a"]

    def test_check(self, storage: Storage) -> None:
        checks = storage.check()
        assert [check.name for check in checks] == ["write", "read", "exclusive create", "list", "delete"]
        assert all(check.ok for check in checks), checks
        assert storage.list_tree("") == []
        assert storage.list_folders("") == []
        if isinstance(storage, LocalStorage):
            assert not storage.root.exists()


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

        monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace"), "link": (os, "link")}[step], full)
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
        assert sum(_race(lambda i: storage.create("a", b"%d" % i))) == 1
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
            ("s3://b?x/y", "no valid bucket"),
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
        started = time.monotonic()
        (check,) = open_storage("s3://bucket/prefix").check()
        assert time.monotonic() - started < 12
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
