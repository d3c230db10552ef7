"""Where runs are kept: one narrow interface over a local folder or S3.

Errors of the operating system, of S3 and of the network become StorageError here. The S3 client is loaded only when
an S3 location is used.
"""

from __future__ import annotations

from scythe_cli.errors import StorageError
from scythe_cli.storage.base import FileInfo, InvalidKeyError, MissingKeyError, Storage, StorageCheck
from scythe_cli.storage.opening import open_storage

__all__ = [
    "FileInfo",
    "InvalidKeyError",
    "MissingKeyError",
    "Storage",
    "StorageCheck",
    "StorageError",
    "open_storage",
]
