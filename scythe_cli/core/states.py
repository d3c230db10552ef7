"""What can become of a spec, and how much specs share; by itself, so that listing and printing load no tables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

__all__ = ["Durability", "Isolation", "KeepFiles", "RetryOn", "RetryRule", "StartMethod", "State"]


Durability = Literal["power", "process"]
"""What a local storage survives once something was written: a loss of power, for which files and folders are synced to
the disk, or only the death of processes."""

Isolation = Literal["auto", "row", "process"]
"""Whether each spec has a process of its own (`row`), shares it with others (`process`), or has its own where it takes
so long that this costs next to nothing (`auto`)."""

KeepFiles = Literal["never", "failed", "always"]
"""Of which specs the files are kept that they have written into a working directory of their own."""

StartMethod = Literal["auto", "fork", "spawn"]
"""Whether processes are forked from one that has loaded the experiment (`fork`), each load it (`spawn`), or are forked
where that does no harm (`auto`)."""


RetryOn = Literal["failed", "timeout", "crashed", "lost"]
"""After what a spec is run again: an exception (`failed`), its time limit (`timeout`), the end of its process
(`crashed`), or of the worker of a fleet that had it (`lost`)."""


class State(StrEnum):
    """What became of a spec. `pending` is never written: it is the absence of an outcome."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often a spec is run again, and after what.

    Attributes:
        times: How often at most.
        states: After what.
    """

    times: int
    states: tuple[RetryOn, ...] = get_args(RetryOn)

    def allows(self, state: State, tries_remaining: int) -> bool:
        """Whether a spec is run again, and so whether an attempt is not its last.

        Args:
            state: What has become of the attempt.
            tries_remaining: How many more there may be.
        """
        return tries_remaining > 0 and state.value in self.states

    def describe(self) -> str:
        """In words: `none`, `2`, `1, after timeout, crashed or lost`."""
        if not self.times or not self.states:
            return "none"
        if len(self.states) == len(get_args(RetryOn)):
            return str(self.times)
        *others, last = self.states
        return f"{self.times}, after {', '.join(others)}{' or ' if others else ''}{last}"
