"""References to files: the types for fields of a spec, and what is done with a reference by itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import AnyUrl, BeforeValidator, HttpUrl, UrlConstraints

from scythe_cli.core.folders import cache_folder

__all__ = ["FileReference", "OptionalFileReference", "S3Url", "StoredUri", "cached_path", "fetch_uri"]


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
