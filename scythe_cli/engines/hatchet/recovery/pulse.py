"""Whether a request over a worker's stream to the engine was taken, where the answer to it does not come.

The engine handles what comes over a stream one after the other, and answers before it takes the next. A request that
it fails at, for its database is away for example, is logged there and not answered. So a greeting is sent behind each
request whose answer is late: where the greeting is answered and the request was not, the request is lost. Where nothing
at all is answered, the stream is dead, or the engine is stuck with what came over it.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Pulse", "Waiting"]

_SILENT_S = 30.0


class Waiting(enum.Enum):
    """What to do about an answer that has not come."""

    WAIT = "wait"
    LOST = "lost"
    DEAD = "dead"


@dataclass
class Pulse:
    """What was sent and heard over one stream, from when it was opened.

    Attributes:
        clock: Tells seconds.
        silent_s: After how many seconds without any answer a stream is dead. A slow engine may need some for one
            request.
    """

    clock: Callable[[], float] = time.monotonic
    silent_s: float = _SILENT_S
    _n_greetings: int = 0
    _n_greeted: int = 0
    _heard_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._heard_s = self.clock()

    def greetings_queued(self, n: int) -> None:
        """So many greetings were put into the queue of the stream."""
        self._n_greetings += n

    def heard(self, *, is_greeting: bool) -> None:
        """Something has come over the stream."""
        self._n_greeted += is_greeting
        self._heard_s = self.clock()

    def mark(self) -> tuple[int, float]:
        """A place in the stream: right behind what has been put into its queue."""
        return self._n_greetings, self.clock()

    def look(self, mark: tuple[int, float]) -> Waiting:
        """What to do about the request right before a mark, which is not answered.

        Greetings, too, may have been lost, and their answers are all alike: so one that is behind the mark was answered
        for sure where more are answered than were sent before it.

        Args:
            mark: Where it is.
        """
        n_before, since_s = mark
        if self._n_greeted > n_before:
            return Waiting.LOST
        is_silent = self.clock() - max(since_s, self._heard_s) >= self.silent_s
        return Waiting.DEAD if is_silent else Waiting.WAIT
