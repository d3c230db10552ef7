"""Writing objects: exclusively, and large files in parts that appear all at once."""

from __future__ import annotations

import hashlib
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from scythe_cli.errors import StorageError
from scythe_cli.storage.base import MissingKeyError
from scythe_cli.storage.s3_bucket import Bucket
from scythe_cli.storage.s3_faults import CLIENT_ERRORS, FaultKind, diagnose

__all__ = ["PART_BYTES", "create", "put_parts", "verify"]


PART_BYTES = 16 << 20
"""The size of a part, unless the file has too many of them."""

_PARTS_IN_FLIGHT = 3
_MAX_PARTS = 10_000
_TOKEN = "scythe-create"


def create(bucket: Bucket, key: str, data: bytes) -> bool:
    """Write an object only if there is none.

    When the answer to a request is lost, the next one is told that the object exists, although it may be the caller's
    own; and the HTTP client may have sent it again without a word. A token in the metadata tells it apart from that of
    somebody else with the same content.

    Raises:
        StorageError: If it cannot be written.
    """
    name = bucket.object_of(key)
    token = uuid4().hex
    maybe_done = False

    def once() -> bool:
        nonlocal maybe_done
        try:
            answer = bucket.once("put_object", Key=name, Body=data, IfNoneMatch="*", Metadata={_TOKEN: token})
        except CLIENT_ERRORS as error:
            fault = diagnose(error)
            if fault.kind is FaultKind.EXISTS:
                return False
            maybe_done = maybe_done or fault.maybe_done
            raise
        bucket.client.recent.wrote(bucket.name, name, answer.get("ETag"))
        return True

    if bucket.patiently("write", bucket.uri(key), once):
        return True
    return _is_own(bucket, key, token, data if maybe_done else None)


def _is_own(bucket: Bucket, key: str, token: str, data: bytes | None) -> bool:
    """Whether an object is the one that a lost request made: by the token, else by the content if it is given."""
    try:
        answer = bucket.call("read", key, "head_object", Key=bucket.object_of(key))
        metadata: dict[str, str] = answer.get("Metadata", {})
        kept = {name.lower(): value for name, value in metadata.items()}.get(_TOKEN)
        # some servers keep no metadata
        own = kept == token if kept is not None else data is not None and _content(bucket, key) == data
    except MissingKeyError:
        return False
    if own:
        bucket.client.recent.wrote(bucket.name, bucket.object_of(key), answer.get("ETag"))
    return own


def _content(bucket: Bucket, key: str) -> bytes:
    def once() -> bytes:
        with bucket.open_once(key) as remote:
            return b"".join(iter(remote.read, b""))

    return bucket.patiently("read", bucket.uri(key), once)


def put_parts(bucket: Bucket, file: BinaryIO, size: int, key: str, sha256: str | None) -> None:
    """Send a file in parts, which appear all at once.

    Args:
        bucket: Where to.
        file: The file.
        size: Its size in bytes.
        key: Its key.
        sha256: The hash (hex) that what is sent must have; None for any.

    Raises:
        StorageError: If it cannot be written, or has another hash.
    """
    name = bucket.object_of(key)
    upload = bucket.call("write", key, "create_multipart_upload", Key=name)["UploadId"]
    same: dict[str, Any] = {"Key": name, "UploadId": upload}
    try:
        parts = _send_parts(bucket, file, max(PART_BYTES, -(-size // _MAX_PARTS)), key, same, sha256)
        answer = bucket.call("write", key, "complete_multipart_upload", **same, MultipartUpload={"Parts": parts})
    except BaseException:
        # the first failure is the one to report; the bucket's lifecycle rules remove the parts
        with suppress(StorageError):
            bucket.call("write", key, "abort_multipart_upload", **same)
        raise
    bucket.client.recent.wrote(bucket.name, name, answer.get("ETag"))


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
