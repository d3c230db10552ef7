"""What every storage must do, as a class of tests.

    from scythe_cli.testing.storages import StorageContract

    class TestMine(StorageContract):
        @pytest.fixture
        def storage(self) -> Storage:
            return open_storage("mine://…")

The storage of each test is empty, and has a location that `open_storage` opens.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.errors import StorageError
from scythe_cli.storage.base import ForeignKeyError, InvalidKeyError, MissingKeyError, Storage
from scythe_cli.storage.local import LocalStorage
from scythe_cli.storage.opening import open_storage

__all__ = ["StorageContract", "race"]

ODD_NAMES = ["a b", "ü-日本", "100%", "a%20b", "a+b", "a#b", "a?b=c", "a&b;c", "~x", "a'b\"c", ".hidden", "a:b", "[x]*"]
BAD_KEYS = ["", "/abs", "../up", "a/../b", "a/..", ".", "a/./b", "a//b", "a/", "a\\b", "a\nb", "a\0b", "\x7f", "\ud800"]


def race(work: Callable[[int], bool], n: int = 8) -> list[bool]:
    """Do some work in `n` threads that begin at the same moment; returns what each gave back."""
    gate = threading.Barrier(n)

    def one(i: int) -> bool:
        gate.wait()
        return work(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(one, range(n)))


def _create_in_process(location: str, key: str, i: int, start: Any, results: Any) -> None:
    start.wait()
    results.put(open_storage(location).create(key, f"process {i}".encode()))


class StorageContract:
    """The tests; a subclass has a fixture `storage`."""

    def write_many(self, storage: Storage, keys: list[str]) -> None:
        """Write many empty files; a subclass may know a quicker way."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(storage.write_bytes, keys, [b""] * len(keys)))

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
        readers: list[Callable[[str], object]] = [storage.read_bytes, storage.size]
        readers.append(lambda key: storage.get_file(key, tmp_path / "copy"))
        for call in readers:
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
        self.write_many(storage, [f"many/{name}/x" for name in names])
        assert storage.list_folders("many") == names
        assert len(storage.list_tree("many")) == len(names)
        storage.delete_tree("many")
        assert storage.list_tree("") == []

    def test_rename(self, storage: Storage) -> None:
        storage.write_bytes("a/b c", b"1")
        storage.rename("a/b c", "a/d%e")
        assert storage.list_tree("") == ["a/d%e"]
        assert storage.read_bytes("a/d%e") == b"1"
        with pytest.raises(MissingKeyError):
            storage.rename("a/none", "a/other")

    def test_copy(self, storage: Storage) -> None:
        storage.write_bytes("a/b c", b"1")
        storage.write_bytes("a/old", b"2")
        storage.copy("a/b c", "x/d%e")
        storage.copy("a/b c", "a/old")
        storage.delete("a/b c")
        assert [storage.read_bytes(key) for key in storage.list_tree("")] == [b"1", b"1"]
        with pytest.raises(MissingKeyError):
            storage.copy("a/none", "a/other")

    def test_no_more_is_read_than_was_asked_for(self, storage: Storage) -> None:
        storage.write_bytes("a", b"12345")
        assert storage.read_bytes("a", max_bytes=5) == b"12345"
        with pytest.raises(ForeignKeyError, match=r"cannot read .*more than 4 bytes"):
            storage.read_bytes("a", max_bytes=4)

    def test_all_that_was_written_is_a_file(self, storage: Storage) -> None:
        storage.write_bytes("a/b", b"1")
        assert storage.list_others("a") == storage.list_others("") == storage.list_others("none") == []
        storage.delete_unfinished("a")
        storage.delete_unfinished("none")
        assert storage.list_tree("") == ["a/b"]

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
            with pytest.raises(InvalidKeyError, match="is not a storage key"):
                call()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]

    def test_a_file_is_known_by_its_key(self, storage: Storage) -> None:
        storage.write_bytes("a/b c", b"123")
        assert storage.info("a/b c") == storage.list_files("a")[0]
        with pytest.raises(MissingKeyError):
            storage.info("a/none")
        storage.delete("a/b c")
        with pytest.raises(MissingKeyError):
            storage.info("a/b c")

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
            won = race(lambda n, key=key, data=data: storage.create(key, data[n]))
            assert sum(won) == 1
            assert storage.read_bytes(key) == data[won.index(True)]

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_of_many_processes_one_creates(self, storage: Storage, method: str) -> None:
        storage.write_bytes("warm", b"")  # so that a fork inherits a client that is in use
        context: Any = multiprocessing.get_context(method)
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
        import scythe_cli.storage.s3_writing as s3_writing

        monkeypatch.setattr(s3, "SINGLE_PUT_BYTES", 1 << 20)
        monkeypatch.setattr(s3_writing, "PART_BYTES", 5 << 20)
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
