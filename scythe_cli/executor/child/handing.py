"""What a process that was forked for some rows hands to the one that has forked it, without Arrow or a descriptor.

To make a table of one outcome takes a process that was only just forked as long as the fork itself: its memory is
shared until it is written to, and Arrow writes to much of it. Numbers and texts are handed over as they are instead,
and become tables in the process that goes on. Everything else is sent to the parent by the forked process itself.
"""

from __future__ import annotations

import json
import mmap
from typing import Any

__all__ = ["Handing"]


_BYTES = 1 << 16
_HEAD_BYTES = 4


class Handing:
    """A piece of memory that a process shares with those that it forks."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _BYTES)

    def put(self, value: Any) -> bool:
        """Hand over a value of lists, tuples, numbers and texts; tells whether there is room for it."""
        try:
            data = json.dumps(value).encode()
        except ValueError:
            return False  # an integer of thousands of digits
        if len(data) > _BYTES - _HEAD_BYTES:
            return False
        self._map[_HEAD_BYTES : _HEAD_BYTES + len(data)] = data
        self._map[:_HEAD_BYTES] = len(data).to_bytes(_HEAD_BYTES, "little")
        return True

    def take(self) -> Any:
        """The value that was handed over, with lists for its tuples."""
        end = _HEAD_BYTES + int.from_bytes(self._map[:_HEAD_BYTES], "little")
        return json.loads(self._map[_HEAD_BYTES:end])
