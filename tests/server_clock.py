"""The clock of an object store, as tests let it go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scythe_cli.storage.base import FileInfo
from scythe_cli.storage.s3 import S3Storage

__all__ = ["let_pass"]


def let_pass(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let all objects be older, by the clock of the server."""
    info = S3Storage.info

    def older(self: S3Storage, key: str) -> FileInfo:
        found = info(self, key)
        assert found.age_s is not None
        return replace(found, age_s=found.age_s + seconds)

    monkeypatch.setattr(S3Storage, "info", older)
