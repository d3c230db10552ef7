"""The parts of the Hatchet engine that need no server: plans, choices of specs, messages, nodes with a fake engine."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.arrow.content import row_contents
from scythe_cli.arrow.seeds import CONTENT, REPETITION, RowSeeds
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.core.states import State
from scythe_cli.engines.base import Job
from scythe_cli.engines.hatchet.engine import _node_input
from scythe_cli.engines.hatchet.nodes.children import Child, inline_specs, task_children, with_contents
from scythe_cli.engines.hatchet.nodes.node import Node
from scythe_cli.engines.hatchet.nodes.plan import Shape, waves
from scythe_cli.engines.hatchet.nodes.results import ChildError, Lost
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore
from scythe_cli.engines.hatchet.payloads import (
    META_LEAF,
    NODE_NAME,
    ROWS_KEY,
    LeafAssignment,
    LeafOutput,
    NodeInput,
    RowSet,
    RunPointer,
    pack_outcomes,
    unpack_outcomes,
)
from scythe_cli.engines.todo_file import write_todo
from scythe_cli.errors import StorageError
from scythe_cli.executor.rows.attempts import outcome_of_failure
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.model.spec_rows import META_SCHEMA, artifacts_mark, table_from_specs, with_meta
from tests.hatchet_jobs import make_job


class Case(ExperimentInputSpec):
    x: float
    day: dt.date | None = None


class Result(ExperimentOutputSpec):
    y: float


def simulate(spec: Case) -> Result:
    return Result(y=spec.x)


# plans


@pytest.mark.parametrize("shape", [Shape(), Shape(7), Shape(1000)])
@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 1234])
def test_waves_hold_each_row_once_and_in_order(shape: Shape, n: int) -> None:
    rows = range(5, 5 + 3 * n, 3)
    cut = list(waves(rows, shape))
    assert [row for wave in cut for task in wave for row in task] == list(rows)
    assert all(len(task) <= shape.rows_per_task for wave in cut for task in wave)
    assert all(cut)


def test_first_waves_are_small() -> None:
    assert [len(wave) for wave in waves(range(1000), Shape())][:6] == [10, 20, 40, 80, 100, 100]


# messages


@pytest.mark.parametrize(
    ("rows", "attempts"),
    [([3], [1]), ([1, 4, 7], [2, 2, 2]), ([1, 4, 8], [1, 1, 1]), ([0, 1, 2], [1, 2, 3])],
)
def test_row_sets_are_what_they_are_made_of(rows: list[int], attempts: list[int]) -> None:
    made = RowSet.model_validate_json(RowSet.of(rows, attempts).model_dump_json(exclude_defaults=True))
    assert (made.indices, made.attempt_numbers) == (rows, attempts)


def _outcome(row: int, attempt: int = 1, state: State = State.SUCCEEDED) -> pa.Table:
    return outcome_of_failure(
        Failure(state, "", ""),
        sort_index=row,
        attempt=attempt,
        final=True,
        workflow_run_id=f"w-{row}",
        worker="w",
        started_s=100.0 + row,
        duration_s=0.5,
        log=None,
    ).append_column("out:y", pa.array([float(row)]))


def test_outcomes_survive_and_are_small() -> None:
    packed = pack_outcomes([_outcome(1)])
    assert packed is not None
    assert unpack_outcomes(packed) == [_outcome(1)]
    assert len(packed[0]) < 1500


def test_large_outcomes_are_not_sent() -> None:
    noise = np.random.default_rng(0).random(200_000)
    assert pack_outcomes([pa.table({"a": noise})]) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.0])
def test_values_that_json_changes_are_not_inlined(value: float) -> None:
    table = pa.table({"sort_index": [0, 1], "x": [value, 1.5]})
    first, second = inline_specs(table)
    assert first is None
    assert json.loads(second or "") == {"sort_index": 1, "x": 1.5}


def test_text_with_nul_and_bytes_that_are_no_text_are_not_inlined() -> None:
    assert inline_specs(pa.table({"a": ["x\0y"]})) == [None]
    assert inline_specs(pa.table({"a": [b"\xff\xfe"]})) == [None]


def test_what_a_seed_follows_from_goes_with_the_spec() -> None:
    table = pa.table({"sort_index": [0, 1], "x": [0.5, 0.5], REPETITION: pa.array([0, 1], pa.int32())})
    run = RunPointer.model_construct(experiment_id="a/v1.0.0/2026-01-01_00-00-00", is_workflow=False)
    first, second = (json.loads(text or "") for text in inline_specs(with_contents(table, run)))
    assert first[CONTENT] == second[CONTENT] == f"{row_contents(table.select(['x']))[0]:016x}"
    assert (first[REPETITION], second[REPETITION]) == (0, 1)


def test_the_tasks_of_a_workflow_get_the_seed_that_the_row_has_elsewhere() -> None:
    class Strict(ExperimentInputSpec, extra="forbid"):
        x: float

    run = RunPointer(
        storage="runs",
        experiment_id="a/v1.0.0/2026-01-01_00-00-00",
        experiment="a",
        root_workflow_run_id="root",
        session="hatchet-20260101T000000-0a1b2c3d",
        n_specs=2,
        schema_fingerprint="",
        is_workflow=True,
        execution_timeout_s=1.0,
        seed=7,
    )
    inputs = table_from_specs([Strict(x=0.5), Strict(x=0.5)], Strict)
    rows = with_meta(inputs, run.experiment_id, "root").append_column(REPETITION, pa.array([0, 1], pa.int32()))
    assignments = [LeafAssignment(run=run, rows=RowSet(start=i, n=1), part="p") for i in range(2)]
    children, refused = task_children(assignments, dict(enumerate(inline_specs(with_contents(rows, run)))))
    assert refused == {}
    specs = [Strict.model_validate_json(child.input) for child in children]
    mark = artifacts_mark(run.experiment_id)
    seeds = RowSeeds(rows, 7, leave_out=META_SCHEMA.names, artifacts=mark)
    assert [spec.seed for spec in specs] == [seeds.of(0), seeds.of(1)]
    assert specs[0].seed != specs[1].seed
    assert Strict.model_validate_json(specs[0].model_dump_json()).rng().random() == specs[0].rng().random()


# nodes


class FakeEngine:
    """Runs children at once, and remembers what it was asked for."""

    def __init__(self, specs: SpecStore, failing: frozenset[int] = frozenset()) -> None:
        self.specs = specs
        self.failing = failing
        self.asked: dict[str, list[str]] = {}
        self.rows: list[tuple[int, int]] = []
        self.lost: dict[int, ChildError] = {}
        self.within_budget: int | None = None  # how many rows a task runs before its time is up

    def node(self, node_input: NodeInput, *, is_replay: bool = False) -> Node:
        place = node_input.recursion.model_dump_json()
        self.asked[place] = []

        async def spawn(children: Sequence[Child]) -> list[Awaitable[Mapping[str, Any] | ChildError]]:
            self.asked[place] += [child.input for child in children]
            await asyncio.sleep(0)
            return [self._run(child) for child in children]

        return Node(node_input, spawn, self.specs, is_replay)

    async def _run(self, child: Child) -> Mapping[str, Any] | ChildError:
        if child.workflow == NODE_NAME:
            output = await self.node(NodeInput.model_validate_json(child.input)).work()
            return output.model_dump(mode="json")
        task_input = json.loads(child.input)
        assignment = (
            LeafAssignment.model_validate(task_input[ROWS_KEY])
            if ROWS_KEY in task_input
            else LeafAssignment.from_metadata(child.metadata[META_LEAF], child.workflow, task_input)
        )
        pairs = list(zip(assignment.rows.indices, assignment.rows.attempt_numbers, strict=True))
        if pairs[0][0] in self.lost:
            return self.lost[pairs[0][0]]
        rest: RowSet | None = None
        if assignment.budget_s is not None and self.within_budget is not None:
            more = pairs[self.within_budget :]
            pairs = pairs[: self.within_budget]
            rest = RowSet.of([row for row, _ in more], [attempt for _, attempt in more]) if more else None
        self.rows += pairs
        tables = [_outcome(r, a, State.FAILED if r in self.failing else State.SUCCEEDED) for r, a in pairs]
        states: dict[str, int] = {}
        for table in tables:
            state = table.column("state")[0].as_py()
            states[state] = states.get(state, 0) + 1
        merged = pa.concat_tables(tables)
        output = LeafOutput(
            n=len(pairs), states=states, outcomes=pack_outcomes([merged]), busy_s=0.5 * len(pairs), rest=rest
        )
        return output.model_dump(mode="json")


def _job(tmp_path: Path, n: int, *, factor: int, depth: int, per_task: int | str) -> Job:
    specs = [Case(x=i / 3, day=dt.date(2026, 1, 1) if i % 2 else None) for i in range(n)]
    return make_job(tmp_path, simulate, table_from_specs(specs, Case), factor=factor, depth=depth, per_task=per_task)


@pytest.mark.parametrize("per_task", [1, 4, "auto"])
@pytest.mark.parametrize(("factor", "depth", "n"), [(10, 0, 150), (3, 1, 150), (2, 3, 100), (30, 1, 45)])
def test_tree_runs_each_spec_once(tmp_path: Path, factor: int, depth: int, n: int, per_task: int | str) -> None:
    job = _job(tmp_path, n, factor=factor, depth=depth, per_task=per_task)
    store = SpecStore()
    engine = FakeEngine(store, failing=frozenset({3, n - 10}))
    output = asyncio.run(engine.node(_node_input(job)).work())
    store.close()
    assert sorted(engine.rows) == [(row, 1) for row in range(n)]
    assert output.counts == {"succeeded": n - 2, "failed": 2}
    run = Run(job.storage, job.run)
    counts = run.status().counts
    assert counts is not None
    assert (counts.succeeded, counts.failed, counts.pending) == (n - 2, 2, 0)
    assert run.scalars()["sort_index"].len() == n - 2


def check_replay(job: Job, engine: FakeEngine, node_input: NodeInput) -> None:
    """A node that is run again asks for what it has asked for, and writes nothing."""
    asked = dict(engine.asked)
    parts = {f.name: f.modified for f in job.storage.list_files(job.run.outcomes)}
    asyncio.run(engine.node(node_input, is_replay=True).work())
    assert engine.asked == asked
    assert {f.name: f.modified for f in job.storage.list_files(job.run.outcomes)} == parts


@pytest.mark.parametrize("per_task", [1, "auto"])
def test_replay_asks_for_the_same_and_writes_nothing_new(tmp_path: Path, per_task: int | str) -> None:
    job = _job(tmp_path, 100, factor=10, depth=0, per_task=per_task)
    node_input = _node_input(job)
    store = SpecStore()
    engine = FakeEngine(store)
    asyncio.run(engine.node(node_input).work())
    check_replay(job, engine, node_input)
    store.close()


def test_rows_that_a_task_hands_back_are_asked_for_again_and_a_replay_is_the_same(tmp_path: Path) -> None:
    job = _job(tmp_path, 200, factor=10, depth=0, per_task="auto")
    node_input = _node_input(job)
    store = SpecStore()
    engine = FakeEngine(store)
    engine.within_budget = 3
    output = asyncio.run(engine.node(node_input).work())
    assert output.counts == {"succeeded": 200}
    assert sorted(engine.rows) == [(row, 1) for row in range(200)]
    check_replay(job, engine, node_input)
    store.close()


def test_an_invocation_that_was_taken_for_dead_and_its_replay_agree(tmp_path: Path) -> None:
    """Both are at work on one node: whoever is first decides what is asked for."""
    job = _job(tmp_path, 200, factor=10, depth=0, per_task="auto")
    node_input = _node_input(job)
    store = SpecStore()
    one, other = FakeEngine(store), FakeEngine(store)

    async def both() -> None:
        await asyncio.gather(one.node(node_input).work(), other.node(node_input, is_replay=True).work())

    asyncio.run(both())
    store.close()
    assert one.asked == other.asked
    assert sorted(set(one.rows)) == [(row, 1) for row in range(200)]


@pytest.mark.parametrize(("factor", "depth", "n_chosen"), [(10, 0, 3), (3, 2, 3), (3, 2, 40), (4, 3, 1)])
def test_only_chosen_specs_are_run_again(tmp_path: Path, factor: int, depth: int, n_chosen: int) -> None:
    job = _job(tmp_path, 100, factor=factor, depth=depth, per_task="auto")
    draw = np.random.default_rng(n_chosen)
    rows, attempts = np.sort(draw.choice(100, n_chosen, replace=False)), draw.integers(2, 5, n_chosen)
    job = replace(job, todo=pa.table({"sort_index": rows, "attempt": pa.array(attempts, pa.int32())}))
    node_input = _node_input(job)
    assert len(node_input.model_dump_json()) < 3_000
    assert node_input.todo is not None
    assert job.todo is not None
    write_todo(job.storage, job.run.hatchet(node_input.todo), job.todo)
    store = SpecStore()
    engine = FakeEngine(store)
    asyncio.run(engine.node(node_input).work())
    store.close()
    assert sorted(engine.rows) == list(zip(rows.tolist(), attempts.tolist(), strict=True))


def test_a_node_whose_choice_of_specs_is_gone_runs_none(tmp_path: Path) -> None:
    job = _job(tmp_path, 20, factor=10, depth=0, per_task="auto")
    store = SpecStore()
    engine = FakeEngine(store)
    with pytest.raises(StorageError, match="gone"):
        asyncio.run(engine.node(_node_input(job).model_copy(update={"todo": "gone.pq"})).work())
    store.close()
    assert engine.rows == []


def test_cancelled_task_stops_the_node_and_stays_pending(tmp_path: Path) -> None:
    job = _job(tmp_path, 60, factor=10, depth=0, per_task="auto")
    store = SpecStore()
    engine = FakeEngine(store)
    engine.lost[2] = ChildError(Lost.CANCELLED, "Cancelled", "it was cancelled")
    output = asyncio.run(engine.node(_node_input(job)).work())
    store.close()
    assert output.stopped
    counts = Run(job.storage, job.run).status().counts
    assert counts is not None
    assert counts.pending >= 1
    assert counts.succeeded + counts.pending == 60


def test_task_that_cannot_be_run_leaves_an_outcome(tmp_path: Path) -> None:
    job = _job(tmp_path, 20, factor=10, depth=0, per_task=5)
    store = SpecStore()
    engine = FakeEngine(store)
    engine.lost[5] = ChildError(Lost.FAILED, "StorageError", "the disk is full")
    output = asyncio.run(engine.node(_node_input(job)).work())
    store.close()
    assert output.counts == {"succeeded": 15, "failed": 5}
    assert "the disk is full" in output.notices[0]
    errors = Run(job.storage, job.run).table("errors").collect()
    assert errors["sort_index"].to_list() == [5, 6, 7, 8, 9]
    assert set(errors["error_type"]) == {"StorageError"}
