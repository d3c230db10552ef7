"""What a worker serves, with the real objects of the Hatchet SDK: nothing twice, and nothing that it cannot serve."""

from __future__ import annotations

import base64
import json
import multiprocessing.dummy
import re
from types import SimpleNamespace
from typing import Any

import pytest

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.engines.hatchet import connection
from scythe_cli.engines.hatchet.nodes.process_pool import ProcessPool
from scythe_cli.engines.hatchet.payloads import NODE_NAME
from scythe_cli.engines.hatchet.proxy import hatchet
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.scatter_gather import scatter_gather
from scythe_cli.services.worker import SCATTER_GATHER, ScytheWorkerConfig


class Case(ExperimentInputSpec):
    x: float


class Answer(ExperimentOutputSpec):
    y: float


def simulate(spec: Case) -> Answer:
    return Answer(y=spec.x)


def other(spec: Case) -> Answer:
    return Answer(y=-spec.x)


def _token() -> str:
    claims = {
        "sub": "tenant",
        "server_url": "http://127.0.0.1:1",
        "grpc_broadcast_address": "127.0.0.1:1",
        "exp": 2**33,
    }
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": ""}, claims)
    ]
    return ".".join([*parts, "x"])


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The actions that a worker of the SDK would serve, once one has been started; no server is asked."""
    seen: list[str] = []
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", _token())
    monkeypatch.setenv("HATCHET_CLIENT_TLS_STRATEGY", "none")
    monkeypatch.setattr(connection, "_clients", {})

    sdk = connection.get_hatchet()  # which loads the SDK
    from hatchet_sdk.worker import worker as sdk_worker

    from scythe_cli.engines.hatchet import client
    from scythe_cli.engines.hatchet.nodes import worker as worker_module

    # the SDK's worker makes queues for its processes; the first real one starts the process that looks after them
    threads = SimpleNamespace(get_context=lambda _method: multiprocessing.dummy)
    monkeypatch.setattr(sdk_worker, "multiprocessing", threads)

    class Connection:
        hatchet = sdk

        def register(self, served: list[Any]) -> None:
            for each in served:
                each.to_proto()

    def look(options: Any, connected: Any, served: list[Any], pool: object) -> None:
        del pool
        made = connected.hatchet.worker(options.name, workflows=served)
        made._raise_for_duped_action_ids()
        seen.extend(each._create_action_name(task) for each in served for task in each.tasks)

    monkeypatch.setattr(client, "connect", lambda _client: Connection())
    monkeypatch.setattr(worker_module, "_run_until_told_to_end", look)
    monkeypatch.setattr(worker_module, "warm_up", lambda _storage: None)
    monkeypatch.setattr(ProcessPool, "start_spare", lambda _pool: None)
    return seen


def declared() -> Any:
    workflow = hatchet.workflow(name="flow", input_validator=Case)

    @workflow.task()
    def first(spec: Case, context: Any) -> Answer:
        return Answer(y=spec.x)

    return workflow


def action(name: str) -> str:
    """What the SDK calls a task that is a workflow by itself."""
    return f"{name}:{name}"


def without_routes(actions: list[str]) -> list[str]:
    """The actions without the fingerprints of code: an experiment is served with one, for runs, and without."""
    return sorted(re.sub(r"\.[0-9a-f]{12}", "", each) for each in actions)


NODE, SIMULATE, OTHER = (
    action(f"scythe_{name}") for name in ("scatter_gather", "experiment_simulate", "experiment_other")
)


def test_a_workflow_that_is_included_and_given_is_served_once(actions: list[str]) -> None:
    workflow = declared()
    ExperimentRegistry.Include(workflow)
    experiment = ExperimentRegistry.Register()(simulate)
    ScytheWorkerConfig().start([other], additional_workflows=[workflow, experiment, scatter_gather])
    assert without_routes(actions) == ["flow:first", OTHER, OTHER, SIMULATE, SIMULATE, NODE]
    assert len(actions) == len(set(actions))
    assert SCATTER_GATHER == NODE_NAME


def test_a_workflow_that_is_only_given_is_served_too(actions: list[str]) -> None:
    ScytheWorkerConfig(DOES_LEAF=False).start(additional_workflows=[declared()])
    assert sorted(actions) == ["flow:first", NODE]


def test_a_worker_that_is_put_together_by_hand(actions: list[str]) -> None:
    workflow = ExperimentRegistry.Include(declared())
    ExperimentRegistry.Register()(simulate)
    made = hatchet.worker("mine", workflows=[scatter_gather], slots=2)
    for each in [*ExperimentRegistry.experiments(), *ExperimentRegistry.workflows()]:
        made.register_workflow(each)
    made.register_workflow(workflow)
    made.start()
    assert without_routes(actions) == ["flow:first", SIMULATE, SIMULATE, NODE]
    assert len(actions) == len(set(actions))
