"""What signals do to a worker."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from scythe_cli.engines.hatchet.nodes.shutdown import stop_at_second_signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What the SDK's handlers have heard; signals are handled as before afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: heard.append(signal.Signals(number).name))
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_end_of_the_terminal_is_as_if_the_worker_was_told_to_end(heard: list[str]) -> None:
    killed: list[bool] = []
    started = stop_at_second_signal(lambda: killed.append(True))
    signal.raise_signal(signal.SIGHUP)  # as the SDK's process is being started, which is to go on ignoring it
    assert heard == []
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    started()
    signal.raise_signal(signal.SIGHUP)
    assert (heard, killed) == (["SIGTERM"], [])
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGINT)
    assert (heard, killed) == (["SIGTERM"], [True])


def test_with_nohup_it_goes_on(heard: list[str]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    killed: list[Any] = []
    stop_at_second_signal(lambda: killed.append(True))()
    signal.raise_signal(signal.SIGHUP)
    assert (heard, killed) == ([], [])
