from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from multiprocessing import get_context
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.errors import ConfigError, StorageError
from scythe_cli.run.input_files import InputArtifact, collect_artifacts, upload_artifacts
from scythe_cli.storage.base import MissingKeyError
from scythe_cli.storage.cache import ArtifactCache
from scythe_cli.storage.download import safe_name
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.limits import time_limit


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _column(*values: str | None) -> pl.Series:
    return pl.Series("x", list(values), pl.String)


class TestCollect:
    def test_each_distinct_content_is_uploaded_once(self, tmp_path: Path) -> None:
        base = tmp_path / "sampling"
        (base / "sub").mkdir(parents=True)
        (base / "a.epw").write_bytes(b"weather")
        (base / "sub" / "same.epw").write_bytes(b"weather")
        (base / "sub" / "ü b.idf").write_bytes(b"model")
        absolute = str(base / "a.epw")
        columns = {
            "weather": _column("a.epw", "./a.epw", None, absolute, "sub/same.epw", "a.epw"),
            "model": _column("sub/ü b.idf", *["s3://bucket/x.idf"] * 5),
        }
        plan = collect_artifacts(columns, base)
        assert plan.problems == []
        assert plan.total_bytes == len(b"weather") + len(b"model")
        storage = open_storage(tmp_path / "runs")
        uploaded = upload_artifacts(plan, storage, "e/v1.0.0/t/artifacts")
        weather_key = f"e/v1.0.0/t/artifacts/{_sha(b'weather')}/a.epw"
        model_key = f"e/v1.0.0/t/artifacts/{_sha(b'model')}/ü b.idf"
        assert storage.list_tree("") == sorted([weather_key, model_key])
        assert storage.read_bytes(model_key) == b"model"
        references = ["a.epw", "./a.epw", absolute, "sub/same.epw"]
        assert uploaded.uris == {
            "weather": dict.fromkeys(sorted(references), storage.uri(weather_key)),
            "model": {"sub/ü b.idf": storage.uri(model_key)},
        }
        assert uploaded.records == [
            InputArtifact(
                field="weather",
                source_name="a.epw",
                uri=storage.uri(weather_key),
                size_bytes=7,
                sha256=_sha(b"weather"),
            ),
            InputArtifact(
                field="weather",
                source_name="same.epw",
                uri=storage.uri(weather_key),
                size_bytes=7,
                sha256=_sha(b"weather"),
            ),
            InputArtifact(
                field="model", source_name="ü b.idf", uri=storage.uri(model_key), size_bytes=5, sha256=_sha(b"model")
            ),
        ]

    def test_a_suffix_is_kept_even_if_the_content_is_the_same(self, tmp_path: Path) -> None:
        for name in ("a.idf", "b.epw", "c.epw"):
            (tmp_path / name).write_bytes(b"")
        plan = collect_artifacts({"x": _column("a.idf", "b.epw", "c.epw")}, tmp_path)
        assert [target.rpartition("/")[2] for target in sorted(plan.uploads)] == ["a.idf", "b.epw"]

    def test_all_problems_are_reported_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "good.csv").write_bytes(b"1")
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        columns = {
            "a": _column("good.csv", "absent.csv", "folder", "good.csv/x", "", "ftp://host/x", "nul\0l"),
            "b": _column("pipe", "absent.csv", None, "x" * 300),
        }
        plan = collect_artifacts(columns, tmp_path)
        assert list(plan.files["a"]) == ["good.csv"]
        assert [(p.field, p.value[:9], p.reason) for p in plan.problems] == [
            ("a", "", "the reference is empty"),
            ("a", "absent.cs", "it does not exist"),
            ("a", "folder", "it is a folder"),
            ("a", "ftp://hos", "ftp:// is not supported"),
            ("a", "good.csv/", "it does not exist"),
            ("a", "nul\0l", "it holds a NUL character"),
            ("b", "absent.cs", "it does not exist"),
            ("b", "pipe", "it is not a regular file"),
            ("b", "x" * 9, "it cannot be read: File name too long"),
        ]

    def test_a_million_rows_with_three_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for i in range(3):
            (tmp_path / f"{i}.csv").write_bytes(b"%d" % i)
        hashed: Counter[str] = Counter()
        original = hashlib.file_digest

        def counting(file, name):  # type: ignore[no-untyped-def]
            hashed[file.name] += 1
            return original(file, name)

        monkeypatch.setattr(hashlib, "file_digest", counting)
        column = pl.Series("x", [f"{i % 3}.csv" for i in range(1_000_000)], pl.String)
        plan = collect_artifacts({"x": column}, tmp_path)
        assert len(plan.uploads) == 3
        assert set(hashed.values()) == {1}
        assert len(hashed) == 3

    def test_nothing_to_do(self, tmp_path: Path) -> None:
        plan = collect_artifacts({"x": _column(None, None, "https://host/x")}, tmp_path)
        assert plan.problems == []
        uploaded = upload_artifacts(plan, open_storage(tmp_path / "runs"), "e/artifacts")
        assert uploaded.uris == {"x": {}}
        assert uploaded.records == []
        assert not (tmp_path / "runs").exists()

    def test_a_file_that_changes_is_not_uploaded(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"1")
        plan = collect_artifacts({"x": _column("a.csv")}, tmp_path)
        (tmp_path / "a.csv").write_bytes(b"2")
        storage = open_storage(tmp_path / "runs")
        with pytest.raises(StorageError, match=r"a\.csv changed"):
            upload_artifacts(plan, storage, "e/artifacts")
        (tmp_path / "a.csv").unlink()
        with pytest.raises(StorageError, match="cannot read"):
            upload_artifacts(plan, storage, "e/artifacts")
        assert storage.list_tree("") == []


class _Handler(BaseHTTPRequestHandler):
    """Answers as the path says."""

    protocol_version = "HTTP/1.1"
    content = b"weather" * 1000
    etag: str | None = '"1"'
    counts: Counter[str] = Counter()
    gate = threading.Event()

    def log_message(self, *args: object) -> None:
        return

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        type(self).counts[path] += 1
        handler = getattr(self, f"answer_{path.split('/')[1]}", None)
        if handler is None:
            self._send(404, b"no")
        else:
            handler()

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer_file(self) -> None:
        self._send(200, self.content, **({"ETag": self.etag} if self.etag else {}))

    def answer_short(self) -> None:
        self._send(200, b"abc", Content_Length="100")
        self.close_connection = True

    def answer_gzip(self) -> None:
        self._send(200, gzip.compress(self.content), Content_Encoding="gzip")

    def answer_local(self) -> None:
        self._send(302, b"", Location="file:///etc/passwd")

    def answer_moved(self) -> None:
        self._send(301, b"", Location="/file/other-name.epw")

    def answer_loop(self) -> None:
        self._send(302, b"", Location=self.path)

    def answer_forbidden(self) -> None:
        self._send(403, b"")

    def answer_flaky(self) -> None:
        if self.counts["/flaky/x"] < 3:
            self._send(503, b"")
        else:
            self.answer_file()

    def answer_endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        except OSError:
            self.close_connection = True

    def answer_huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000000000")
        self.end_headers()
        self.close_connection = True


@pytest.fixture
def web() -> Iterator[str]:
    _Handler.etag, _Handler.content = '"1"', b"weather" * 1000
    _Handler.counts = Counter()
    with servers.http_server(_Handler) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "own cache")


def _kept(cache: ArtifactCache) -> list[str]:
    """The names of all files but locks."""
    return sorted(path.name for path in cache.root.rglob("*") if path.is_file() and path.suffix != ".lock")


def _fetch_in_process(root: Path, uri: str) -> str:
    return str(ArtifactCache(root).fetch(uri))


class TestFetch:
    def test_a_file_of_a_web_server(self, web: str, cache: ArtifactCache) -> None:
        path = cache.fetch(f"{web}/file/a%20b.epw?version=1")
        assert path.read_bytes() == _Handler.content
        assert path.name == "a b.epw"
        assert path.is_relative_to(cache.root)
        assert path.stat().st_mode & 0o777 == 0o444
        assert cache.fetch(f"{web}/file/a%20b.epw?version=1") == path
        assert _Handler.counts["/file/a%20b.epw"] == 1
        assert _kept(cache) == ["a b.epw"]

    def test_another_process_finds_it(self, web: str, cache: ArtifactCache) -> None:
        path = cache.fetch(f"{web}/file/a.epw")
        before = path.stat()
        assert ArtifactCache(cache.root).fetch(f"{web}/file/a.epw") == path
        assert path.stat().st_ino == before.st_ino

    def test_a_new_version_is_another_file(self, web: str, cache: ArtifactCache) -> None:
        old = cache.fetch(f"{web}/file/a.epw")
        _Handler.etag, _Handler.content = '"2"', b"new"
        assert cache.fetch(f"{web}/file/a.epw") == old, "within a process a file stays the same for some minutes"
        new = ArtifactCache(cache.root).fetch(f"{web}/file/a.epw")
        assert new != old
        assert (new.read_bytes(), old.read_bytes()) == (b"new", b"weather" * 1000)

    def test_without_a_version_it_is_fetched_again_after_a_while(self, web: str, cache: ArtifactCache) -> None:
        _Handler.etag = None
        path = cache.fetch(f"{web}/file/a.epw")
        _Handler.content = b"new"
        assert ArtifactCache(cache.root).fetch(f"{web}/file/a.epw").read_bytes() != b"new"
        os.utime(path, (1, 1))
        assert ArtifactCache(cache.root).fetch(f"{web}/file/a.epw").read_bytes() == b"new"

    def test_the_whole_address_counts(self, web: str, cache: ArtifactCache) -> None:
        other = web.replace("127.0.0.1", "localhost")
        uris = [f"{web}/file/a.epw", f"{other}/file/a.epw", f"{web}/file/b/a.epw", f"{web}/file/a.epw?x=1"]
        assert len({cache.fetch(uri) for uri in uris}) == len(uris)

    def test_a_known_hash(self, web: str, cache: ArtifactCache) -> None:
        sha = _sha(_Handler.content)
        path = cache.fetch(f"{web}/file/a.epw", sha256=sha)
        assert ArtifactCache(cache.root).fetch(f"{web}/file/b/a.epw", sha256=sha) == path
        assert sum(_Handler.counts.values()) == 1
        with pytest.raises(StorageError, match="content is not what it was") as error:
            cache.fetch(f"{web}/file/c.epw?secret", sha256="0" * 64)
        assert "secret" not in str(error.value)
        assert _kept(cache) == ["a.epw"]

    @pytest.mark.parametrize("how", ["changed", "changed with its time", "cut", "link", "pipe"])
    def test_what_lies_in_the_cache_is_checked_against_the_hash(
        self, web: str, cache: ArtifactCache, tmp_path: Path, how: str
    ) -> None:
        sha = _sha(_Handler.content)
        path = cache.fetch(f"{web}/file/a.epw", sha256=sha)
        before = path.stat()
        path.chmod(0o644)
        if how in ("link", "pipe"):
            path.unlink()
            (tmp_path / "theirs").write_bytes(b"theirs")
            path.symlink_to(tmp_path / "theirs") if how == "link" else os.mkfifo(path)
        else:
            path.write_bytes(b"X" * (10 if how == "cut" else before.st_size))
            if how == "changed with its time":
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        for again in (ArtifactCache(cache.root), cache):
            with time_limit(60):
                assert again.fetch(f"{web}/file/a.epw", sha256=sha).read_bytes() == _Handler.content
        assert not path.is_symlink()
        assert not (tmp_path / "theirs").exists() or (tmp_path / "theirs").read_bytes() == b"theirs"

    def test_files_whose_hashes_begin_alike_are_two(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As two that somebody has made to share the 64 bits that names once had."""
        real = hashlib.file_digest

        class Alike:
            def __init__(self, digest: str) -> None:
                self.digest = digest

            def hexdigest(self) -> str:
                return "0" * 16 + self.digest[16:]

        monkeypatch.setattr(hashlib, "file_digest", lambda file, name: Alike(real(file, name).hexdigest()))
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "x.epw").write_text(folder)
        plan = collect_artifacts({"weather": pl.Series(["a/x.epw", "b/x.epw"])}, tmp_path)
        assert sorted(file.path.read_text() for file in plan.uploads.values()) == ["a", "b"]

    @pytest.mark.processes
    def test_many_at_once_download_once(self, web: str, cache: ArtifactCache) -> None:
        with ThreadPoolExecutor(6) as pool:
            paths = set(pool.map(lambda _: ArtifactCache(cache.root).fetch(f"{web}/file/t.epw"), range(6)))
        assert len(paths) == 1
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(_fetch_in_process, cache.root, f"{web}/file/p.epw") for _ in range(4)]
            assert len({future.result() for future in futures}) == 1
        assert _kept(cache) == ["p.epw", "t.epw"]

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("absent/x", "404"),
            ("short/x", "connection was lost|of 100 bytes"),
            ("local/x", "redirected to file://"),
            ("loop/x", "redirected more than 5 times"),
            ("forbidden/x", "403"),
        ],
    )
    def test_failures_leave_nothing_and_tell_no_secret(
        self, web: str, cache: ArtifactCache, path: str, message: str
    ) -> None:
        uri = f"{web.replace('//', '//user:hidden-word@')}/{path}?X-Amz-Signature=hidden-value"
        with pytest.raises(StorageError, match=message) as error:
            cache.fetch(uri)
        assert f"{web}/{path}" in str(error.value)
        assert "hidden" not in str(error.value)
        assert _kept(cache) == []

    def test_a_missing_file_is_told_apart(self, web: str, cache: ArtifactCache) -> None:
        with pytest.raises(MissingKeyError):
            cache.fetch(f"{web}/absent")

    @pytest.mark.parametrize("path", ["endless/x", "huge/x", "file/x"])
    def test_too_large(self, web: str, cache: ArtifactCache, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCYTHE_FETCH_MAX_BYTES", "6999")
        with pytest.raises(StorageError, match="more than 6,999 bytes") as error:
            cache.fetch(f"{web}/{path}")
        assert "SCYTHE_FETCH_MAX_BYTES" in str(error.value)
        assert _kept(cache) == []
        monkeypatch.setenv("SCYTHE_FETCH_MAX_BYTES", "7000")
        assert cache.fetch(f"{web}/file/y")

    def test_a_limit_that_is_no_number(self, web: str, cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCYTHE_FETCH_MAX_BYTES", "10GB")
        with pytest.raises(ConfigError, match="SCYTHE_FETCH_MAX_BYTES"):
            cache.fetch(f"{web}/file/x")

    def test_redirections_and_passing_faults(self, web: str, cache: ArtifactCache) -> None:
        assert cache.fetch(f"{web}/moved/x.epw").name == "x.epw"
        assert cache.fetch(f"{web}/flaky/x").read_bytes() == _Handler.content
        assert cache.fetch(f"{web}/gzip/x").read_bytes() == _Handler.content

    def test_nobody_listens(self, cache: ArtifactCache) -> None:
        with pytest.raises(StorageError, match="cannot be reached"):
            cache.fetch(f"http://127.0.0.1:{servers.free_port()}/x")
        with pytest.raises(StorageError, match="not supported"):
            cache.fetch("file:///etc/passwd")
        with pytest.raises(StorageError, match="not valid") as error:
            cache.fetch("http://user:hidden@[::/x")
        assert "hidden" not in str(error.value)

    def test_local_paths_are_taken_as_they_are(self, cache: ArtifactCache, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        with pytest.raises(MissingKeyError, match="does not exist"):
            cache.fetch(str(path))
        path.write_bytes(b"")
        assert cache.fetch(str(path)) == path
        assert not cache.root.exists()

    def test_where_the_cache_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCYTHE_CACHE_DIR", str(tmp_path / "named"))
        assert ArtifactCache().root == tmp_path / "named"
        monkeypatch.delenv("SCYTHE_CACHE_DIR")
        assert ArtifactCache().root.name == "scythe-experiments"

    def test_a_cache_that_cannot_be_written(self, web: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError, match=r"cannot write .*not a directory"):
            ArtifactCache(tmp_path / "file").fetch(f"{web}/file/x")

    def test_copied_inputs(self, web: str, cache: ArtifactCache, tmp_path: Path) -> None:
        signed, absent = f"{web}/file/a.epw?sig=hidden", f"{web}/absent/b?sig=hidden"
        column = _column(signed, absent, None)
        plan = collect_artifacts({"weather": column}, tmp_path, copy_inputs=True, cache=cache)
        (problem,) = plan.problems
        assert "404" in problem.reason
        assert "hidden" not in problem.reason
        plan = collect_artifacts({"weather": _column(signed)}, tmp_path, copy_inputs=True, cache=cache)
        storage = open_storage(tmp_path / "runs")
        uploaded = upload_artifacts(plan, storage, "e/artifacts")
        (record,) = uploaded.records
        assert record.source_name == "a.epw"
        assert uploaded.uris["weather"][signed] == record.uri
        assert storage.list_tree("") == [f"e/artifacts/{_sha(_Handler.content)}/a.epw"]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    with servers.versitygw(tmp_path_factory.mktemp("versitygw")) as server:
        server.new_bucket("inputs")
        yield server


@pytest.mark.live
class TestS3:
    def test_up_and_down(
        self, s3: servers.S3Server, cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        s3.use(monkeypatch)
        data = os.urandom(3_000_000)
        (tmp_path / "a b%20.epw").write_bytes(data)
        storage = open_storage("s3://inputs/runs")
        plan = collect_artifacts({"x": _column("a b%20.epw")}, tmp_path)
        (record,) = upload_artifacts(plan, storage, "e/artifacts").records
        assert cache.fetch(record.uri, sha256=record.sha256).read_bytes() == data
        assert cache.fetch(record.uri).read_bytes() == data
        copied = collect_artifacts({"x": _column(record.uri)}, tmp_path, copy_inputs=True, cache=cache)
        assert copied.uploads.keys() == plan.uploads.keys()

    @pytest.mark.parametrize("key", ["a b.csv", "a%20b.csv", "ü#1.csv", "x?y.csv", "a+b.csv"])
    def test_keys_as_they_are_written_and_as_pydantic_writes_them(
        self, s3: servers.S3Server, cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        from scythe_cli.utils.filesys import S3Url

        s3.use(monkeypatch)
        bucket = s3.new_bucket(f"odd-{_sha(key.encode())[:8]}")
        open_storage(f"s3://{bucket}").write_bytes(key, key.encode())
        for uri in (f"s3://{bucket}/{key}", str(S3Url(f"s3://{bucket}/{key}"))):
            assert cache.fetch(uri).read_bytes() == key.encode()

    def test_what_is_not_there(
        self, s3: servers.S3Server, cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        s3.use(monkeypatch)
        with pytest.raises(MissingKeyError, match="does not exist"):
            cache.fetch("s3://inputs/no/such")
        with pytest.raises(StorageError, match="the bucket does not exist"):
            cache.fetch("s3://no-such-bucket/x")
        assert _kept(cache) == []


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://b/k/a%20b.epw", "a b.epw"),
        ("https://h/a/b.epw?x=/y.z#w", "b.epw"),
        ("https://h/", "file"),
        ("https://h/%2e%2e", "file"),
        ("https://h/..%2f..%2fetc%2fpasswd", "_._.._etc_passwd"),
        ("https://h/a%00b%0a.csv", "a_b_.csv"),
        ("https://h/nul.csv", "_nul.csv"),
        ("https://h/.scythe-tmp-1", "_scythe-tmp-1"),
        ("data/a:b?.csv", "a_b_.csv"),
        ("https://h/" + "ü" * 200 + ".tar.epw", "ü" * 78 + ".epw"),
        ("x" * 300, "x" * 160),
    ],
)
def test_safe_names(uri: str, name: str) -> None:
    assert safe_name(uri) == name
