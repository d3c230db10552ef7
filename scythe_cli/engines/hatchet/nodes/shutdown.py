"""How a worker ends: the first signal lets what runs come to its end, the second ends it at once."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from types import FrameType
from typing import Any

from scythe_cli.core.processes import leave_terminal
from scythe_cli.engines.hatchet.sdk_patches import evict_waiting_nodes
from scythe_cli.errors import StoppedError

__all__ = ["end_at_once", "lifespan_of", "stop_at_second_signal"]


_CHECK_S = 0.5
_LAST_WORDS_S = 2.0


def lifespan_of(worker: Callable[[], Any], started: Callable[[], None]) -> Callable[[], AsyncGenerator[None, None]]:
    """What the SDK runs beside a worker, from its start to its end.

    When a worker is told to end, the SDK hands back the nodes that wait, once. A specs' task that finishes a moment
    later wakes its node again, and the server may give it to the same worker before it has noticed that this one takes
    nothing more. Such a node would wait for tasks that nobody here runs, and the worker would never end.

    Args:
        worker: Gives the SDK's worker; None before it is made.
        started: Called once the worker and the processes of the SDK have been started.
    """

    async def hand_back() -> None:
        await asyncio.sleep(_CHECK_S)
        started()
        while True:
            await asyncio.sleep(_CHECK_S)
            if (made := worker()) is not None:
                await evict_waiting_nodes(made)

    async def lifespan() -> AsyncGenerator[None, None]:
        task = asyncio.create_task(hand_back())
        try:
            yield None
        finally:
            task.cancel()

    return lifespan


def stop_at_second_signal(kill: Callable[[], None]) -> Callable[[], None]:
    """Make the second SIGTERM or SIGINT end this process at once; the SDK itself would wait for what runs.

    SIGHUP, which comes with the end of the terminal, is like SIGTERM, unless `nohup` has it ignored. The SDK's own
    process gets it as well and would end of it, so it is ignored until that has been started, which goes on to do so.

    Args:
        kill: Ends what runs.

    Returns:
        What has to be called once the SDK's process has been started.
    """
    seen: list[int] = []

    def around(handler: Any) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            seen.append(number)
            if len(seen) == 1:
                handler(number, frame)
                return
            kill()
            raise SystemExit(1)

        return handle

    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)  # the SDK's
        if callable(handler):
            signal.signal(number, around(handler))
    terminate = signal.getsignal(signal.SIGTERM)

    def hang_up(number: int, frame: FrameType | None) -> None:
        del number
        leave_terminal()
        if callable(terminate):
            terminate(signal.SIGTERM, frame)

    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return lambda: None
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return lambda: _handle(signal.SIGHUP, hang_up)


def _handle(number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
        signal.signal(number, handler)


def end_at_once() -> None:
    """End the SDK's own processes, leave unsaid what its tasks would complain about, and end this process soon."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    for process in multiprocessing.active_children():
        process.kill()
    # the interpreter would wait for the SDK's threads, which wait for what has just been ended
    timer = threading.Timer(_LAST_WORDS_S, os._exit, [StoppedError.exit_code])
    timer.daemon = True
    timer.start()
