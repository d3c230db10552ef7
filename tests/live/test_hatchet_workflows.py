"""Included workflows of several tasks, and specs that are triggered by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.engines.hatchet.engine import HatchetEngine
from scythe_cli.engines.hatchet.workflows import workflow_experiment
from scythe_cli.model.spec_rows import table_from_specs
from scythe_cli.run.manifest import RecursionRecord
from scythe_cli.services.allocation.submission import AllocationRequest, execute, submit
from scythe_cli.storage.opening import open_storage
from tests.live.fleet import LiveProject

_FLOW = """
from hatchet_sdk import Context
from pydantic import BaseModel
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.hatchet import hatchet
from scythe_cli.registry import ExperimentRegistry

class FlowInput(ExperimentInputSpec):
    x: float
    breaks: bool = False

class Half(BaseModel):
    half: float

class FlowOutput(ExperimentOutputSpec):
    total: float
    place: str

flow = hatchet.workflow(name="three_steps", input_validator=FlowInput)

@flow.task()
def first(spec: FlowInput, ctx: Context) -> Half:
    if spec.breaks:
        raise ValueError("broken")
    return Half(half=spec.x / 2)

@flow.task(parents=[first])
def second(spec: FlowInput, ctx: Context) -> Half:
    return Half(half=ctx.task_output(first).half / 2)

@flow.task(parents=[first, second])
def third(spec: FlowInput, ctx: Context) -> FlowOutput:
    return FlowOutput(total=ctx.task_output(first).half + ctx.task_output(second).half, place=spec.experiment_id)

ExperimentRegistry.Include(flow)
"""


def _request(live: LiveProject, flow: Any, specs: list[Any], **more: Any) -> AllocationRequest:
    return AllocationRequest(
        experiment=workflow_experiment(flow.flow),
        folder="three_steps",
        inputs=table_from_specs(specs, flow.FlowInput),
        storage=open_storage(live.root / "runs"),
        engine=HatchetEngine(),
        root=live.root,
        recursion=RecursionRecord(factor=10, max_depth=0),
        **more,
    )


@pytest.fixture
def flow(live: LiveProject, monkeypatch: pytest.MonkeyPatch) -> Any:
    import importlib

    (live.root / "flow_module.py").write_text(_FLOW)
    toml = live.root / "experiments.toml"
    toml.write_text(toml.read_text() + '\n[experiments.three]\nentrypoint = "flow_module:flow"\n')
    monkeypatch.syspath_prepend(str(live.root))
    module = importlib.import_module("flow_module")
    yield module
    sys.modules.pop("flow_module")


def test_workflow_of_three_steps(live: LiveProject, flow: Any) -> None:
    live.start_worker("--slots", "2", "--experiment", "three")
    specs = [flow.FlowInput(x=float(i), breaks=i == 3) for i in range(50)]
    request = _request(live, flow, specs)
    submission = submit(request)
    result = execute(submission, request.engine)
    assert result.counts == StateCounts(succeeded=49, failed=1)
    from scythe_cli.analysis.run import Run

    run = Run(request.storage, submission.job.run)
    scalars = run.scalars().sort("sort_index")
    assert scalars["total"].to_list() == [i * 0.75 for i in range(50) if i != 3]
    assert set(scalars["place"]) == {submission.job.run.experiment_id}
    assert "broken" in run.table("errors").collect()["message"][0]
    single = _request(live, flow, specs[49:], single=True)
    alone = execute(submit(single), single.engine)
    assert alone.counts == StateCounts(succeeded=1)


def test_spec_that_is_triggered_by_hand(live: LiveProject) -> None:
    from hatchet_sdk import Hatchet

    live.start_worker("--slots", "1")
    task = Hatchet().stubs.workflow(name="energy", input_validator=dict[str, Any])
    output = task.run({"x": 2.0, "k": 3})
    assert next(iter(output.values()))["result"] == {"y": 7.0, "text": "a!"}
    with pytest.raises(Exception, match="cannot simulate a"):
        task.run({"x": 2.0, "fails": True})
    assert not Path(live.root / "runs").exists()
