"""Answers of children that are lost on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.engines.hatchet import sdk_patches
from scythe_cli.engines.hatchet.nodes.children import Answers

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

    async def list_open(self) -> Set[str] | None:
        self.n_looks += 1
        return None if self.is_away else set(self.open)

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
        return Answers(self.list_open, self.result_of, look_s=_LOOK_S)


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
    fleet = Fleet(open={"a"})

    async def nothing() -> Set[str]:
        return set()

    async def work() -> Any:
        answers = Answers(nothing, fleet.result_of, look_s=_LOOK_S)
        answer = asyncio.create_task(answers.of("a", _never()))
        while len(fleet.asked) < 2:
            await asyncio.sleep(_LOOK_S)
        assert not answer.done()
        fleet.open.clear()
        return await answer

    assert asyncio.run(work()) == "asked for: a"


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
        connected = 0

        async def _connect(self) -> None:
            self.connected += 1

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
