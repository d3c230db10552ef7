"""What can become of a spec, and how much specs share; by itself, so that listing and printing load no tables."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

__all__ = ["Isolation", "KeepFiles", "StartMethod", "State"]


Isolation = Literal["auto", "row", "process"]
"""Whether each spec has a process of its own (`row`), shares it with others (`process`), or has its own where it takes
so long that this costs next to nothing (`auto`)."""

KeepFiles = Literal["never", "failed", "always"]
"""Of which specs the files are kept that they have written into a working directory of their own."""

StartMethod = Literal["auto", "fork", "spawn"]
"""Whether processes are forked from one that has loaded the experiment (`fork`), each load it (`spawn`), or are forked
where that does no harm (`auto`)."""


class State(StrEnum):
    """What became of a spec. `pending` is never written: it is the absence of an outcome."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    PENDING = "pending"
