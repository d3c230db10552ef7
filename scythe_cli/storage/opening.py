"""From the name of a place to its storage."""

from __future__ import annotations

import os
import re
from pathlib import Path

from scythe_cli.core.states import Durability
from scythe_cli.errors import ConfigError, StorageError
from scythe_cli.storage.base import Storage, check_prefix
from scythe_cli.storage.local import LocalStorage

__all__ = ["open_storage"]


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", re.ASCII)
_HINT = "Give a local folder, or s3://bucket/prefix."


def open_storage(location: str | Path, *, base: Path | None = None, durability: Durability = "power") -> Storage:
    """Open the storage at a place; nothing is made, and no server is asked.

    Args:
        location: A local folder, or `s3://bucket/prefix`. Credentials and endpoint of S3 come from the usual AWS
            variables and files.
        base: The folder that a relative path is taken from; the working directory unless given.
        durability: Of a local folder; what S3 has taken, it keeps.

    Raises:
        ConfigError: If it is neither.
    """
    text = os.fspath(location)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return LocalStorage(_local_root(text, base), durability)
    if scheme[1].lower() != "s3":
        what = "a web address" if scheme[1].lower() in {"http", "https"} else f"{scheme[1]}://"
        raise ConfigError(f"runs cannot be kept at {what}", hint=_HINT)
    if not text[scheme.end() :].startswith("/"):
        raise ConfigError(f"{text!r} lacks a slash", hint=_HINT)
    bucket, _, prefix = text[scheme.end() + 1 :].partition("/")
    if not bucket:
        raise ConfigError(f"{text!r} names no bucket", hint=_HINT)
    if not _BUCKET.fullmatch(bucket):
        # may hold credentials, so it is not repeated
        what = "holds credentials" if "@" in bucket else "does not name a valid bucket"
        hint = "Credentials belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." if "@" in bucket else _HINT
        raise ConfigError(f"the S3 location {what}", hint=hint)
    try:
        prefix = check_prefix(prefix.rstrip("/"))
    except StorageError as error:
        raise ConfigError(f"{text!r} has no valid prefix: {error.message}", hint=_HINT) from error
    from scythe_cli.storage.s3 import S3Storage  # loads s3fs only for S3

    return S3Storage(bucket, prefix)


def _local_root(text: str, base: Path | None) -> Path:
    if not text.strip() or "\0" in text:
        raise ConfigError("the storage location is empty" if not text.strip() else "the storage location holds NUL")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text!r} names the home folder of an unknown user", hint=_HINT) from error
    return Path(os.path.abspath((base or Path.cwd()) / path))  # noqa: PTH100 (keeps symbolic links as they are written)
