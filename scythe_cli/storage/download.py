"""Reading a file from wherever a reference points to: S3, a web server, a local path."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import unquote

from scythe_cli.core.files import open_regular
from scythe_cli.core.text import redact_uri
from scythe_cli.errors import ConfigError, StorageError
from scythe_cli.storage.atomic_files import atomic_file, storage_errors
from scythe_cli.storage.base import (
    MissingKeyError,
    RemoteFile,
    Storage,
    TransferInterruptedError,
)
from scythe_cli.storage.local import OpenLocalFile
from scythe_cli.storage.opening import open_storage

if TYPE_CHECKING:
    import ssl

    import httpx


__all__ = ["copy_remote", "download", "max_fetch_bytes", "open_uri", "repeatedly", "safe_name", "uri_scheme"]


_T = TypeVar("_T")
_DEFAULT_MAX_BYTES = 10_000_000_000
_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 5
_TRIES = 3
_FIRST_WAIT_S = 0.3
_MAX_NAME_BYTES = 160
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|%#\ud800-\udfff]')
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


def uri_scheme(reference: str) -> str | None:
    """The scheme of a URL in lower case; None for a path."""
    match = _SCHEME.match(reference)
    return match[1].lower() if match else None


def max_fetch_bytes() -> int:
    """The largest file that is fetched, from `SCYTHE_FETCH_MAX_BYTES`; 10 GB unless set.

    Raises:
        ConfigError: If the variable holds something else than a positive number.
    """
    text = os.environ.get("SCYTHE_FETCH_MAX_BYTES", "").strip()
    if not text:
        return _DEFAULT_MAX_BYTES
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigError(f"SCYTHE_FETCH_MAX_BYTES is {text!r}", hint="Give a number of bytes, such as 10000000000.")
    return int(text)


def safe_name(uri: str) -> str:
    """The last part of a URL or path as the name of a file on any system; its suffix is kept."""
    scheme = uri_scheme(uri)
    path = uri
    if scheme is not None:
        # after the host, of which a URL may have nothing else
        path = uri.partition("://")[2].partition("/")[2]
    if scheme in {"http", "https"}:
        path = re.split(r"[?#;]", path, maxsplit=1)[0]
    last = path.rstrip("/").rpartition("/")[2]
    if scheme is not None:
        last = unquote(last)
    name = _UNSAFE.sub("_", last).strip().rstrip(".")
    stem, dot, suffix = name.rpartition(".")
    if len(name.encode()) > _MAX_NAME_BYTES:
        kept = f"{dot}{suffix}" if stem and len(suffix.encode()) <= 32 else ""
        base = name.removesuffix(kept) if kept else name
        name = base.encode()[: _MAX_NAME_BYTES - len(kept.encode())].decode(errors="ignore") + kept
    if name.startswith("."):
        name = f"_{name[1:]}"  # hidden files are easily overlooked
    if name.split(".")[0].lower() in _DEVICES:
        name = f"_{name}"
    return name or "file"


def download(uri: str, target: Path, *, max_bytes: int | None = None) -> None:
    """Copy what a URI points to into a file, whole or not at all.

    Raises:
        StorageError: If it cannot be fetched: not found, refused, incomplete, too large.
    """
    limit = max_fetch_bytes() if max_bytes is None else max_bytes

    def once() -> None:
        with open_uri(uri) as remote:
            copy_remote(remote, uri, target, max_bytes=limit)

    repeatedly(once)


def repeatedly(once: Callable[[], _T]) -> _T:
    """Call again, a few times, when a transfer was interrupted."""
    for i in range(_TRIES - 1):
        try:
            return once()
        except TransferInterruptedError:
            time.sleep(_FIRST_WAIT_S * 3**i)
    return once()


def copy_remote(
    remote: RemoteFile, uri: str, target: Path, *, max_bytes: int, mode: int | None = None, expected: str | None = None
) -> None:
    """Copy an opened file into a local one, whole or not at all.

    Args:
        remote: The opened file.
        uri: Where it comes from, for messages.
        target: Where to.
        max_bytes: The largest file that is taken.
        mode: Permissions of the file.
        expected: The sha256 (hex) that it must have.

    Raises:
        StorageError: If it is incomplete, too large or has another hash.
    """
    shown = redact_uri(uri)
    if remote.size_bytes is not None and remote.size_bytes > max_bytes:
        raise _too_large(shown, max_bytes)
    digest = sha256()
    n_read = 0
    with storage_errors("write", target), atomic_file(target, mode=mode) as file:
        for chunk in iter(remote.read, b""):
            n_read += len(chunk)
            if n_read > max_bytes:
                raise _too_large(shown, max_bytes)
            digest.update(chunk)
            file.write(chunk)
        if expected is not None and digest.hexdigest() != expected:
            raise StorageError(
                f"cannot fetch {shown}: its content is not what it was when the run was allocated",
                hint=f"Its sha256 is {digest.hexdigest()}, and {expected} was expected.",
            )


def _too_large(shown: str, max_bytes: int) -> StorageError:
    return StorageError(
        f"cannot fetch {shown}: it has more than {max_bytes:,} bytes",
        hint="Set SCYTHE_FETCH_MAX_BYTES to allow more.",
    )


@contextmanager
def open_uri(uri: str) -> Generator[RemoteFile, None, None]:
    """Open what a URI points to.

    Raises:
        StorageError: If it cannot be opened; MissingKeyError if it does not exist.
    """
    scheme = uri_scheme(uri)
    if scheme in {"http", "https"}:
        with _open_http(uri) as remote:
            yield remote
    elif scheme == "s3":
        with _open_s3(uri) as remote:
            yield remote
    elif scheme in {None, "file"}:
        path = Path(uri) if scheme is None else _file_path(uri)
        with _open_path(path) as file:
            yield OpenLocalFile.of(file, str(path))
    else:
        raise StorageError(f"cannot fetch {redact_uri(uri)}: {scheme}:// is not supported")


def _open_path(path: Path) -> BinaryIO:
    with storage_errors("read", path):
        try:
            return open_regular(path, follow=True)  # links of the user's own are followed
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise MissingKeyError(f"cannot read {path}: it does not exist") from error


def _file_path(uri: str) -> Path:
    host, slash, path = uri.partition("://")[2].partition("/")
    if host not in {"", "localhost"}:
        raise StorageError(f"cannot fetch {redact_uri(uri)}: it names another machine")
    return Path(slash + unquote(path))


@lru_cache(maxsize=16)
def _bucket(name: str, environment: tuple[str | None, ...]) -> Storage:  # pyright: ignore[reportUnusedParameter]
    """The storage of a whole bucket; a client takes its time to be made, so it is kept while the environment lasts."""
    return open_storage(f"s3://{name}")


@contextmanager
def _open_s3(uri: str) -> Generator[RemoteFile, None, None]:
    bucket, _, path = uri.partition("://")[2].partition("/")
    storage = _bucket(bucket, tuple(os.environ.get(name) for name in _AWS))
    # a URL escapes what pydantic or a person escaped; but a key may also hold such a sequence by itself
    names = list(dict.fromkeys((unquote(path), path)))
    for i, name in enumerate(names):
        try:
            opened = storage.open_remote(name)
            remote = opened.__enter__()
        except MissingKeyError:
            if i == len(names) - 1:
                raise
            continue
        try:
            yield remote
        finally:
            opened.__exit__(None, None, None)
        return


_AWS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
)


class _HttpFile:
    """A file of a web server that is being read."""

    def __init__(self, response: httpx.Response, shown: str) -> None:
        self._response = response
        self._shown = shown
        self._chunks = response.iter_bytes(_CHUNK_BYTES)
        length = response.headers.get("content-length", "")
        self._length = int(length) if length.isdigit() else None
        # what is compressed on the way has another size when it arrives
        self.size_bytes = None if response.headers.get("content-encoding") else self._length
        headers = response.headers
        self.version: str | None = headers.get("etag") or headers.get("last-modified")

    def read(self) -> bytes:
        """The next chunk; empty at the end."""
        import httpx

        try:
            chunk = next(self._chunks, b"")
        except httpx.HTTPError as error:
            raise TransferInterruptedError(f"cannot fetch {self._shown}: the connection was lost") from error
        if not chunk and self._length is not None and self._response.num_bytes_downloaded != self._length:
            raise TransferInterruptedError(
                f"cannot fetch {self._shown}: {self._response.num_bytes_downloaded:,} of {self._length:,} bytes arrived"
            )
        return chunk


def reach_of(host: str) -> int:
    """How far inside a host is: 0 on the internet, 1 in a private network, 2 this machine, 3 the link it is on.

    What answers on a link is also the service that tells machines of a cloud their credentials.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return 0  # whoever asks it finds that out
    return max((_reach_of_address(str(address[0])) for *_, address in found), default=0)


def _reach_of_address(text: str) -> int:
    address = ipaddress.ip_address(text.partition("%")[0])
    inner = getattr(address, "ipv4_mapped", None) or address
    if inner.is_link_local:
        return 3
    if inner.is_loopback or inner.is_unspecified:
        return 2
    return 0 if inner.is_global else 1


@cache
def _tls_context(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """What httpx makes for each client, from the certificates that the environment names."""
    import httpx

    return httpx.create_ssl_context()


@contextmanager
def _open_http(uri: str) -> Generator[_HttpFile, None, None]:
    import httpx

    shown = redact_uri(uri)
    timeout = httpx.Timeout(30, connect=5)
    # a context takes as long to make as a small file to fetch
    context = _tls_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(timeout=timeout, follow_redirects=False, headers=headers, verify=context) as client:
        response = _get(client, uri, shown)
        try:
            yield _HttpFile(response, shown)
        finally:
            response.close()


def _get(client: httpx.Client, uri: str, shown: str) -> httpx.Response:
    """Ask for a file, following redirections; the body is not read yet."""
    import httpx

    address = uri
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            request = client.build_request("GET", address)
            response = client.send(request, stream=True)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError):
            # the address may hold a secret, and so may what the library says about it
            raise StorageError(f"cannot fetch {shown}: the address is not valid") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise TransferInterruptedError(f"cannot fetch {shown}: the server cannot be reached") from error
        except httpx.TransportError as error:
            raise TransferInterruptedError(f"cannot fetch {shown}: the server does not answer properly") from error
        if not response.is_redirect:
            return _checked(response, shown)
        target = response.headers.get("location", "")
        response.close()
        try:
            joined = request.url.join(target)
        except httpx.InvalidURL:
            raise StorageError(f"cannot fetch {shown}: it is redirected to an invalid address") from None
        if joined.scheme not in {"http", "https"}:
            raise StorageError(f"cannot fetch {shown}: it is redirected to {joined.scheme}://, which is not followed")
        if request.url.scheme == "https" and joined.scheme == "http":
            raise StorageError(f"cannot fetch {shown}: it is redirected from https to http, which is not followed")
        if joined.host != request.url.host and reach_of(joined.host) > reach_of(request.url.host):
            raise StorageError(
                f"cannot fetch {shown}: it is redirected to a host in a private network, which is not followed",
                hint="If the file is there, give that URL itself.",
            )
        address = str(joined)
    raise StorageError(f"cannot fetch {shown}: it is redirected more than {_MAX_REDIRECTS} times")


def _checked(response: httpx.Response, shown: str) -> httpx.Response:
    status = response.status_code
    if status == 200:
        return response
    response.close()
    what = f"cannot fetch {shown}: the server answers {status} {response.reason_phrase}".rstrip()
    if status in {404, 410}:
        raise MissingKeyError(what)
    if status in {401, 403}:
        raise StorageError(what, hint="The URL needs a login, or it is a signed URL that has expired.")
    if status in {429, 500, 502, 503, 504}:
        raise TransferInterruptedError(what)
    raise StorageError(what)
