"""References to files: the types for fields of a spec, and what is done with a reference by itself."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin
from urllib.parse import unquote, urlsplit

from pydantic import AnyHttpUrl, AnyUrl, BeforeValidator, HttpUrl, UrlConstraints
from pydantic.types import PathType
from typing_extensions import TypeAliasType

from scythe_cli.core.folders import cache_folder

__all__ = [
    "FileReference",
    "OptionalFileReference",
    "S3Url",
    "StoredUri",
    "cached_path",
    "fetch_uri",
    "is_file_reference",
]


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class S3Url(AnyUrl):
    """The URL of an object in S3: `s3://bucket/key`."""

    _constraints: ClassVar[UrlConstraints] = UrlConstraints(allowed_schemes=["s3"], host_required=True)


def _local_only(value: Any) -> Any:
    """Keep a URL from being read as a path, which pydantic prefers for JSON."""
    if isinstance(value, str):
        if not value:
            raise ValueError("a reference to a file cannot be empty")
        if _SCHEME.match(value):
            raise ValueError("a URL of a file must be a valid s3://, http:// or https:// URL")
    return value


FileReference = S3Url | HttpUrl | Annotated[Path, BeforeValidator(_local_only)]
"""A file in S3, on a web server, or on this machine. A string with a scheme is a URL, any other is a path."""

StoredUri = S3Url | Annotated[Path, BeforeValidator(_local_only)]
"""Where something of a run is: in S3, or below a folder of this machine."""

OptionalFileReference = FileReference | None
"""A file, or none."""


def cached_path(uri: str, scope: str) -> Path:
    """Where the copy of a file is kept for the specs of one run.

    Args:
        uri: Where the file lies.
        scope: The run.

    Raises:
        ValueError: If the URL has no path.
    """
    url = urlsplit(uri)
    parts = [part for part in unquote(url.path).split("/") if part not in ("", ".", "..")]
    if not parts:
        raise ValueError(f"{uri} has no path")
    return cache_folder() / "specs" / (scope or "none") / (url.netloc or "local") / Path(*parts)


def fetch_uri(uri: AnyUrl | str, local_path: Path, use_cache: bool = True) -> Path:
    """Copy a file from S3, a web server or a `file://` URL to a local path, whole or not at all.

    Args:
        uri: Where it lies.
        local_path: Where to.
        use_cache: Whether a file that is there already is taken as it is.

    Returns:
        The local path.

    Raises:
        StorageError: If it cannot be fetched: not found, refused, incomplete, too large.
    """
    if use_cache and local_path.exists():
        return local_path
    from scythe_cli.storage.download import download

    download(str(uri), local_path)
    return local_path


_FILE_TYPES = {S3Url, HttpUrl, AnyUrl, AnyHttpUrl, Path}


def is_file_reference(annotation: Any) -> bool:
    """Whether fields of this type refer to files.

    So do `FileReference`, a path or URL type by itself (`Path`, `FilePath`, `HttpUrl`, `S3Url`, …), and unions of
    these, optional or annotated. A `DirectoryPath` does not.
    """
    members = _members_of(annotation)
    return bool(members - {type(None)}) and members <= {*_FILE_TYPES, type(None)}


def _members_of(annotation: Any) -> set[Any]:
    """The types of a union, without what annotates them."""
    if isinstance(annotation, TypeAliasType):
        return _members_of(annotation.__value__)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        if any(isinstance(item, PathType) and item.path_type == "dir" for item in metadata):
            return {annotation}
        return _members_of(inner)
    if origin is Union or origin is types.UnionType:
        return set[Any]().union(*(_members_of(member) for member in get_args(annotation)))
    try:
        hash(annotation)
    except TypeError:
        return {object}
    return {annotation}
