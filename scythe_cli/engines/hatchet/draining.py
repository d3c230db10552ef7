"""Handing back nodes while a worker ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

__all__ = ["lifespan_of"]

_CHECK_S = 0.5


def lifespan_of(worker: Callable[[], Any]) -> Callable[[], AsyncGenerator[None, None]]:
    """What the SDK runs beside a worker, from its start to its end.

    When a worker is told to end, the SDK hands back the nodes that wait, once. A specs' task that finishes a moment
    later wakes its node again, and the server may give it to the same worker before it has noticed that this one takes
    nothing more. Such a node would wait for tasks that nobody here runs, and the worker would never end.

    Args:
        worker: Gives the SDK's worker.
    """

    async def hand_back() -> None:
        while True:
            await asyncio.sleep(_CHECK_S)
            it = worker()
            # the SDK has no public name for either of these
            if it is not None and it._killing and it._action_runner is not None:
                await it._action_runner.evict_all_waiting_durable_runs()

    async def lifespan() -> AsyncGenerator[None, None]:
        task = asyncio.create_task(hand_back())
        try:
            yield None
        finally:
            task.cancel()

    return lifespan
