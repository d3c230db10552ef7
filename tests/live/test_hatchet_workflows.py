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


_SAMPLING = """
import pandas as pd
from hatchet_sdk import Context
from pydantic import BaseModel
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.experiments import BaseExperiment, ExperimentRun
from scythe_cli.hatchet import hatchet
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.scatter_gather import ScatterGatherResult, scatter_gather

class Point(ExperimentInputSpec):
    x: float

class Value(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register(name="doubled")
def doubled(input_spec: Point) -> Value:
    return Value(y=input_spec.x * 2)

class Plan(ExperimentInputSpec):
    n: int

class Started(BaseModel):
    run: ExperimentRun[Point, Value]
    workflow_run_id: str

class Sum(BaseModel):
    total: float

plan = hatchet.workflow(name="sampling", input_validator=Plan)

@plan.task(execution_timeout="2m")
def start(spec: Plan, ctx: Context) -> Started:
    ctx.log("allocating")
    experiment = BaseExperiment[Point, Value](runnable=doubled, run_name=f"{spec.experiment_id}/sample")
    run, ref = experiment.allocate([Point(x=i) for i in range(spec.n)])
    return Started(run=run, workflow_run_id=ref.workflow_run_id)

@plan.task(parents=[start], execution_timeout="2m")
async def wait(spec: Plan, ctx: Context) -> ScatterGatherResult:
    return await scatter_gather.aio_get_result(ctx.task_output(start).workflow_run_id)

@plan.task(parents=[start, wait])
def add(spec: Plan, ctx: Context) -> Sum:
    scalars = pd.read_parquet(str(ctx.task_output(wait).uris["scalars"]))
    assert len(scalars) == spec.n
    assert ctx.task_output(start).run.versioned_experiment.base_experiment.runnable is doubled
    return Sum(total=scalars["y"].sum())

ExperimentRegistry.Include(plan)
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


@pytest.mark.parametrize("engine", ["local", "hatchet"])
def test_a_task_allocates_a_batch_and_the_next_one_waits_for_it(
    live: LiveProject, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    name = f"sampling_{engine}"
    (live.root / f"{name}.py").write_text(_SAMPLING)
    toml = live.root / "experiments.toml"
    toml.write_text(
        toml.read_text()
        + f'\n[experiments.plan]\nentrypoint = "{name}:plan"\n[experiments.doubled]\nentrypoint = "{name}:doubled"\n'
    )
    monkeypatch.syspath_prepend(str(live.root))
    monkeypatch.chdir(live.root)
    monkeypatch.setenv("SCYTHE_ENGINE", engine)
    if engine == "hatchet":
        live.start_worker("--slots", "2", "--experiment", "plan", "--experiment", "doubled")
    module = importlib.import_module(name)
    try:
        from scythe_cli.experiments import BaseExperiment

        run, ref = BaseExperiment(runnable=module.plan).allocate(module.Plan(n=6))
        outputs = ref.result()
        assert outputs["add"] == {"total": 30.0}
        assert outputs["start"]["workflow_run_id"]
        assert (live.root / "runs" / run.experiment_id / "sample").is_dir()
    finally:
        sys.modules.pop(name)


def test_spec_that_is_triggered_by_hand(live: LiveProject) -> None:
    from hatchet_sdk import Hatchet

    live.start_worker("--slots", "1")
    task = Hatchet().stubs.workflow(name="energy", input_validator=dict[str, Any])
    output = task.run({"x": 2.0, "k": 3})
    assert next(iter(output.values()))["result"] == {"y": 7.0, "text": "a!"}
    with pytest.raises(Exception, match="cannot simulate a"):
        task.run({"x": 2.0, "fails": True})
    assert not Path(live.root / "runs").exists()
