"""The answers of children that a node waits for, also those that are lost on their way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from scythe_cli.engines.hatchet.recovery.reports import TaskKey
from scythe_cli.engines.hatchet.recovery.sightings import Sightings

__all__ = ["Answers", "ChildrenAtEngine", "OpenChild"]

_LOOK_S = 20.0
_LOUD_LOOKS = 3
_MAX_ASKED = 50


@dataclass(frozen=True, slots=True)
class OpenChild:
    """A child that has not come to its end, as the engine lists it.

    Attributes:
        task: The task and its attempt; None of a workflow of several tasks.
        is_queued: Whether it has not been started, by what the list has of it.
    """

    task: TaskKey | None
    is_queued: bool


class ChildrenAtEngine(Protocol):
    """What the engine knows of a node's children, by their ids; None where it cannot be told now."""

    async def list_open(self) -> Mapping[str, OpenChild] | None:
        """The children that have not come to their end: this lags behind, and may have lost that one was started."""
        ...

    async def result_of(self, child_id: str) -> Callable[[], Any] | None:
        """What returns or raises what a child gave back; None also where it has not come to its end."""
        ...

    async def is_assigned(self, child_id: str) -> bool | None:
        """Whether a child has been given to a worker: this does not lag behind."""
        ...

    async def give_back(self, task: TaskKey) -> None:
        """Have the engine give out a task again that no worker has got."""
        ...


@dataclass
class Answers:
    """The answers that a node waits for; it asks for those that were lost on their way.

    The engine sends an answer once, over a stream that may break at that moment. So every 20 seconds, and every
    minute while answers come, the node asks which of its children have not come to their end, and what has become of
    the others.

    An engine that is killed may have booked that a task is a worker's and not have told the worker, nor its own list.
    Such a task would be nobody's until its time limit. So what is queued by the list, and a worker's by the book, each
    time in 20 seconds and longer, is given out again.

    Attributes:
        children: What the engine knows of the children.
        look_s: How long an answer may take before it is asked for.
    """

    children: ChildrenAtEngine
    look_s: float = _LOOK_S
    _open: dict[str, tuple[float, asyncio.Future[Any]]] = field(
        default_factory=dict[str, tuple[float, asyncio.Future[Any]]]
    )
    _heard_s: float = 0.0
    _looked_s: float = 0.0
    _watching: asyncio.Task[None] | None = None
    _never_came: Sightings[TaskKey] = field(init=False)

    def __post_init__(self) -> None:
        self._never_came = Sightings(self.look_s)

    async def of(self, child_id: str, answer: Awaitable[Any]) -> Any:
        """Wait for the answer of a child.

        Args:
            child_id: Its id.
            answer: What comes over the stream.
        """
        asked_for: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        streamed = asyncio.ensure_future(answer)
        self._open[child_id] = time.monotonic(), asked_for
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait((streamed, asked_for), return_when=asyncio.FIRST_COMPLETED)
            self._heard_s = time.monotonic()
            return streamed.result() if streamed.done() else asked_for.result()()
        finally:
            streamed.cancel()
            del self._open[child_id]
            if not self._open:
                self._watching, watching = None, self._watching
                watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.look_s)
            now_s = time.monotonic()
            old = [id_ for id_, (since_s, _) in self._open.items() if now_s - since_s >= self.look_s]
            is_loud = now_s - self._heard_s < self.look_s
            if old and (not is_loud or now_s - self._looked_s >= _LOUD_LOOKS * self.look_s):
                self._looked_s = now_s
                await self._look(old)

    async def _look(self, ids: Sequence[str]) -> None:
        still_open = await self.children.list_open()
        if still_open is None:
            return
        for id_ in ids:
            if id_ in self._open and id_ not in still_open:
                result = await self.children.result_of(id_)
                if result is not None and id_ in self._open and not self._open[id_][1].done():
                    self._open[id_][1].set_result(result)
        await self._look_for_lost([(id_, still_open[id_]) for id_ in ids if id_ in still_open])

    async def _look_for_lost(self, open_: Sequence[tuple[str, OpenChild]]) -> None:
        queued = ((id_, child.task) for id_, child in open_ if child.is_queued and child.task is not None)
        # one that never came is older than what waits for its turn
        booked = [task for id_, task in islice(queued, _MAX_ASKED) if await self.children.is_assigned(id_)]
        for task in self._never_came.look(booked):
            await self.children.give_back(task)
