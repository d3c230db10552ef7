"""Workflows of several tasks, declared without any server and run task after task."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import BaseModel

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.engines.local import LocalEngine
from scythe_cli.errors import RegistrationError
from scythe_cli.hatchet import hatchet
from scythe_cli.registry import ExperimentRegistry


class FlowInput(ExperimentInputSpec):
    x: float


class Half(BaseModel):
    half: float


class FlowOutput(ExperimentOutputSpec):
    total: float


@pytest.fixture
def flow() -> Any:
    flow = hatchet.workflow(name="three_steps", input_validator=FlowInput)

    @flow.task(execution_timeout="5m")
    def first(spec: FlowInput, ctx: Any) -> Half:
        ctx.log(f"halving {spec.x}")
        return Half(half=spec.x / 2)

    @flow.task(parents=[first])
    async def second(spec: FlowInput, ctx: Any) -> Half:
        return Half(half=ctx.task_output(first).half / 2)

    @flow.task(name="last", parents=[first, second])
    def third(spec: FlowInput, ctx: Any) -> FlowOutput:
        assert ctx.workflow_run_id == "id"
        return FlowOutput(total=ctx.task_output(first).half + ctx.task_output(second).half)

    return flow


def test_tasks_run_in_their_order_and_get_outputs_of_their_parents(flow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HATCHET_CLIENT_TOKEN", raising=False)  # none is needed
    experiment = LocalEngine().experiment_of(ExperimentRegistry.Include(flow))
    assert experiment is not None
    output = experiment(FlowInput(x=4, workflow_run_id="id"))
    assert output.total == 3
    assert output.task_outputs == {
        "first": {"half": 2.0},
        "second": {"half": 1.0},
        "last": {"total": 3.0, "dataframes": {}},
    }
    assert issubclass(experiment.output_validator_type, FlowOutput)
    assert experiment.options.execution_timeout.total_seconds() == 5 * 60 + 2 * 60
    assert LocalEngine().experiment_of(flow) is experiment


def test_only_outputs_of_parents_are_there(flow: Any) -> None:
    first = flow.tasks[0]

    @flow.task()
    def other(spec: FlowInput, ctx: Any) -> dict[str, float]:
        return {"half": ctx.task_output(first).half}

    with pytest.raises(ValueError, match="'first' has given no output"):
        LocalEngine().experiment_of(flow)(FlowInput(x=4, workflow_run_id="id"))  # pyright: ignore[reportOptionalCall]


def test_a_task_that_fails_is_tried_again_and_then_told() -> None:
    flow = hatchet.workflow(name="fails", input_validator=FlowInput)
    seen: list[str] = []

    @flow.task(retries=2)
    def breaks(spec: FlowInput, ctx: Any) -> None:
        seen.append(f"try {ctx.attempt_number}")
        raise RuntimeError("broken")

    @flow.on_failure_task()
    def afterwards(spec: FlowInput, ctx: Any) -> None:
        seen.append("failed")

    with pytest.raises(RuntimeError, match="broken"):
        flow.as_experiment()(FlowInput(x=1))
    assert seen == ["try 1", "try 2", "try 3", "failed"]


def test_tasks_can_be_tried_by_themselves(flow: Any) -> None:
    first, second, _ = flow.tasks
    assert first.mock_run(input=FlowInput(x=4)).half == 2
    assert second.mock_run(input=FlowInput(x=4), parent_outputs={"first": Half(half=3)}).half == 1.5
    assert first(FlowInput(x=1), type("Ctx", (), {"log": print})).half == 0.5


def test_what_is_declared_is_one_thing(flow: Any) -> None:
    assert copy.deepcopy(flow) is copy.copy(flow) is flow
    assert [task.name for task in flow.tasks] == ["first", "second", "last"]
    assert flow.input_validator_type is FlowInput


def test_a_workflow_needs_tasks_and_an_input_model() -> None:
    with pytest.raises(RegistrationError, match="has no tasks"):
        hatchet.workflow(name="empty", input_validator=FlowInput).as_experiment()
    flow = hatchet.workflow(name="untyped")
    flow.task()(lambda spec, ctx: None)
    with pytest.raises(RegistrationError, match="not an ExperimentInputSpec"):
        flow.as_experiment()


class Sdk:
    """Takes note of what an engine's own objects would be made of."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []

    def workflow(self, **options: Any) -> Any:
        self.made.append(("workflow", options["name"]))
        return self

    def task(self, *, name: str, parents: Any = (), **options: Any) -> Any:
        self.made.append((name, list(parents)))
        return lambda fn: f"real {fn.__name__}"


def test_the_engine_makes_its_own_once(flow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = Sdk()
    monkeypatch.setattr(flow, "_client", lambda: sdk)
    assert flow.real is flow.real is sdk
    assert sdk.made == [
        ("workflow", "three_steps"),
        ("first", []),
        ("second", ["real first"]),
        ("last", ["real first", "real second"]),
    ]
