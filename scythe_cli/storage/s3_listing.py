"""Lists of objects, also where a store lists late what it has taken.

All current stores answer at once for what is asked for by name; some list an object only seconds after it was written,
or go on listing one that was deleted. So what this process has written or deleted of late is remembered, and wherever a
list does not agree, the object itself is asked for. Of a store whose lists are right, no more is asked than the list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scythe_cli.storage.base import MissingKeyError
from scythe_cli.storage.s3_bucket import Bucket
from scythe_cli.storage.s3_client import plain_tag

__all__ = ["Listed", "list_objects", "list_page"]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list says.

    Attributes:
        files: The objects by name: `Key`, `Size`, `LastModified` and `ETag`.
        folders: The common prefixes; none where the list is flat.
    """

    files: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    folders: set[str] = field(default_factory=set[str])


def list_objects(bucket: Bucket, prefix: str, *, flat: bool, starting: str = "") -> Listed:
    """List what is below a prefix.

    Args:
        bucket: Where.
        prefix: The folder; "" for all.
        flat: Whether all objects below are listed, and not only those directly below, with folders.
        starting: Only names that begin like that.

    Raises:
        StorageError: If it cannot be listed.
    """
    start = bucket.start_of(prefix) + starting
    parameters: dict[str, Any] = {"Prefix": start}
    if not flat:
        parameters["Delimiter"] = "/"
    listed = Listed()
    while True:
        page = list_page(bucket, "list", f"s3://{bucket.name}/{start}", **parameters)
        listed.files.update((str(file["Key"]), file) for file in page.get("Contents") or [])
        listed.folders.update(str(folder["Prefix"]) for folder in page.get("CommonPrefixes") or [])
        if not page.get("IsTruncated"):
            break
        parameters["ContinuationToken"] = page["NextContinuationToken"]
    folder_start = len(bucket.start_of(prefix))
    for name, tag in bucket.client.recent.below(bucket.name, start):
        folder, slash, _ = name[folder_start:].partition("/")
        if flat or not slash:
            _mend_file(bucket, listed, name, tag)
        else:
            whole = name[:folder_start] + folder + slash
            if tag is not None and whole not in listed.folders and _head(bucket, name) is not None:
                listed.folders.add(whole)
    return listed


def list_page(bucket: Bucket, action: str, place: str, **parameters: Any) -> Any:
    """One page of a list; see `ListObjectsV2` for the parameters."""
    return bucket.patiently(action, place, lambda: bucket.once("list_objects_v2", **parameters))


def _mend_file(bucket: Bucket, listed: Listed, name: str, tag: str | None) -> None:
    """Ask for an object where the list does not say what this process has last done to it."""
    found = listed.files.get(name)
    if (found is None and tag is None) or (
        found is not None and tag is not None and plain_tag(found.get("ETag")) == tag
    ):
        return
    actual = _head(bucket, name)
    if actual is None:
        listed.files.pop(name, None)
        return
    if found is not None and (found["Size"], found["LastModified"]) == (actual["Size"], actual["LastModified"]):
        # it is listed as it is: another has written it since, or the store lists other tags than it gives
        bucket.client.recent.wrote(bucket.name, name, found.get("ETag"))
    listed.files[name] = actual


def _head(bucket: Bucket, name: str) -> dict[str, Any] | None:
    """What a list would say of an object; None when there is none."""
    place = f"s3://{bucket.name}/{name}"
    try:
        answer = bucket.patiently("read", place, lambda: bucket.once("head_object", Key=name))
    except MissingKeyError:
        return None
    return {
        "Key": name,
        "Size": answer["ContentLength"],
        "LastModified": answer["LastModified"],
        "ETag": answer.get("ETag"),
    }
