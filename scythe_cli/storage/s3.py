"""A storage in a bucket of S3, or of a server that speaks like it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote
from uuid import uuid4

from scythe_cli.core.files import open_regular
from scythe_cli.errors import StorageError
from scythe_cli.storage.atomic_files import atomic_file, storage_errors
from scythe_cli.storage.base import (
    MAX_READ_BYTES,
    FileInfo,
    ForeignKeyError,
    MissingKeyError,
    StorageCheck,
    TransferInterruptedError,
    check_key,
    check_prefix,
    key_or_none,
)
from scythe_cli.storage.checks import run_checks
from scythe_cli.storage.s3_client import S3Client, client_of_process
from scythe_cli.storage.s3_faults import CLIENT_ERRORS, FaultKind, diagnose

__all__ = ["OpenS3File", "S3Storage"]


_CHUNK_BYTES = 1 << 20
SINGLE_PUT_BYTES = 32 << 20
"""Up to this size a file is sent in one request."""
PART_BYTES = 16 << 20
_PARTS_IN_FLIGHT = 3
_MAX_PARTS = 10_000
_DELETE_AT_ONCE = 1000
_TOKEN = "scythe-create"


class OpenS3File:
    """An object that is being read."""

    def __init__(self, client: S3Client, answer: dict[str, Any], place: str) -> None:
        self._client = client
        self._body = answer["Body"]
        self._place = place
        self._n_read = 0
        self.size_bytes: int | None = answer.get("ContentLength")
        self.version: str | None = answer.get("VersionId") or answer.get("ETag")

    def read(self) -> bytes:
        """The next chunk; empty at the end.

        Raises:
            TransferInterruptedError: If the connection was lost.
        """
        try:
            chunk = self._client.read_body(self._body, _CHUNK_BYTES)
        except CLIENT_ERRORS as error:
            raise TransferInterruptedError(f"cannot read {self._place}: the connection was lost") from error
        self._n_read += len(chunk)
        if not chunk and self.size_bytes is not None and self._n_read != self.size_bytes:
            what = f"{self._n_read} of {self.size_bytes} bytes arrived"
            raise TransferInterruptedError(f"cannot read {self._place}: {what}")
        return chunk


@dataclass(frozen=True, slots=True)
class _Listed:
    files: list[dict[str, Any]]
    folders: list[str]


class S3Storage:
    """A storage under a prefix of a bucket.

    Attributes:
        bucket: The bucket, which must exist.
        prefix: The prefix of all keys; "" for the whole bucket.
    """

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.bucket = bucket
        self.prefix = prefix
        self._client = client_of_process()
        self._bucket_seen = False

    def __reduce__(self) -> tuple[type[S3Storage], tuple[str, str]]:
        return type(self), (self.bucket, self.prefix)

    def __repr__(self) -> str:
        return f"S3Storage({self.location!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Storage) and self.location == other.location

    def __hash__(self) -> int:
        return hash(self.location)

    @property
    def location(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    def uri(self, key: str) -> str:
        """The S3 URL of a key; `%` is escaped, so that the URL means the same after being normalised."""
        return f"s3://{self.bucket}/{self._object(key).replace('%', '%25')}"

    def key_of(self, uri: str) -> str | None:
        """The key of an S3 URL; None when it lies elsewhere."""
        start = f"s3://{self.bucket}/"
        inside = f"{self.prefix}/" if self.prefix else ""
        if not uri.startswith(start):
            return None
        name = unquote(uri.removeprefix(start))
        return key_or_none(name.removeprefix(inside)) if name.startswith(inside) else None

    def local_path(self, key: str) -> Path | None:
        """None: nothing here is a local file."""
        check_key(key)

    def read_bytes(self, key: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """The content of an object."""
        check_key(key)

        def once() -> bytes:
            with self._open(key) as remote:
                if (remote.size_bytes or 0) > max_bytes:  # a body never comes with more than that
                    raise ForeignKeyError(f"cannot read {self.uri(key)}: it has more than {max_bytes:,} bytes")
                return b"".join(iter(remote.read, b""))

        return self._patiently("read", key, once)

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write or replace an object in one request."""
        self._call("write", key, "put_object", Key=self._object(key), Body=data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object only if there is none.

        When the answer to a request is lost, the next one is told that the object exists, although it may be the
        caller's own; and the HTTP client may have sent it again without a word. A token in the metadata tells it apart
        from that of somebody else with the same content.
        """
        name = self._object(key)
        token = uuid4().hex
        maybe_done = False

        def once() -> bool:
            nonlocal maybe_done
            try:
                self._client.call(
                    "put_object", Bucket=self.bucket, Key=name, Body=data, IfNoneMatch="*", Metadata={_TOKEN: token}
                )
            except CLIENT_ERRORS as error:
                fault = diagnose(error)
                if fault.kind is FaultKind.EXISTS:
                    return False
                maybe_done = maybe_done or fault.maybe_done
                raise
            return True

        if self._patiently("write", key, once):
            return True
        return self._is_own(key, token, data if maybe_done else None)

    def put_file(self, local_path: Path, key: str, *, sha256: str | None = None) -> None:
        """Send a local file; a large one in parts, which appear all at once."""
        name = self._object(key)
        with storage_errors("read", local_path), open_regular(local_path, follow=True) as file:
            size = os.fstat(file.fileno()).st_size
            if size > SINGLE_PUT_BYTES:
                self._put_parts(file, size, key, sha256)
                return
            data = file.read()
        _verify(local_path, hashlib.sha256(data).hexdigest() if sha256 else None, sha256)
        self._call("write", key, "put_object", Key=name, Body=data)

    def take_file(self, local_path: Path, key: str) -> None:
        """Send a local file."""
        self.put_file(local_path, key)

    def get_file(self, key: str, local_path: Path) -> None:
        """Copy an object to a local file."""
        check_key(key)

        def once() -> None:
            with (
                self._open(key) as remote,
                storage_errors("write", local_path),
                atomic_file(local_path) as file,
            ):
                for chunk in iter(remote.read, b""):
                    file.write(chunk)

        self._patiently("read", key, once)

    @contextmanager
    def open_remote(self, key: str) -> Generator[OpenS3File, None, None]:
        """Read an object in chunks; what breaks off while it is read is the caller's to repeat."""
        answer = self._call("read", key, "get_object", Key=self._object(key))
        try:
            yield OpenS3File(self._client, answer, self.uri(key))
        finally:
            answer["Body"].close()

    def list_folders(self, prefix: str) -> list[str]:
        """Names of the common prefixes below a prefix."""
        start = self._start(prefix)
        return sorted(name[len(start) :].rstrip("/") for name in self._list(prefix, flat=False).folders)

    def list_files(self, prefix: str, *, starting: str = "") -> list[FileInfo]:
        """The objects directly below a prefix."""
        start = self._start(prefix)
        files = [
            FileInfo(
                file["Key"][len(start) :], int(file["Size"]), file["LastModified"].astimezone(UTC), file.get("ETag")
            )
            for file in self._list(prefix, flat=False, starting=starting).files
        ]
        return sorted((file for file in files if file.name and "/" not in file.name), key=lambda file: file.name)

    def list_others(self, prefix: str) -> list[str]:
        """Nothing: there are objects alone."""
        check_prefix(prefix)
        return []

    def list_tree(self, prefix: str) -> list[str]:
        """The keys of all objects below a prefix."""
        inside = len(f"{self.prefix}/") if self.prefix else 0
        names = [str(file["Key"])[inside:] for file in self._list(prefix, flat=True).files]
        return sorted(name for name in names if key_or_none(name) is not None)

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        try:
            self.size(key)
        except MissingKeyError:
            return False
        return True

    def size(self, key: str) -> int:
        """The size of an object."""
        try:
            answer = self._call("read", key, "head_object", Key=self._object(key))
        except MissingKeyError:
            # to a HEAD request a missing object and a missing bucket look alike
            if not self._bucket_seen:
                self._list_page("read", self.uri(key), Prefix=self._object(key), MaxKeys=1)
            raise
        return int(answer["ContentLength"])

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._call("delete", key, "delete_object", Key=self._object(key))

    def rename(self, key: str, to: str) -> None:
        """Give an object another key."""
        self.copy(key, to)
        self.delete(key)

    def copy(self, key: str, to: str) -> None:
        """Have the server copy an object."""
        source = {"Bucket": self.bucket, "Key": self._object(key)}
        self._call("read", key, "copy_object", Key=self._object(to), CopySource=source)

    def delete_unfinished(self, prefix: str) -> None:
        """Nothing: no object is unfinished."""
        check_prefix(prefix)

    def delete_tree(self, prefix: str) -> None:
        """Remove all objects below a prefix."""
        check_key(prefix)
        names = [str(file["Key"]) for file in self._list(prefix, flat=True).files]
        for i in range(0, len(names), _DELETE_AT_ONCE):
            objects = [{"Key": name} for name in names[i : i + _DELETE_AT_ONCE]]
            answer = self._call("delete", prefix, "delete_objects", Delete={"Objects": objects, "Quiet": True})
            failed = answer.get("Errors") or []
            if failed:
                raise StorageError(
                    f"cannot delete {self.uri(prefix)}: {len(failed)} objects remain ({failed[0].get('Code')})"
                )

    def check(self) -> list[StorageCheck]:
        """Try out what a run needs."""
        return run_checks(self)

    def _object(self, key: str) -> str:
        """The name of a key in the bucket."""
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def _start(self, prefix: str) -> str:
        """What the names of all objects below a prefix begin with."""
        parts = [part for part in (self.prefix, check_prefix(prefix)) if part]
        return "/".join([*parts, ""]) if parts else ""

    def _patiently(self, action: str, key: str, once: Any) -> Any:
        value = self._client.patiently(action, self.uri(key), once)
        self._bucket_seen = True
        return value

    def _call(self, action: str, key: str, operation: str, **parameters: Any) -> Any:
        return self._patiently(action, key, lambda: self._client.call(operation, Bucket=self.bucket, **parameters))

    @contextmanager
    def _open(self, key: str) -> Generator[OpenS3File, None, None]:
        """Open an object once; the caller repeats opening and reading together."""
        answer = self._client.call("get_object", Bucket=self.bucket, Key=self._object(key))
        try:
            yield OpenS3File(self._client, answer, self.uri(key))
        finally:
            answer["Body"].close()

    def _list(self, prefix: str, *, flat: bool, starting: str = "") -> _Listed:
        start = self._start(prefix) + starting
        place = f"s3://{self.bucket}/{start}"
        parameters: dict[str, Any] = {"Prefix": start}
        if not flat:
            parameters["Delimiter"] = "/"
        listed = _Listed([], [])
        while True:
            page = self._list_page("list", place, **parameters)
            listed.files.extend(page.get("Contents") or [])
            listed.folders.extend(str(folder["Prefix"]) for folder in page.get("CommonPrefixes") or [])
            if not page.get("IsTruncated"):
                return listed
            parameters["ContinuationToken"] = page["NextContinuationToken"]

    def _list_page(self, action: str, place: str, **parameters: Any) -> Any:
        page = self._client.patiently(
            action, place, lambda: self._client.call("list_objects_v2", Bucket=self.bucket, **parameters)
        )
        self._bucket_seen = True
        return page

    def _is_own(self, key: str, token: str, data: bytes | None) -> bool:
        """Whether an object is the one that a lost request made: by the token, else by the content if it is given."""
        try:
            metadata: dict[str, str] = self._call("read", key, "head_object", Key=self._object(key)).get("Metadata", {})
            kept = {name.lower(): value for name, value in metadata.items()}.get(_TOKEN)
            # some servers keep no metadata
            if kept is not None:
                return kept == token
            return data is not None and self.read_bytes(key) == data
        except MissingKeyError:
            return False

    def _put_parts(self, file: BinaryIO, size: int, key: str, sha256: str | None) -> None:
        name = self._object(key)
        upload = self._call("write", key, "create_multipart_upload", Key=name)["UploadId"]
        same: dict[str, Any] = {"Key": name, "UploadId": upload}
        try:
            parts = self._send_parts(file, max(PART_BYTES, -(-size // _MAX_PARTS)), key, same, sha256)
            self._call("write", key, "complete_multipart_upload", **same, MultipartUpload={"Parts": parts})
        except BaseException:
            # the first failure is the one to report; the bucket's lifecycle rules remove the parts
            with suppress(StorageError):
                self._call("write", key, "abort_multipart_upload", **same)
            raise

    def _send_parts(
        self, file: BinaryIO, part_bytes: int, key: str, same: dict[str, Any], sha256: str | None
    ) -> list[dict[str, Any]]:
        digest = hashlib.sha256()
        sent: dict[int, Future[Any]] = {}
        with ThreadPoolExecutor(_PARTS_IN_FLIGHT, thread_name_prefix="scythe-upload") as pool:
            while data := file.read(part_bytes):
                if sha256:
                    digest.update(data)
                under_way = [future for future in sent.values() if not future.done()]
                if len(under_way) >= _PARTS_IN_FLIGHT:
                    wait(under_way, return_when=FIRST_COMPLETED)
                number = len(sent) + 1
                sent[number] = pool.submit(
                    self._call, "write", key, "upload_part", **same, PartNumber=number, Body=data
                )
                # a part that failed ends it here and not after the whole file
                for future in [future for future in sent.values() if future.done()]:
                    future.result()
        _verify(Path(file.name), digest.hexdigest() if sha256 else None, sha256)
        return [{"PartNumber": number, "ETag": future.result()["ETag"]} for number, future in sorted(sent.items())]


def _verify(local_path: Path, actual: str | None, expected: str | None) -> None:
    if actual != expected:
        raise StorageError(f"{local_path} changed while it was uploaded", hint="Run the command again.")
