"""Lists of objects, also where a store lists late what it has taken.

All current stores answer at once for what is asked for by name; some list an object only seconds after it was written,
or go on listing one that was deleted. So what this process has written or deleted of late is remembered, and wherever a
list does not agree, the object itself is asked for. Of a store whose lists are right, no more is asked than the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from scythe_cli.storage.base import MissingKeyError, Page
from scythe_cli.storage.s3_bucket import Bucket
from scythe_cli.storage.s3_client import plain_tag

__all__ = ["Listed", "list_many", "list_objects", "list_page"]


_MOST_BYTES = 4_000_000


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


def list_many(bucket: Bucket, places: Sequence[tuple[str, str]], *, most: int, flat: bool) -> list[Page | None]:
    """The first files below some prefixes; see `storage.base.ManyAtOnce`."""
    starts = [bucket.start_of(prefix) for prefix, _ in places]
    common: dict[str, Any] = {"Bucket": bucket.name, "MaxKeys": most, "EncodingType": "url"}
    if not flat:
        common["Delimiter"] = "/"
    requests = [
        {**common, "Prefix": start, **({"StartAfter": start + after} if after else {})}
        for start, (_, after) in zip(starts, places, strict=True)
    ]
    bodies = bucket.client.fetch_many("list_objects_v2", requests, _MOST_BYTES)
    return [
        # where this process has written or deleted, lists are compared with that
        None if body is None or bucket.client.recent.below(bucket.name, start) else _read_page(body, start, after)
        for start, (_, after), body in zip(starts, places, bodies, strict=True)
    ]


def _read_page(body: bytes, start: str, after: str) -> Page | None:
    """The objects of a list, as the server has written it; None where it is no list of them in order."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    is_truncated = root.findtext(f"{space}IsTruncated")
    if root.tag != f"{space}ListBucketResult" or is_truncated not in ("true", "false"):
        return None
    files: dict[str, str | None] = {}
    is_encoded = root.findtext(f"{space}EncodingType") == "url"
    last = start + after

    def told(text: str | None) -> str:
        return unquote_plus(text or "") if is_encoded else text or ""

    for each in root.iterfind(f"{space}Contents"):
        name = told(each.findtext(f"{space}Key"))
        # some stores have no order of names, and some do not know where a list is to begin
        if not name.startswith(start) or name.encode() <= last.encode():
            return None
        last = name
        files[name[len(start) :]] = each.findtext(f"{space}ETag")
    folders = [told(each.findtext(f"{space}Prefix")) for each in root.iterfind(f"{space}CommonPrefixes")]
    if not all(folder.startswith(start) for folder in folders):
        return None
    return Page(files, is_truncated == "false", [folder[len(start) :].rstrip("/") for folder in folders])


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
