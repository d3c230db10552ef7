"""A storage in a bucket of S3, or of a server that speaks like it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from scythe_cli.core.files import open_regular
from scythe_cli.errors import StorageError
from scythe_cli.storage.atomic_files import atomic_file, storage_errors
from scythe_cli.storage.base import (
    MAX_READ_BYTES,
    FileInfo,
    ForeignKeyError,
    MissingKeyError,
    Page,
    RefusedError,
    StorageCheck,
    check_key,
    check_prefix,
    key_or_none,
)
from scythe_cli.storage.checks import run_checks
from scythe_cli.storage.s3_bucket import Bucket, OpenS3File
from scythe_cli.storage.s3_client import client_of_process
from scythe_cli.storage.s3_faults import NO_DELETE_HINT, is_refusal, server_time
from scythe_cli.storage.s3_listing import list_many, list_objects, list_page
from scythe_cli.storage.s3_writing import abort_uploads, create, put_parts, verify

__all__ = ["S3Storage"]


SINGLE_PUT_BYTES = 32 << 20
"""Up to this size a file is sent in one request."""

_DELETE_AT_ONCE = 1000


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
        self._bucket = Bucket(bucket, prefix, self._client)

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
        return self._bucket.uri(key)

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
            with self._bucket.open_once(key) as remote:
                if (remote.size_bytes or 0) > max_bytes:  # a body never comes with more than that
                    raise ForeignKeyError(f"cannot read {self.uri(key)}: it has more than {max_bytes:,} bytes")
                return b"".join(iter(remote.read, b""))

        return self._bucket.patiently("read", self.uri(key), once)

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write or replace an object in one request."""
        self._bucket.put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object only if there is none; see `s3_writing.create`."""
        return create(self._bucket, key, data)

    def put_file(self, local_path: Path, key: str, *, sha256: str | None = None) -> None:
        """Send a local file; a large one in parts, which appear all at once."""
        self._bucket.object_of(key)  # what is no key is refused before anything is read
        with storage_errors("read", local_path), open_regular(local_path, follow=True) as file:
            size = os.fstat(file.fileno()).st_size
            if size > SINGLE_PUT_BYTES:
                put_parts(self._bucket, file, size, key, sha256)
                return
            data = file.read()
        verify(local_path, hashlib.sha256(data).hexdigest() if sha256 else None, sha256)
        self._bucket.put(key, data)

    def take_file(self, local_path: Path, key: str) -> None:
        """Send a local file."""
        self.put_file(local_path, key)

    def get_file(self, key: str, local_path: Path) -> None:
        """Copy an object to a local file."""
        check_key(key)

        def once() -> None:
            with (
                self._bucket.open_once(key) as remote,
                storage_errors("write", local_path),
                atomic_file(local_path) as file,
            ):
                for chunk in iter(remote.read, b""):
                    file.write(chunk)

        self._bucket.patiently("read", self.uri(key), once)

    @contextmanager
    def open_remote(self, key: str) -> Generator[OpenS3File, None, None]:
        """Read an object in chunks; what breaks off while it is read is the caller's to repeat."""
        answer = self._bucket.call("read", key, "get_object", Key=self._bucket.object_of(key))
        try:
            yield OpenS3File(self._client, answer, self.uri(key))
        finally:
            answer["Body"].close()

    def list_folders(self, prefix: str) -> list[str]:
        """Names of the common prefixes below a prefix."""
        start = self._bucket.start_of(prefix)
        folders = list_objects(self._bucket, prefix, flat=False).folders
        return sorted(name[len(start) :].rstrip("/") for name in folders)

    def list_files(self, prefix: str, *, starting: str = "") -> list[FileInfo]:
        """The objects directly below a prefix."""
        start = self._bucket.start_of(prefix)
        files = [
            FileInfo(name[len(start) :], int(file["Size"]), file["LastModified"].astimezone(UTC), file.get("ETag"))
            for name, file in list_objects(self._bucket, prefix, flat=False, starting=starting).files.items()
        ]
        return sorted((file for file in files if file.name and "/" not in file.name), key=lambda file: file.name)

    def list_many(self, places: Sequence[tuple[str, str]], *, most: int, flat: bool = True) -> list[Page | None]:
        """The first objects below many prefixes."""
        return list_many(self._bucket, places, most=most, flat=flat)

    def read_many(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        """The beginnings of many objects."""
        span = f"bytes=0-{n_bytes - 1}"
        names = [self._bucket.object_of(key) for key in keys]
        requests = [{"Bucket": self.bucket, "Key": name, "Range": span} for name in names]
        return self._client.fetch_many("get_object", requests, n_bytes)

    def list_others(self, prefix: str) -> list[str]:
        """Nothing: there are objects alone."""
        check_prefix(prefix)
        return []

    def list_tree(self, prefix: str) -> list[str]:
        """The keys of all objects below a prefix."""
        inside = len(f"{self.prefix}/") if self.prefix else 0
        names = [name[inside:] for name in list_objects(self._bucket, prefix, flat=True).files]
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
        return self.info(key).size_bytes

    def info(self, key: str) -> FileInfo:
        """What is known of an object, asked for by its name."""
        name = self._bucket.object_of(key)
        try:
            answer = self._bucket.call("read", key, "head_object", Key=name)
        except MissingKeyError:
            # to a HEAD request a missing object and a missing bucket look alike
            if not self._bucket.is_seen:
                list_page(self._bucket, "read", self.uri(key), Prefix=name, MaxKeys=1)
            raise
        modified = answer["LastModified"].astimezone(UTC)
        name, size_bytes = key.rpartition("/")[2], int(answer["ContentLength"])
        return FileInfo(name, size_bytes, modified, answer.get("ETag"), _age_s(answer, modified))

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._bucket.delete(key)

    def is_listed(self, key: str) -> bool:
        """Whether the server lists an object; what this process knows of it does not count."""
        name = self._bucket.object_of(key)
        page = list_page(self._bucket, "list", self.uri(key), Prefix=name, MaxKeys=1)
        return any(file["Key"] == name for file in page.get("Contents") or [])

    def discard(self, key: str) -> None:
        """Remove an object; what the bucket keeps stays."""
        try:
            self.delete(key)
        except RefusedError:
            self._client.keeps.add(self.bucket)

    def rename(self, key: str, to: str) -> None:
        """Give an object another key."""
        self.copy(key, to)
        self.delete(key)

    def copy(self, key: str, to: str) -> None:
        """Have the server copy an object."""
        source, target = {"Bucket": self.bucket, "Key": self._bucket.object_of(key)}, self._bucket.object_of(to)
        answer = self._bucket.call("read", key, "copy_object", Key=target, CopySource=source)
        self._client.recent.wrote(self.bucket, target, (answer.get("CopyObjectResult") or {}).get("ETag"))

    def delete_unfinished(self, prefix: str) -> None:
        """End uploads in parts that a killed process has begun: no list shows them, and they cost as objects do."""
        abort_uploads(self._bucket, self._bucket.start_of(prefix))

    def delete_tree(self, prefix: str) -> None:
        """Remove all objects below a prefix."""
        check_key(prefix)
        names = sorted(list_objects(self._bucket, prefix, flat=True).files)
        for i in range(0, len(names), _DELETE_AT_ONCE):
            objects = [{"Key": name} for name in names[i : i + _DELETE_AT_ONCE]]
            deletion = {"Objects": objects, "Quiet": True}
            answer = self._bucket.call("delete", prefix, "delete_objects", Delete=deletion)
            failed = answer.get("Errors") or []
            if failed:
                code = str(failed[0].get("Code"))
                kind, hint = (RefusedError, NO_DELETE_HINT) if is_refusal(code) else (StorageError, None)
                remain = "1 object remains" if len(failed) == 1 else f"{len(failed):,} objects remain"
                raise kind(f"cannot delete {self.uri(prefix)}: {remain} ({code})", hint=hint)
            for name in names[i : i + _DELETE_AT_ONCE]:
                self._client.recent.deleted(self.bucket, name)
        abort_uploads(self._bucket, self._bucket.start_of(prefix))

    def notices(self) -> list[str]:
        """That the clocks differ, or that nothing can be deleted."""
        kept = "does not let files be deleted: leases and other files that are of no more use stay there"
        refused = [f"s3://{self.bucket} {kept}"] if self.bucket in self._client.keeps else []
        return [*self._client.clock_notices(), *refused]

    def check(self) -> list[StorageCheck]:
        """Try out what a run needs."""
        return run_checks(self)


def _age_s(answer: dict[str, Any], modified: Any) -> float | None:
    """How old an object is by the clock of the server, in seconds; None where it does not tell the time."""
    now = server_time(answer)
    return None if now is None else (now - modified).total_seconds()
