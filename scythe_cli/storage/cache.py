"""Files that were fetched from elsewhere, once for each machine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256 as hash_of
from pathlib import Path

from filelock import FileLock

from scythe_cli.core.files import open_regular
from scythe_cli.core.folders import cache_folder
from scythe_cli.core.text import redact_uri
from scythe_cli.errors import StorageError
from scythe_cli.storage.atomic_files import storage_errors
from scythe_cli.storage.base import MissingKeyError
from scythe_cli.storage.download import (
    copy_remote,
    max_fetch_bytes,
    open_uri,
    repeatedly,
    safe_name,
    uri_scheme,
)

__all__ = ["ArtifactCache"]


_TRUSTED_FOR_S = 600.0
_READ_ONLY = 0o444


class ArtifactCache:
    """A folder of fetched files, shared by all processes of a user.

    A file lies at `<root>/<digest>/<name>`. The digest is made of the whole URI, so that the same path on two hosts
    gives two files, and of the version that the server tells, or of the hash that the caller expects, against which the
    file is then checked. The server is asked for the version once in ten minutes for each process, and not at all when
    the hash is given.

    Attributes:
        root: The folder; made when something is fetched.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_folder()
        self._checked: dict[tuple[Path, str], tuple[int, ...]] = {}
        self._known: dict[tuple[str, str | None], tuple[float, Path]] = {}

    def fetch(self, uri: str, *, sha256: str | None = None) -> Path:
        """Return a local file with the content of a URI; not to be written to.

        Args:
            uri: An S3 or HTTP(S) URL, or a local path, which is returned as it is.
            sha256: The hash (hex) that the content must have.

        Raises:
            StorageError: If it cannot be fetched; MissingKeyError if it does not exist.
        """
        scheme = uri_scheme(uri)
        if scheme is None:
            return _existing(Path(uri))
        if scheme not in {"s3", "http", "https"}:
            raise StorageError(f"cannot fetch {redact_uri(uri)}: {scheme}:// is not supported")
        at, path = self._known.get((uri, sha256), (0.0, None))
        if path is not None and (
            self._is_whole(path, sha256) if sha256 else time.monotonic() - at < _TRUSTED_FOR_S and path.exists()
        ):
            return path
        path = repeatedly(lambda: self._fetch(uri, sha256))
        self._known[uri, sha256] = (time.monotonic(), path)
        return path

    def _fetch(self, uri: str, sha256: str | None) -> Path:
        name = safe_name(uri)
        # the same content may come from several runs; it is kept once
        folder = _digest("sha256", sha256) if sha256 else _digest("uri", uri)
        with self._locked(folder):
            kept = self.root / folder / name
            if sha256 is not None and self._is_whole(kept, sha256):
                return kept
            with open_uri(uri) as remote:
                if sha256 is None:
                    kept = self.root / _digest("version", f"{remote.version}\n{uri}") / name
                    if kept.exists() and (remote.version is not None or _age_s(kept) < _TRUSTED_FOR_S):
                        return kept
                copy_remote(remote, uri, kept, max_bytes=max_fetch_bytes(), mode=_READ_ONLY, expected=sha256)
            return kept

    def _is_whole(self, path: Path, sha256: str) -> bool:
        """Whether a kept file has the content that it was kept for.

        It is read for that once in a process, and again when the system says that it was changed.
        """
        try:
            status = path.lstat()
            state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if self._checked.get((path, sha256)) == state:
                return True
            with open_regular(path) as file:
                is_whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False  # there is none, or it cannot be read: it is fetched
        if is_whole:
            self._checked[path, sha256] = state
        return is_whole

    @contextmanager
    def _locked(self, digest: str) -> Generator[None, None, None]:
        """Let one process at a time fetch the same thing."""
        folder = self.root / "locks"
        with storage_errors("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{digest}.lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _digest(kind: str, value: str) -> str:
    return hash_of(f"{kind}\n{value}".encode()).hexdigest()[:32]


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _existing(path: Path) -> Path:
    if not path.exists():
        raise MissingKeyError(f"cannot read {path}: it does not exist")
    return path
