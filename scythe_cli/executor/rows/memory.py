"""The memory that a row takes, as the system counts it."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["peak_memory"]


_MEASURED_S = 0.02
"""Rows that take less time are not measured: what they add to the memory of their process is hardly seen."""

_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss; see getrusage(2)
_RESET = Path("/proc/self/clear_refs")


def peak_memory(duration_s: float) -> int | None:
    """The most memory that this process has had since the last call, and that of the largest process it has started.

    Args:
        duration_s: How long the row took that has just ended.

    Returns:
        Bytes of resident memory, as ru_maxrss of getrusage(2) counts it: pages that processes share count in each.
        Where the peak cannot be set back (on macOS), it is that of the process since its start. None for a row that
        took too little time to be measured.
    """
    if duration_s < _MEASURED_S:
        return None
    own, others = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    with suppress(OSError):
        _RESET.write_text("5")  # sets the peak to what there is now; see proc(5)
    return (own + others) * _UNIT_BYTES
