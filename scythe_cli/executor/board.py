"""A few words of memory that the parent and a child share: what the child is doing, without any message.

The child writes before and after each spec, at the cost of nanoseconds. The parent reads it to keep the time, and
after the child's death to know which spec is to blame.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Board", "Phase", "Sighting", "make_board_file"]


_SIZE = mmap.PAGESIZE


class Phase(IntEnum):
    """What a child is doing."""

    IDLE = 0
    BUILDING = 1  # makes model instances of the rows from `row` on: validators are the user's code
    RUNNING = 2  # runs the spec at `row`


_PHASES = frozenset(int(phase) for phase in Phase)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a board said at one moment.

    Attributes:
        phase: What the child is doing.
        chunk: The serial number of the chunk.
        row: The position in the chunk.
        end: The end of the rows that are being built.
        started_s: When this began, on the monotonic clock that all processes share.
    """

    phase: Phase
    chunk: int
    row: int
    end: int
    started_s: float


def make_board_file() -> int:
    """Make the memory, and return a descriptor that a child can inherit."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("scythe-board")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, _SIZE)
    return fd


class Board:
    """The memory, in either process.

    Attributes:
        words: phase, chunk, row, end, and whether the child is to give back its rows.
        clock: When the current phase began.
    """

    PHASE, CHUNK, ROW, END, GIVE_BACK = range(5)

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _SIZE)
        self._view = memoryview(self._map)
        self.words: memoryview[int] = self._view[:64].cast("q")
        self.clock: memoryview[float] = self._view[64:128].cast("d")

    def look(self) -> Sighting:
        """What the child is doing; called by the parent."""
        words = self.words
        while True:
            phase, chunk, row, end, started_s = *words[:4], self.clock[0]
            # the child may have gone on between two of these
            if phase == words[Board.PHASE] and row == words[Board.ROW] and chunk == words[Board.CHUNK]:
                if phase not in _PHASES:  # a spec has written to a descriptor that is not its own
                    return Sighting(Phase.IDLE, 0, 0, 0, 0.0)
                return Sighting(Phase(phase), chunk, row, end, started_s)

    @property
    def give_back(self) -> bool:
        """Whether the child is to give back what it has not begun."""
        return bool(self.words[Board.GIVE_BACK])

    @give_back.setter
    def give_back(self, value: bool) -> None:
        self.words[Board.GIVE_BACK] = int(value)

    def close(self) -> None:
        """Let go of the memory."""
        self.words.release()
        self.clock.release()
        self._view.release()
        self._map.close()
