"""What a process that was forked for some rows hands to the one that has forked it, without Arrow or a descriptor.

To make a table of one outcome takes a process that was only just forked as long as the fork itself: its memory is
shared until it is written to, and Arrow writes to much of it. Numbers and texts are handed over as they are instead,
each when it is there, and become tables in the process that goes on: also those of before a row that ends the forked
process. Everything else is sent to the parent by the forked process itself.
"""

from __future__ import annotations

import json
import mmap
from typing import Any

__all__ = ["Handing"]


_BYTES = 1 << 20
_HEAD_BYTES = 8


class Handing:
    """A piece of memory that a process shares with those that it forks: its own length, and JSON with commas."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _BYTES)
        self.clear()

    def clear(self) -> None:
        """Forget what was handed over."""
        self._set_end(_HEAD_BYTES)

    def add(self, value: Any) -> bool:
        """Hand over a value of lists, tuples, numbers and texts; tells whether there is room for it."""
        try:
            data = json.dumps(value).encode() + b","
        except ValueError:
            return False  # an integer of thousands of digits
        start = self._end()
        if start + len(data) > _BYTES:
            return False
        self._map[start : start + len(data)] = data
        self._set_end(start + len(data))  # the last step: a process may end at any moment
        return True

    def take(self) -> list[Any]:
        """The values that were handed over, in their order, with lists for tuples."""
        return json.loads(b"[" + self._map[_HEAD_BYTES : self._end()].rstrip(b",") + b"]")

    def _end(self) -> int:
        return int.from_bytes(self._map[:_HEAD_BYTES], "little")

    def _set_end(self, end: int) -> None:
        self._map[:_HEAD_BYTES] = end.to_bytes(_HEAD_BYTES, "little")
