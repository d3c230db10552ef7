"""No test waits without end: one that takes too long fails, and says what each thread does.

pytest-timeout reads the limits (`timeout` in pyproject.toml, `--timeout`, a marker); here is what happens when one is
over. Its own ways lose the stacks in a process of pytest-xdist, and have no limit for the end of a test that failed.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

AGAIN_S = 60.0
"""What catches the failure and goes on waiting is failed again after so many seconds."""

NO_ANSWER_S = 300.0
"""A process that has not even failed by then, since it hangs outside of Python, is ended."""


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Fail when a block waits for something that never comes; only in the main thread. The limit around it goes on."""
    started = time.monotonic()
    old_handler = signal.signal(signal.SIGALRM, _failing(f"it waits for longer than {seconds:g} s"))
    rest, again = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old_handler)
        if rest:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, rest - (time.monotonic() - started)), again)


def _failing(message: str) -> Callable[..., None]:
    def late(*_: object) -> None:
        __tracebackhide__ = True
        pytest.fail(f"{message}\n{what_runs()}")

    return late


def what_runs() -> str:
    """The stacks of all threads but this one, whose own is that of the failure, and the processes started from here."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told: list[str] = []
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            told.append(f"-- thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}")
    for child in psutil.Process().children(recursive=True):
        try:
            told.append(f"-- process {child.pid} ({child.status()}): {' '.join(child.cmdline())[:500]}\n")
        except psutil.Error:
            continue
    return "".join(told)


class LimitsPlugin:
    """Sets the limits of pytest-timeout, one for a test with what it sets up and one for its end."""

    def __init__(self) -> None:
        self.stderr = os.dup(2)  # that of the process: while a test runs, 2 is a file of pytest

    def pytest_unconfigure(self) -> None:
        """Close what was opened."""
        os.close(self.stderr)

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> bool | None:
        """Set both: one that fails the test, and one that ends a process in which nothing can fail."""
        from pytest_timeout import is_debugging

        if settings.method != "signal" or threading.current_thread() is not threading.main_thread():
            return None
        item.stash[_SETTINGS] = settings
        if not is_debugging():
            signal.signal(signal.SIGALRM, _failing(f"it takes longer than {settings.timeout:g} s"))
            signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_S)
            faulthandler.dump_traceback_later(settings.timeout + NO_ANSWER_S, file=self.stderr, exit=True)
        return True

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_cancel_timer(self, item: pytest.Item) -> bool | None:
        """It is over, or has failed."""
        if _SETTINGS not in item.stash:
            return None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.cancel_dump_traceback_later()
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """A failure has ended the limit, and the end of a test that failed is where things hang."""
        if _SETTINGS in item.stash:
            self.pytest_timeout_set_timer(item, item.stash[_SETTINGS])
        return (yield)


_SETTINGS = pytest.StashKey[Any]()
