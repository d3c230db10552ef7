"""What one spec may use, and how a run is stopped."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

__all__ = ["Limits", "StopSignal"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one spec may use.

    Attributes:
        execution_timeout_s: How long one attempt may take; fetching and uploading its files included.
        memory_limit_bytes: Memory of its process, with the processes that it starts; None for no limit.
        retries: How often it is run again when it did not succeed.
    """

    execution_timeout_s: float
    memory_limit_bytes: int | None
    retries: int


class StopSignal:
    """Asks a run to stop; can be used from any thread, and from a signal handler.

    A loop that waits for several things waits for one of the descriptors as well; each becomes readable when it is
    time and stays so, so that any number of loops can wait for the same signal.
    """

    def __init__(self) -> None:
        self._draining = False
        self._killing = False
        self._drain_read, self._drain_write = os.pipe()
        self._kill_read, self._kill_write = os.pipe()

    def drain(self) -> None:
        """Start nothing new; what runs is finished."""
        if not self._draining:
            self._draining = True
            os.write(self._drain_write, b"x")

    def kill(self) -> None:
        """End what runs, at once."""
        if not self._killing:
            self._draining = self._killing = True
            os.write(self._kill_write, b"x")

    @property
    def draining(self) -> bool:
        """Whether nothing new is to be started."""
        return self._draining

    @property
    def killing(self) -> bool:
        """Whether what runs is to be ended."""
        return self._killing

    @property
    def drain_fd(self) -> int:
        """Readable once `drain` was called."""
        return self._drain_read

    @property
    def kill_fd(self) -> int:
        """Readable once `kill` was called."""
        return self._kill_read

    def __del__(self) -> None:
        for fd in (self._drain_read, self._drain_write, self._kill_read, self._kill_write):
            with contextlib.suppress(OSError):
                os.close(fd)
