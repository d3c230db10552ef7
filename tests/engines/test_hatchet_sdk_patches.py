"""What is patched of the SDK, for the versions that this was written for and for others."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from scythe_cli.engines.hatchet import sdk_patches as module

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the SDK, about itself


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.43.0", True),
        ("1.43.1", True),
        ("1.43.12.post1", True),
        ("1.43", True),
        ("1.42.9", False),
        ("1.44.0", False),
        ("2.43.1", False),
        ("1.43rc1", False),
        ("", False),
    ],
)
def test_versions_that_are_patched(text: str, expected: bool) -> None:
    assert module.is_patched_version(text) is expected


def test_the_installed_version_is_patched() -> None:
    """Or else: look whether the patches still do what they say, and add the version."""
    assert module.is_patched()


@pytest.fixture(params=[True, False], ids=["patched", "other version"])
def patched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(module, "is_patched", lambda: request.param)
    return request.param


def double(value: int) -> int:
    return 2 * value


@pytest.mark.parametrize("loaded", [True, False])
def test_arguments_are_checked_whenever_that_is_made(
    patched: bool, loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "hatchet_sdk", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "hatchet_sdk", SimpleNamespace())  # type: ignore[arg-type]
    eager = pydantic.validate_call

    with module.fast_loading():
        is_lazy = pydantic.validate_call is not eager
        checked: Any = pydantic.validate_call(double)
        with_options: Any = pydantic.validate_call(config={"strict": True})(double)

    assert is_lazy == (patched and not loaded)
    assert pydantic.validate_call is eager
    assert checked.__name__ == "double"
    assert checked("4") == 8
    with pytest.raises(pydantic.ValidationError):
        checked("four")
    with pytest.raises(pydantic.ValidationError):
        with_options("4")


def test_pydantic_is_as_it_was_when_an_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hatchet_sdk", raising=False)
    eager = pydantic.validate_call
    with pytest.raises(ImportError), module.fast_loading():
        raise ImportError
    assert pydantic.validate_call is eager


def token() -> str:
    claims = {"sub": "tenant", "grpc_broadcast_address": "127.0.0.1:1", "server_url": "http://127.0.0.1:2"}
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)
    )
    return f"{head}.{body}.signature"


def test_outcomes_are_reported_patiently_also_by_a_process_that_gets_the_configuration(
    patched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hatchet_sdk.config import ClientConfig

    calls: list[str] = []
    monkeypatch.setattr(module, "_report_patiently", lambda: calls.append("patient"))
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", token())

    config = module.client_config()
    assert calls == ["patient"] * patched
    arrived = pickle.loads(pickle.dumps(config))

    assert isinstance(arrived, ClientConfig)
    assert type(arrived) is type(config)
    assert (type(config) is ClientConfig) == (not patched)
    assert arrived.host_port == "127.0.0.1:1"
    assert calls == ["patient", "patient"] * patched


LISTENED = ("_receive_loop", "_connect", "_handle_response", "_await_event_ack")


def patient_reports(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Change the SDK for the time of a test, and return what it sends reports again with."""
    from hatchet_sdk.clients.dispatcher.dispatcher import DispatcherClient
    from hatchet_sdk.clients.listeners.durable_event_listener import DurableEventListener
    from hatchet_sdk.worker.action_listener_process import WorkerActionListenerProcess

    changed: list[tuple[Any, str]] = [
        (DispatcherClient, "send_step_action_event"),
        (WorkerActionListenerProcess, "start"),
        *((DurableEventListener, name) for name in LISTENED),
    ]
    send: Any = DispatcherClient._try_send_step_action_event
    for owner, name in [*changed, (send.retry, "retry"), (send.retry, "stop"), (send.retry, "wait")]:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    module._report_patiently.__wrapped__()
    return send.retry


@pytest.mark.parametrize("n_closed", [1, 3])
def test_a_report_survives_that_another_one_closes_the_channel(monkeypatch: pytest.MonkeyPatch, n_closed: int) -> None:
    """Whichever report finds the engine away closes the channel that all of them share: the others are cancelled."""
    import tenacity
    from hatchet_sdk.clients.dispatcher.dispatcher import DispatcherClient

    monkeypatch.setattr(patient_reports(monkeypatch), "wait", tenacity.wait_none())
    asked = 0

    class Channel:
        """As that of grpc.aio: what is under way when it is closed raises CancelledError."""

        def __init__(self) -> None:
            self.is_closed = asyncio.Event()

        async def SendStepActionEvent(self, event: Any, **_: Any) -> str:
            nonlocal asked
            asked += 1
            if asked > n_closed:
                return f"booked {event.event_payload}"
            await self.is_closed.wait()
            raise asyncio.CancelledError

    async def work() -> tuple[Any, bool]:
        client: Any = DispatcherClient.__new__(DispatcherClient)
        client.token = "token"
        channels: list[Channel] = []

        def connect() -> Channel:
            channels.append(Channel())
            return channels[-1]

        client._get_or_create_aio_client = connect
        action = SimpleNamespace(
            worker_id="w", job_id="j", job_run_id="r", step_id="s", step_run_id="t", action_id="a", retry_count=0
        )
        sending = asyncio.create_task(client.send_step_action_event(action, 2, "1", False))
        for number in range(n_closed):
            while len(channels) <= number:
                await asyncio.sleep(0)
            channels[number].is_closed.set()
        answer = await sending
        nonlocal asked
        asked = 0
        stopped = asyncio.create_task(client.send_step_action_event(action, 2, "1", False))
        while not asked:
            await asyncio.sleep(0)
        stopped.cancel()
        await asyncio.wait([stopped])
        return answer, stopped.cancelled()

    assert asyncio.run(work()) == ("booked 1", True), "who is cancelled in earnest ends"


def test_an_engine_that_forgets_the_worker_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import grpc
    import tenacity

    retrying = patient_reports(monkeypatch)

    class Refused(grpc.RpcError, grpc.Call):
        def __init__(self, code: grpc.StatusCode) -> None:
            self._code = code

        def code(self) -> grpc.StatusCode:
            return self._code

    Refused.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]

    def tries_again(error: BaseException) -> bool:
        state = tenacity.RetryCallState(retrying, None, (), {})
        state.set_exception((type(error), error, None))  # type: ignore[arg-type]
        return bool(retrying.retry(state))

    assert tries_again(Refused(grpc.StatusCode.UNAUTHENTICATED))
    assert tries_again(Refused(grpc.StatusCode.UNAVAILABLE))
    assert not tries_again(Refused(grpc.StatusCode.INVALID_ARGUMENT))
    assert not tries_again(ValueError())
    assert retrying.stop.max_attempt_number == 60


@pytest.mark.parametrize("ends", [True, False])
def test_nodes_are_handed_back_by_a_worker_that_ends(patched: bool, ends: bool) -> None:
    evicted: list[str] = []

    async def evict() -> None:
        evicted.append("all")

    runner = SimpleNamespace(evict_all_waiting_durable_runs=evict)
    # a worker of another version may have neither
    worker = SimpleNamespace(_killing=ends, _action_runner=runner) if patched else SimpleNamespace()
    asyncio.run(module.evict_waiting_nodes(worker))
    assert evicted == ["all"] * (patched and ends)


class Engine:
    """An engine's end of the stream of durable events: it takes one request after the other, and answers some."""

    def __init__(self) -> None:
        self.loses: set[str] = set()
        self.n_streams = 0

    def DurableTask(self, requests: Any, **_: Any) -> EngineStream:
        self.n_streams += 1
        return EngineStream(self, requests)


class EngineStream:
    def __init__(self, engine: Engine, requests: Any) -> None:
        self.engine, self.requests = engine, requests
        self.is_cancelled = asyncio.Event()

    def cancel(self) -> None:
        self.is_cancelled.set()

    async def __aiter__(self) -> Any:
        from hatchet_sdk.contracts.v1 import dispatcher_pb2 as messages

        pending: asyncio.Future[Any] = asyncio.ensure_future(anext(self.requests))
        cancelled = asyncio.ensure_future(self.is_cancelled.wait())
        while True:
            await asyncio.wait((pending, cancelled), return_when=asyncio.FIRST_COMPLETED)
            if cancelled.done():
                pending.cancel()
                raise asyncio.CancelledError
            request = pending.result()
            pending = asyncio.ensure_future(anext(self.requests))
            kind = request.WhichOneof("message")
            if kind in self.engine.loses:
                continue
            if kind == "register_worker":
                yield messages.DurableTaskResponse(
                    register_worker=messages.DurableTaskResponseRegisterWorker(worker_id="w")
                )
            if kind == "wait_for":
                asked = request.wait_for
                yield messages.DurableTaskResponse(
                    wait_for_ack=messages.DurableTaskEventWaitForAckResponse(
                        ref=messages.DurableEventLogEntryRef(
                            durable_task_external_id=asked.durable_task_external_id,
                            invocation_count=asked.invocation_count,
                        )
                    )
                )


def listens_to(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Change the SDK for the time of a test, and return what makes a listener."""
    from hatchet_sdk.clients.listeners import durable_event_listener as sdk

    patient_reports(monkeypatch)

    async def close() -> None:
        pass

    monkeypatch.setattr(sdk, "new_conn", lambda *_, **__: SimpleNamespace(close=close))
    monkeypatch.setattr(sdk, "V1DispatcherStub", lambda _: engine)
    monkeypatch.setattr(sdk, "DEFAULT_RECONNECT_INTERVAL", 0.0)
    return lambda: sdk.DurableEventListener(SimpleNamespace(token="t"), SimpleNamespace())  # type: ignore[arg-type]


def test_greetings_that_a_stream_has_not_sent_count_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    new_listener = listens_to(Engine(), monkeypatch)

    async def work() -> tuple[int, int]:
        listener = new_listener()
        listener._worker_id = "w"
        await listener._connect()
        (n_first, _) = listener.pulse.mark()
        await listener._register_worker()
        await listener._register_worker()
        await listener._connect()
        return n_first, listener.pulse.mark()[0]

    assert asyncio.run(work()) == (1, 4)


@pytest.mark.parametrize(
    ("loses", "silent_s", "expected"),
    [
        (set[str](), 30.0, None),
        ({"wait_for"}, 30.0, "has not taken what was asked for"),
        ({"wait_for", "register_worker"}, 0.01, "the stream of durable events was ended"),
    ],
    ids=["answered", "lost", "dead"],
)
def test_a_request_over_the_stream_is_known_to_be_lost(
    loses: set[str], silent_s: float, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hatchet_sdk.clients.listeners import durable_event_listener as sdk
    from hatchet_sdk.contracts.v1.shared.condition_pb2 import DurableEventListenerConditions

    engine = Engine()
    new_listener = listens_to(engine, monkeypatch)
    monkeypatch.setattr(module, "_GREET_S", 0.005)
    monkeypatch.setattr(module, "Pulse", partial(module.Pulse, silent_s=silent_s))

    async def work() -> None:
        listener = new_listener()
        await listener.start("w")
        event = sdk.WaitForEvent(DurableEventListenerConditions(), None)
        engine.loses = loses
        if expected is None:
            await listener.send_event("task", 1, event)
        else:
            with pytest.raises(ConnectionResetError, match=expected):
                await asyncio.wait_for(listener.send_event("task", 1, event), 30)
        assert not listener._pending_event_acks
        engine.loses = set()
        listener.pulse.silent_s = 30.0
        await asyncio.wait_for(listener.send_event("task", 2, event), 30)
        await listener.stop()

    asyncio.run(work())
    assert engine.n_streams == (2 if silent_s < 1 else 1)
