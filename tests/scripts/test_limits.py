"""What hangs in a test fails it, and says what it waits for."""

from __future__ import annotations

import signal
import threading
from types import SimpleNamespace
from typing import cast

import pytest

from tests import limits
from tests.limits import LimitsPlugin, time_limit, what_runs


def test_what_takes_too_long_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"longer than 0\.01 s"), time_limit(0.01):
        threading.Event().wait()


def test_the_limit_around_another_goes_on() -> None:
    def two() -> None:
        with time_limit(0.02):
            with time_limit(10):
                pass
            threading.Event().wait()

    with pytest.raises(pytest.fail.Exception, match=r"longer than 0\.02 s"):
        two()


def test_the_stacks_of_other_threads_are_told() -> None:
    over = threading.Event()

    def waits_here() -> None:
        over.wait()

    thread = threading.Thread(target=waits_here, name="one that waits")
    thread.start()
    try:
        text = what_runs()
    finally:
        over.set()
        thread.join()
    assert "-- thread one that waits" in text
    assert "in waits_here" in text
    assert "test_the_stacks_of_other_threads_are_told" not in text.partition("-- thread one that waits")[2]


def test_a_test_that_failed_has_a_limit_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.faulthandler, "dump_traceback_later", lambda *_, **__: None)
    monkeypatch.setattr(limits.faulthandler, "cancel_dump_traceback_later", lambda: None)
    plugin, item = LimitsPlugin(), cast("pytest.Item", SimpleNamespace(stash={}))
    old_handler, old_timer = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        assert plugin.pytest_timeout_cancel_timer(item) is None, "its limit is not ours"
        assert plugin.pytest_timeout_set_timer(item, SimpleNamespace(method="thread", timeout=100)) is None
        assert plugin.pytest_timeout_set_timer(item, SimpleNamespace(method="signal", timeout=100))
        assert _runs()
        assert plugin.pytest_timeout_cancel_timer(item), "what happens when it fails"
        assert not _runs()
        end = plugin.pytest_runtest_teardown(item)
        next(end)
        assert _runs()
        plugin.pytest_timeout_cancel_timer(item)
    finally:
        plugin.pytest_unconfigure()
        signal.signal(signal.SIGALRM, old_handler)
        signal.setitimer(signal.ITIMER_REAL, *old_timer)


def _runs() -> bool:
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0
