"""Answers of children that are lost on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.engines.hatchet import sdk_patches
from scythe_cli.engines.hatchet.recovery.answers import Answers, OpenChild
from scythe_cli.engines.hatchet.recovery.reports import TaskKey

# the SDK uses what its own dependencies have deprecated
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

_LOOK_S = 0.002


@dataclass
class Fleet:
    """An engine whose children come to their end when they are told to, and whose stream delivers some answers."""

    open: set[str] = field(default_factory=set[str])
    asked: list[str] = field(default_factory=list[str])
    n_looks: int = 0
    is_away: bool = False
    queued: set[str] = field(default_factory=set[str])
    assigned: set[str] = field(default_factory=set[str])
    given_back: list[TaskKey] = field(default_factory=list[TaskKey])

    async def list_open(self) -> Mapping[str, OpenChild] | None:
        self.n_looks += 1
        if self.is_away:
            return None
        return {id_: OpenChild((id_, 0), is_queued=id_ in self.queued) for id_ in self.open}

    async def is_assigned(self, child_id: str) -> bool:
        return child_id in self.assigned

    async def give_back(self, task: TaskKey) -> None:
        self.given_back.append(task)
        self.assigned.discard(task[0])

    async def result_of(self, child_id: str) -> Callable[[], Any] | None:
        self.asked.append(child_id)
        if child_id in self.open:
            return None

        def ending() -> str:
            if child_id.startswith("raises"):
                raise ValueError(child_id)
            return f"asked for: {child_id}"

        return ending

    def answers(self) -> Answers:
        return Answers(self, look_s=_LOOK_S)


async def _never() -> Any:
    await asyncio.Event().wait()


async def _at_once(answer: str) -> str:
    return answer


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["ends", "raises"])), max_size=8))
def test_each_child_has_one_answer_whatever_is_lost(children: list[tuple[bool, str]]) -> None:
    fleet = Fleet()

    async def work() -> list[Any]:
        answers = fleet.answers()
        ids = [f"{how} {number}" for number, (_, how) in enumerate(children)]
        waiting = [
            answers.of(id_, _never() if lost else _at_once(f"streamed: {id_}"))
            for id_, (lost, _) in zip(ids, children, strict=True)
        ]
        return await asyncio.gather(*waiting, return_exceptions=True)

    for number, ((lost, how), result) in enumerate(zip(children, asyncio.run(work()), strict=True)):
        if lost and how == "raises":
            assert isinstance(result, ValueError)
        else:
            assert result == f"{'asked for' if lost else 'streamed'}: {how} {number}"


def test_children_that_are_open_are_not_asked_for() -> None:
    fleet = Fleet(open={"a"})

    async def work() -> Any:
        answer = asyncio.create_task(fleet.answers().of("a", _never()))
        while fleet.n_looks < 3:
            await asyncio.sleep(_LOOK_S)
        assert not fleet.asked
        fleet.open.clear()
        return await answer

    assert asyncio.run(work()) == "asked for: a"


def test_an_engine_that_is_away_is_asked_again() -> None:
    fleet = Fleet(is_away=True)

    async def work() -> Any:
        answer = asyncio.create_task(fleet.answers().of("a", _never()))
        while fleet.n_looks < 3:
            await asyncio.sleep(_LOOK_S)
        fleet.is_away = False
        return await answer

    assert asyncio.run(work()) == "asked for: a"
    assert fleet.asked == ["a"]


def test_a_list_that_lags_behind_ends_no_child_too_early() -> None:
    """What the engine has just taken on may not be listed yet: what counts is what it says of the child itself."""

    class Lagging(Fleet):
        async def list_open(self) -> Mapping[str, OpenChild]:
            return {}

    fleet = Lagging(open={"a"})

    async def work() -> Any:
        answers = fleet.answers()
        answer = asyncio.create_task(answers.of("a", _never()))
        while len(fleet.asked) < 2:
            await asyncio.sleep(_LOOK_S)
        assert not answer.done()
        fleet.open.clear()
        return await answer

    assert asyncio.run(work()) == "asked for: a"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_what_came_to_no_worker_is_given_out_again_and_nothing_else(children: list[tuple[bool, bool]]) -> None:
    """By the list it is queued, by the book it is a worker's; whatever waits for its turn, or runs, is left alone."""
    ids = [f"child {number}" for number in range(len(children))]
    queued = {id_ for id_, (is_queued, _) in zip(ids, children, strict=True) if is_queued}
    assigned = {id_ for id_, (_, is_assigned) in zip(ids, children, strict=True) if is_assigned}
    fleet = Fleet(open=set(ids), queued=set(queued), assigned=set(assigned))

    async def work() -> None:
        answers = fleet.answers()
        waiting = [asyncio.create_task(answers.of(id_, _never())) for id_ in ids]
        while fleet.n_looks < 4:
            await asyncio.sleep(_LOOK_S)
        fleet.open.clear()
        await asyncio.gather(*waiting)

    asyncio.run(work())
    assert sorted(fleet.given_back) == [(id_, 0) for id_ in ids if id_ in queued & assigned]


def test_what_was_given_to_a_worker_at_one_look_is_not_given_out_again() -> None:
    class Changing(Fleet):
        async def is_assigned(self, child_id: str) -> bool:
            return self.n_looks % 2 == 0  # given out, lost with its worker, given out, ...

    fleet = Changing(open={"a"}, queued={"a"})

    async def work() -> None:
        waiting = asyncio.create_task(fleet.answers().of("a", _never()))
        while fleet.n_looks < 6:
            await asyncio.sleep(_LOOK_S)
        fleet.open.clear()
        await waiting

    asyncio.run(work())
    assert not fleet.given_back


def test_nothing_is_left_when_a_node_ends() -> None:
    fleet = Fleet(open={"a"})

    async def work() -> set[asyncio.Task[Any]]:
        answers = fleet.answers()
        assert await answers.of("b", _at_once("b")) == "b"
        waiting = asyncio.create_task(answers.of("a", _never()))
        await asyncio.sleep(_LOOK_S)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[operator]

    assert asyncio.run(work()) == set()


@pytest.mark.parametrize("ends_with", ["its stream", "being cancelled"])
def test_a_worker_listens_again_when_a_stream_has_ended(monkeypatch: pytest.MonkeyPatch, ends_with: str) -> None:
    from hatchet_sdk.clients.listeners import durable_event_listener as module

    streams = 0

    class Listener:
        _running = True
        _request_queue = SimpleNamespace(_queue=())
        connected = 0

        async def _connect(self) -> None:
            self.connected += 1

        async def _handle_response(self, response: Any) -> None: ...

        def _fail_pending_acks(self, error: Exception) -> None:
            assert isinstance(error, ConnectionResetError)

        async def _receive_loop(self) -> None:
            nonlocal streams
            streams += 1
            if streams == 3:
                self._running = False
            if ends_with == "being cancelled":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return

    monkeypatch.setattr(module, "DurableEventListener", Listener)
    monkeypatch.setattr(module, "DEFAULT_RECONNECT_INTERVAL", 0)
    sdk_patches._listen_on()

    async def work() -> SimpleNamespace:
        listener = Listener()
        listening = asyncio.create_task(listener._receive_loop())
        if ends_with == "being cancelled":
            await asyncio.sleep(0)
            listening.cancel()
        await listening
        return SimpleNamespace(connected=listener.connected)

    assert asyncio.run(work()).connected == (2 if ends_with == "its stream" else 0)
