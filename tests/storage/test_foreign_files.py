"""What somebody else has put into a local storage: nobody waits for it, nothing goes through it, it keeps its place."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scythe_cli.core import files
from scythe_cli.errors import StorageError
from scythe_cli.storage.base import ForeignKeyError, Storage
from scythe_cli.storage.local import LocalStorage
from tests.limits import time_limit

INNER = "energy/v1.0.0/2026-01-01_00-00-00/outcomes"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder elsewhere, which must stay as it is."""
    folder = tmp_path / "victim"
    (folder / "inner").mkdir(parents=True)
    (folder / "thesis.pq").write_text("years of work")
    (folder / ".scythe-tmp-0123").write_text("unfinished work")
    (folder / "inner" / "thesis.pq").write_text("more of it")
    before = contents(folder)
    yield folder
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path / "runs")
    storage.write_bytes(f"{INNER}/own.pq", b"own")
    return storage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"new")
    return path


WRITES: dict[str, Callable[[LocalStorage, str, Path], object]] = {
    "write": lambda storage, key, source: storage.write_bytes(key, b"new"),
    "create": lambda storage, key, source: storage.create(key, b"new"),
    "put": lambda storage, key, source: storage.put_file(source, key),
    "take": lambda storage, key, source: storage.take_file(source, key),
    "rename": lambda storage, key, source: storage.rename(key, f"{key}.damaged"),
    "rename to": lambda storage, key, source: storage.rename(f"{INNER}/own.pq", key),
    "delete": lambda storage, key, source: storage.delete(key),
    "delete tree": lambda storage, key, source: storage.delete_tree(key),
    "delete unfinished": lambda storage, key, source: storage.delete_unfinished(key.rpartition("/")[0]),
}
READS: dict[str, Callable[[LocalStorage, str, Path], object]] = {
    "read": lambda storage, key, source: storage.read_bytes(key),
    "get": lambda storage, key, source: storage.get_file(key, source.parent / "copy"),
    "open": lambda storage, key, source: storage.open_remote(key).__enter__(),
    "path": lambda storage, key, source: storage.local_path(key),
}


@pytest.mark.parametrize("where", ["energy", "energy/v1.0.0", "energy/v1.0.0/2026-01-01_00-00-00", INNER])
@pytest.mark.parametrize("do", [*WRITES, *READS, "list", "size"])
def test_nothing_goes_through_a_link(storage: LocalStorage, tmp_path: Path, source: Path, do: str, where: str) -> None:
    link = storage.root / where
    victim = tmp_path / "victim"
    inside = victim / INNER.removeprefix(where).strip("/")
    inside.mkdir(parents=True)
    for name in ("thesis.pq", ".scythe-tmp-0123"):
        (inside / name).write_text("years of work")
    before = contents(victim)
    link.rename(storage.root / "aside")
    link.symlink_to(victim)
    calls = {
        **WRITES,
        **READS,
        "list": lambda storage, key, source: storage.list_files(key.rpartition("/")[0]),
        "size": lambda storage, key, source: storage.size(key),
    }
    with pytest.raises(ForeignKeyError, match="is a link"):
        calls[do](storage, f"{INNER}/thesis.pq", source)
    assert contents(victim) == before
    assert source.exists()
    assert not (source.parent / "copy").exists()
    above, _, name = where.rpartition("/")
    assert name not in storage.list_folders(above)
    storage.delete_tree(where)
    assert not link.is_symlink()
    assert contents(victim) == before


@pytest.mark.parametrize("do", [*WRITES, *READS])
def test_folders_that_become_links_in_between(
    storage: LocalStorage, victim: Path, source: Path, do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a folder and what is done there, somebody puts a link in its place."""
    folder = storage.root / INNER
    (folder / "thesis.pq").write_text("of the run")
    opened = files.open_folder

    def then_swapped(path: str | Path, **options: object) -> int:
        fd = opened(path, **options)  # type: ignore[arg-type]
        if path == "outcomes" and not folder.is_symlink():
            folder.rename(folder.with_name("aside"))
            folder.symlink_to(victim)
        return fd

    monkeypatch.setattr(files, "open_folder", then_swapped)
    try:
        found = {**WRITES, **READS}[do](storage, f"{INNER}/thesis.pq", source)
    except (ForeignKeyError, FileExistsError):
        found = None
    assert folder.is_symlink()
    assert found != b"years of work"


@pytest.mark.parametrize("do", [*WRITES, *READS])
def test_a_link_in_the_place_of_a_file_is_not_followed(
    storage: LocalStorage, victim: Path, source: Path, do: str
) -> None:
    (storage.root / INNER / "x.pq").symlink_to(victim / "thesis.pq")
    if do in READS:
        with pytest.raises(ForeignKeyError, match="it is a link"):
            READS[do](storage, f"{INNER}/x.pq", source)
        assert storage.list_others(INNER) == ["x.pq"]
        assert [file.name for file in storage.list_files(INNER)] == ["own.pq"]
    elif do == "rename to":  # never in the place of something else
        with pytest.raises(StorageError, match="cannot write"):
            WRITES[do](storage, f"{INNER}/x.pq", source)
    else:
        WRITES[do](storage, f"{INNER}/x.pq", source)


def made(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(path.parent)  # the names of sockets are short
            try:
                server.bind(path.name)
            finally:
                os.chdir(here)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 42)
    else:
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
        except PermissionError:
            pytest.skip("only root makes devices")


@pytest.mark.parametrize("kind", ["pipe", "socket", "sparse", "device"])
def test_what_has_no_end_is_not_waited_for(storage: LocalStorage, source: Path, kind: str) -> None:
    key = f"{INNER}/x.pq"
    made(storage.root / key, kind)
    with time_limit(60):
        with pytest.raises(ForeignKeyError, match=r"not a regular file|more than"):
            storage.read_bytes(key)
        if kind == "sparse":
            with pytest.raises(ForeignKeyError, match="more than 1,000 bytes"):
                storage.read_bytes(key, max_bytes=1_000)
            return
        for call in READS.values():
            with pytest.raises(ForeignKeyError, match="not a regular file"):
                call(storage, key, source)
        assert not storage.exists(key)
        assert storage.list_others(INNER) == ["x.pq"]
        assert [file.name for file in storage.list_files(INNER)] == ["own.pq"]
        assert storage.list_tree("") == [f"{INNER}/own.pq"]
        assert not storage.create(key, b"")
        storage.write_bytes(key, b"replaced")
        assert storage.read_bytes(key) == b"replaced"


def test_files_that_become_pipes_in_between(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    key = f"{INNER}/own.pq"
    opened = files.open_folder

    def then_swapped(path: str | Path, **options: object) -> int:
        fd = opened(path, **options)  # type: ignore[arg-type]
        if path == "outcomes":
            (storage.root / key).unlink(missing_ok=True)
            os.mkfifo(storage.root / key)
        return fd

    monkeypatch.setattr(files, "open_folder", then_swapped)
    with time_limit(60), pytest.raises(ForeignKeyError, match="not a regular file"):
        storage.read_bytes(key)


def test_a_root_that_is_a_link_is_the_users_own_choice(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(storage.root)
    linked: Storage = LocalStorage(tmp_path / "linked")
    linked.write_bytes(f"{INNER}/b", b"2")
    assert linked.read_bytes(f"{INNER}/own.pq") == b"own"
    assert storage.read_bytes(f"{INNER}/b") == b"2"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
def test_nobody_may_read_a_copy_who_may_not_read_the_file(storage: LocalStorage, source: Path, mode: int) -> None:
    source.chmod(mode)
    old = os.umask(0o022)
    try:
        storage.put_file(source, "a")
    finally:
        os.umask(old)
    assert (storage.root / "a").stat().st_mode & 0o777 == (mode & 0o644) | 0o600


def test_a_file_system_without_hard_links_renames(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "link", unsupported)
    storage.rename(f"{INNER}/own.pq", f"{INNER}/other")
    assert storage.list_tree("") == [f"{INNER}/other"]
