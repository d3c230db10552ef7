"""A prefix of a bucket: what keys are called there, and calls of operations, repeated while a fault can pass."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from scythe_cli.storage.base import TransferInterruptedError, check_key, check_prefix
from scythe_cli.storage.s3_client import S3Client
from scythe_cli.storage.s3_faults import CLIENT_ERRORS

__all__ = ["Bucket", "OpenS3File"]


_CHUNK_BYTES = 1 << 20
_T = TypeVar("_T")


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


@dataclass
class Bucket:
    """A prefix of a bucket.

    Attributes:
        name: The bucket.
        prefix: The prefix of all keys; "" for the whole bucket.
        client: Who is asked.
        is_seen: Whether the bucket has answered, and so exists.
    """

    name: str
    prefix: str
    client: S3Client
    is_seen: bool = False

    def object_of(self, key: str) -> str:
        """The name of a key in the bucket."""
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def start_of(self, prefix: str) -> str:
        """What the names of all objects below a prefix begin with."""
        parts = [part for part in (self.prefix, check_prefix(prefix)) if part]
        return "/".join([*parts, ""]) if parts else ""

    def uri(self, key: str) -> str:
        """The S3 URL of a key; `%` is escaped, so that the URL means the same after being normalised."""
        return f"s3://{self.name}/{self.object_of(key).replace('%', '%25')}"

    def patiently(self, action: str, place: str, once: Callable[[], _T]) -> _T:
        """See `S3Client.patiently`."""
        value = self.client.patiently(action, place, once)
        self.is_seen = True
        return value

    def once(self, operation: str, **parameters: Any) -> Any:
        """One operation, once."""
        return self.client.call(operation, Bucket=self.name, **parameters)

    def call(self, action: str, key: str, operation: str, **parameters: Any) -> Any:
        """One operation on a key, repeated while a fault can pass.

        Args:
            action: What is done, for the message.
            key: The key, which becomes the parameter `Key` unless that is among the parameters or of no use.
            operation: The operation.
            parameters: Its parameters.
        """
        return self.patiently(action, self.uri(key), lambda: self.once(operation, **parameters))

    def put(self, key: str, data: bytes) -> None:
        """Write or replace an object in one request."""
        name = self.object_of(key)
        answer = self.call("write", key, "put_object", Key=name, Body=data)
        self.client.recent.wrote(self.name, name, answer.get("ETag"))

    def delete(self, key: str) -> None:
        """Remove an object."""
        name = self.object_of(key)
        self.call("delete", key, "delete_object", Key=name)
        self.client.recent.deleted(self.name, name)

    @contextmanager
    def open_once(self, key: str) -> Generator[OpenS3File, None, None]:
        """Open an object once; the caller repeats opening and reading together."""
        answer = self.once("get_object", Key=self.object_of(key))
        try:
            yield OpenS3File(self.client, answer, self.uri(key))
        finally:
            answer["Body"].close()
