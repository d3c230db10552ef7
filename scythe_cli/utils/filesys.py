"""References to files."""

from __future__ import annotations

from scythe_cli.model.file_refs import FileReference, OptionalFileReference, S3Url, fetch_uri, is_file_reference
from scythe_cli.model.models import FileReferenceMixin

__all__ = [
    "FileReference",
    "FileReferenceMixin",
    "OptionalFileReference",
    "S3Url",
    "fetch_uri",
    "is_file_reference",
]
