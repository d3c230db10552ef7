"""What can become of a spec; by itself, so that listing and printing load no tables."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["State"]


class State(StrEnum):
    """What became of a spec. `pending` is never written: it is the absence of an outcome."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    PENDING = "pending"
