"""Ctrl-C while a run goes on: first finish what runs, then stop at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from scythe_cli.cli.output import Output
from scythe_cli.progress import Phase, Progress

__all__ = ["Interrupts", "Stop"]


class Stop(Protocol):
    """What stops a run: a `StopSignal`."""

    def drain(self) -> None:
        """Start nothing more, and let finish what runs."""
        ...

    def kill(self) -> None:
        """Stop what runs as well."""
        ...


class Interrupts:
    """Turns Ctrl-C into what fits the phase of the run.

    Before specs run, Ctrl-C ends the command. While they run, the first lets running specs finish and the second
    stops them. While tables are written, the first waits for them. Any further one ends the command where it stands.

    Attributes:
        stopped: Whether the user has interrupted.
    """

    def __init__(self, stop: Stop, output: Output) -> None:
        self.stopped = False
        self._stop = stop
        self._output = output
        self._phase: Phase = "checking"
        self._count = 0

    def watch(self, progress: Progress) -> None:
        """Take note of the phase."""
        self._phase = progress.phase

    @contextmanager
    def handled(self) -> Generator[None]:
        """Handle SIGINT and SIGTERM inside; outside the main thread, where Python allows no handlers, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._count += 1
        self.stopped = True
        if self._phase in ("checking", "uploading") or self._count > 2:
            raise KeyboardInterrupt
        if self._phase == "gathering":
            if self._count > 1:
                raise KeyboardInterrupt
            self._output.note("finishing the tables; Ctrl-C again stops at once")
        elif number == signal.SIGTERM or self._count == 2:
            self._stop.kill()
            self._output.note("stopping at once")
        else:
            self._stop.drain()
            self._output.note("finishing what runs; Ctrl-C again stops at once")
