"""Writing objects: exclusively, and large files in parts that appear all at once."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from scythe_cli.errors import StorageError
from scythe_cli.storage.base import MissingKeyError
from scythe_cli.storage.s3_bucket import Bucket
from scythe_cli.storage.s3_client import plain_tag
from scythe_cli.storage.s3_faults import CLIENT_ERRORS, FaultKind, diagnose

__all__ = ["PART_BYTES", "abort_uploads", "create", "put_parts", "verify"]


PART_BYTES = 16 << 20
"""The size of a part, unless the file has too many of them."""

_PARTS_IN_FLIGHT = 3
_MAX_PARTS = 10_000
_TOKEN = "scythe-create"
_AGAIN_S = (0.1, 0.3, 1.0)


def create(bucket: Bucket, key: str, data: bytes) -> bool:
    """Write an object only if there is none.

    When the answer to a request is lost, the next one is told that the object exists, although it may be the caller's
    own; and the HTTP client may have sent it again without a word. A token in the metadata tells it apart from that of
    somebody else with the same content.

    There are servers that take no notice of the condition. So the first object that a process makes in a bucket is sent
    twice, if there was none before: the second must be refused.

    Raises:
        StorageError: If it cannot be written, or the server does not honour the condition.
    """
    new = _New(bucket, key, data)
    is_checked = bucket.name in bucket.client.exclusive
    for again_s in _AGAIN_S:
        if not is_checked and new.is_there():
            return False  # it is not risked that a server replaces it
        if new.send():
            if not is_checked:
                _check_exclusive(new)
            break
        found = new.is_own()
        if found is not None:
            bucket.client.exclusive.add(bucket.name)
            return found
        time.sleep(again_s)  # it was deleted in this moment
    else:
        raise _not_exclusive(new, "says that a file exists which does not")
    bucket.client.exclusive.add(bucket.name)
    return True


@dataclass
class _New:
    """An object that is to be made."""

    bucket: Bucket
    key: str
    data: bytes
    token: str = field(default_factory=lambda: uuid4().hex)
    _maybe_done: bool = False

    @property
    def name(self) -> str:
        return self.bucket.object_of(self.key)

    def is_there(self) -> bool:
        """Whether there is any object of that name."""
        with suppress(MissingKeyError):
            self.bucket.call("read", self.key, "head_object", Key=self.name)
            return True
        return False

    def send(self) -> bool:
        """Send it; False when the server says that there is one."""
        return self.bucket.patiently("write", self.bucket.uri(self.key), self._send_once)

    def _send_once(self) -> bool:
        try:
            answer = self.bucket.once(
                "put_object", Key=self.name, Body=self.data, IfNoneMatch="*", Metadata={_TOKEN: self.token}
            )
        except CLIENT_ERRORS as error:
            fault = diagnose(error)
            if fault.kind is FaultKind.EXISTS:
                return False
            if fault.kind is FaultKind.UNSUPPORTED:
                raise _not_exclusive(self, "answers that it cannot") from error
            self._maybe_done = self._maybe_done or fault.maybe_done
            raise
        self.bucket.client.recent.wrote(self.bucket.name, self.name, answer.get("ETag"))
        return True

    def is_own(self) -> bool | None:
        """Whether the object is the one that was sent, by its token, or else by the content if it may be; None if none.

        Raises:
            StorageError: If it cannot be read.
        """
        try:
            answer = self.bucket.call("read", self.key, "head_object", Key=self.name)
            metadata: dict[str, str] = answer.get("Metadata", {})
            kept = {name.lower(): value for name, value in metadata.items()}.get(_TOKEN)
            # some servers keep no metadata
            own = kept == self.token if kept is not None else self._maybe_done and self._content() == self.data
        except MissingKeyError:
            return None
        if own:
            self.bucket.client.recent.wrote(self.bucket.name, self.name, answer.get("ETag"))
        return own

    def _content(self) -> bytes:
        return _content(self.bucket, self.key)


def _check_exclusive(new: _New) -> None:
    """See that what was just made cannot be made again.

    Raises:
        StorageError: If it can; then it is removed.
    """
    if not new.send():
        return
    # or somebody has removed it in between: that is not likely twice
    folder = new.key.rpartition("/")[0]
    other = _New(new.bucket, f"{folder}/.scythe-check-{uuid4().hex[:16]}".lstrip("/"), b"")
    is_exclusive = not (other.send() and other.send())
    for made in (other,) if is_exclusive else (other, new):
        with suppress(StorageError):
            new.bucket.delete(made.key)
    if not is_exclusive:
        raise _not_exclusive(new, "has taken a new file twice")


def _not_exclusive(new: _New, what: str) -> StorageError:
    return StorageError(
        f"cannot write {new.bucket.uri(new.key)}: the server does not create exclusively (it {what}), "
        "so two processes could get the same run",
        hint="Use an S3 server that honours If-None-Match, or a local folder.",
    )


def _content(bucket: Bucket, key: str) -> bytes:
    def once() -> bytes:
        with bucket.open_once(key) as remote:
            return b"".join(iter(remote.read, b""))

    return bucket.patiently("read", bucket.uri(key), once)


def put_parts(bucket: Bucket, file: BinaryIO, size: int, key: str, sha256: str | None) -> None:
    """Send a file in parts, which appear all at once.

    An upload that somebody else has ended is begun once more.

    Args:
        bucket: Where to.
        file: The file.
        size: Its size in bytes.
        key: Its key.
        sha256: The hash (hex) that what is sent must have; None for any.

    Raises:
        StorageError: If it cannot be written, or has another hash; then nothing is left of it.
    """
    for is_last in (False, True):
        file.seek(0)
        try:
            _Upload(bucket, key, size).send(file, sha256)
        except UploadEndedError:
            if is_last:
                raise
        else:
            return


class UploadEndedError(StorageError):
    """The server knows nothing of an upload that was begun."""


class _Upload:
    """An upload in parts, from its beginning to its end."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._name = bucket.object_of(key)
        self._token = uuid4().hex
        self._n_begun = 0
        self._is_maybe_complete = False

    def send(self, file: BinaryIO, sha256: str | None) -> None:
        bucket, key = self._bucket, self._key
        upload: str = bucket.patiently("write", bucket.uri(key), self._begin_once)["UploadId"]
        same: dict[str, Any] = {"Key": self._name, "UploadId": upload}
        try:
            parts = _send_parts(bucket, file, max(PART_BYTES, -(-self._size // _MAX_PARTS)), key, same, sha256)
            tag = bucket.patiently("write", bucket.uri(key), lambda: self._complete_once(same, parts))
            if tag is None:
                tag = self._own_tag(parts)
        except BaseException:
            # the first failure is the one to report
            with suppress(StorageError):
                bucket.call("write", key, "abort_multipart_upload", **same)
            raise
        finally:
            if self._n_begun > 1:
                # the answer to a request to begin was lost: then there is an upload that nobody knows of
                abort_uploads(bucket, self._name, whole=True)
        bucket.client.recent.wrote(bucket.name, self._name, tag)

    def _begin_once(self) -> Any:
        self._n_begun += 1
        return self._bucket.once("create_multipart_upload", Key=self._name, Metadata={_TOKEN: self._token})

    def _complete_once(self, same: dict[str, Any], parts: list[dict[str, Any]]) -> str | None:
        """Put the parts together; None where that may have been done by a request whose answer was lost."""
        try:
            answer = self._bucket.once("complete_multipart_upload", **same, MultipartUpload={"Parts": parts})
        except CLIENT_ERRORS as error:
            fault = diagnose(error)
            if fault.kind is FaultKind.NO_UPLOAD and self._is_maybe_complete:
                return None
            self._is_maybe_complete = self._is_maybe_complete or fault.maybe_done
            raise
        return str(answer.get("ETag") or "")

    def _own_tag(self, parts: list[dict[str, Any]]) -> str:
        """The ETag of the object, if it is the one that was sent.

        Raises:
            UploadEndedError: If it is not there, or another.
        """
        try:
            answer = self._bucket.call("read", self._key, "head_object", Key=self._name)
        except MissingKeyError:
            answer = {}
        metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
        # some servers keep no metadata; their ETag tells the parts
        tag, own_tag = plain_tag(answer.get("ETag")), _tag_of(parts)
        is_own = metadata[_TOKEN] == self._token if _TOKEN in metadata else own_tag is not None and tag == own_tag
        if not is_own or answer.get("ContentLength") != self._size:
            raise UploadEndedError(f"cannot write {self._bucket.uri(self._key)}: the upload was ended by the server")
        return tag


def _tag_of(parts: list[dict[str, Any]]) -> str | None:
    """The ETag of an object of parts, as most servers tell it; None where those of the parts are no MD5."""
    try:
        digests = b"".join(bytes.fromhex(plain_tag(part["ETag"])) for part in parts)
    except ValueError:
        return None
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def abort_uploads(bucket: Bucket, start: str, *, whole: bool = False) -> None:
    """End uploads in parts that nobody will finish, as far as the server tells of them and lets it be done.

    Args:
        bucket: Where they are.
        start: What the names of their objects begin with.
        whole: Whether that is the whole name.
    """
    marker: dict[str, Any] = {}
    # a server need not know any of this, and a key may not be allowed to; the bucket's lifecycle rules are left then
    with suppress(StorageError):
        while True:
            page = _call_below(bucket, start, "list", "list_multipart_uploads", Prefix=start, **marker)
            for upload in page.get("Uploads") or []:
                if not whole or upload["Key"] == start:
                    same = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                    with suppress(StorageError):
                        _call_below(bucket, start, "delete", "abort_multipart_upload", **same)
            if not page.get("IsTruncated") or not page.get("NextKeyMarker"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker") or ""}


def _call_below(bucket: Bucket, start: str, action: str, operation: str, **parameters: Any) -> Any:
    return bucket.patiently(action, f"s3://{bucket.name}/{start}", lambda: bucket.once(operation, **parameters))


def _send_parts(
    bucket: Bucket, file: BinaryIO, part_bytes: int, key: str, same: dict[str, Any], sha256: str | None
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
            sent[number] = pool.submit(bucket.call, "write", key, "upload_part", **same, PartNumber=number, Body=data)
            # a part that failed ends it here and not after the whole file
            for future in [future for future in sent.values() if future.done()]:
                future.result()
    verify(Path(file.name), digest.hexdigest() if sha256 else None, sha256)
    return [{"PartNumber": number, "ETag": future.result()["ETag"]} for number, future in sorted(sent.items())]


def verify(local_path: Path, actual: str | None, expected: str | None) -> None:
    """See that what was sent of a file is what was to be sent.

    Raises:
        StorageError: If the hashes (hex) differ.
    """
    if actual != expected:
        raise StorageError(f"{local_path} changed while it was uploaded", hint="Run the command again.")
