"""What a node decides, apart from all that it does: tables of cases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from scythe_cli.core.recursion import RecursionMap, RecursionSpec
from scythe_cli.core.states import State
from scythe_cli.engines.hatchet.nodes.children import MESSAGE_BYTES, MESSAGE_CHILDREN, Child, messages, task_children
from scythe_cli.engines.hatchet.nodes.node import _to_run, place_of, reached_limit
from scythe_cli.engines.hatchet.nodes.results import (
    ChildError,
    Lost,
    collect,
    failed_lines,
    failure_rows,
    never_started,
    notices_of,
    rest_of,
    result_of_task,
    span_s,
)
from scythe_cli.engines.hatchet.payloads import LeafAssignment, LeafOutput, RowSet, RunPointer, pack_outcomes
from scythe_cli.engines.hatchet.sessions import is_cancelled
from scythe_cli.errors import StorageError
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA

RUN = RunPointer(
    storage="runs",
    experiment_id="energy/v1.0.0/2026-01-01_00-00-00",
    experiment="energy",
    root_workflow_run_id="root",
    session="hatchet-20260101T000000-0a1b2c3d",
    n_specs=100,
    schema_fingerprint="",
    execution_timeout_s=1.0,
)
ROWS = RowSet(start=4, n=3)
WORKFLOW_SCHEMA = OUTCOME_SCHEMA.append(pa.field("out:y", pa.float64()))


def error(kind: Lost) -> ChildError:
    return ChildError(kind, "StorageError", "the disk is full\nand more")


def sent(n: int, state: State = State.SUCCEEDED) -> dict[str, Any]:
    table = failure_rows(RUN, RowSet(start=4, n=n), Failure(state, "", ""))
    return LeafOutput(n=n, states={state.value: n}, outcomes=pack_outcomes([table]), busy_s=1.5).model_dump(mode="json")


@pytest.mark.parametrize("is_workflow", [False, True])
@pytest.mark.parametrize(
    ("kind", "counts", "lost"),
    [
        (Lost.FAILED, {"failed": 1}, True),
        (Lost.CANCELLED, {}, True),
        (Lost.NEVER_STARTED, {}, True),
    ],
)
def test_what_a_lost_task_means(kind: Lost, counts: dict[str, int], lost: bool, is_workflow: bool) -> None:
    result = result_of_task(RUN, RowSet(start=4, n=1), error(kind), WORKFLOW_SCHEMA if is_workflow else None)
    assert result.counts == counts
    # a workflow that fails tells what its spec did, and not what the engine did
    assert (result.lost is not None) == (lost and not (is_workflow and kind is Lost.FAILED))
    states = [state for table in result.made for state in table.column("state").to_pylist()]
    assert states == [state for state, n in counts.items() for _ in range(n)]
    assert not result.sent


def test_a_failed_task_gives_each_spec_an_outcome() -> None:
    result = result_of_task(RUN, ROWS, error(Lost.FAILED), None)
    assert result.counts == {"failed": 3}
    rows = [row for table in result.made for row in table.to_pylist()]
    assert [row["sort_index"] for row in rows] == [4, 5, 6]
    assert {row["error_type"] for row in rows} == {"StorageError"}
    assert rows[0]["message"] == "the task did not finish: the disk is full\nand more"


def test_a_task_that_came_to_its_end() -> None:
    result = result_of_task(RUN, ROWS, sent(3), None)
    assert (result.counts, result.lost, result.busy_s, result.made) == ({"succeeded": 3}, None, 1.5, ())
    assert sum(table.num_rows for table in result.sent) == 3
    assert result.packed_bytes > 100


def test_a_task_that_wrote_its_outcomes_itself() -> None:
    output = LeafOutput(n=3, states={"timeout": 3}, part="p-t0001").model_dump(mode="json")
    result = result_of_task(RUN, ROWS, output, None)
    assert (result.counts, result.sent, result.made) == ({"timeout": 3}, [], ())


@pytest.mark.parametrize(
    ("outputs", "state", "y"),
    [
        ({"first": {"y": 1}, "last": {"y": 2.5}}, "succeeded", 2.5),
        ({"first": {"y": 1}, "last": None}, "succeeded", 1.0),
        ({"only": {}}, "succeeded", None),
        ({"only": {"y": "text"}}, "failed", None),
    ],
)
def test_what_a_workflow_gives_back(outputs: dict[str, Any], state: str, y: float | None) -> None:
    result = result_of_task(RUN, RowSet(start=4, n=1), outputs, WORKFLOW_SCHEMA)
    assert result.counts == {state: 1}
    (row,) = result.made[0].to_pylist()
    assert row.get("out:y") == y
    assert row["error_type"] == (None if state == "succeeded" else "OutputError")


def test_results_of_a_wave_are_put_together() -> None:
    results = [
        result_of_task(RUN, ROWS, sent(3), None),
        result_of_task(RUN, ROWS, error(Lost.FAILED), None),
        result_of_task(RUN, ROWS, error(Lost.CANCELLED), None),
    ]
    collected = collect(results)
    assert collected.n_tasks == 3
    assert collected.counts == {"succeeded": 3, "failed": 3}
    assert [each.kind for each in collected.lost] == [Lost.FAILED, Lost.CANCELLED]
    assert [table.column("state")[0].as_py() for table in collected.tables] == ["succeeded", "failed"]


def test_what_is_told_of_rows_that_fail() -> None:
    at = pa.table(
        {
            "sort_index": [3, 3, 5, 6],
            "state": ["failed", "timeout", "succeeded", "crashed"],
            "final": [False, True, True, True],
            "error_type": ["ValueError", "SpecTimeoutError", None, None],
            "message": ["no\0\nsuch", "more than 10 s", None, None],
        }
    )
    lines = failed_lines([at])
    assert lines[0] == "case 3: failed, and is tried again: ValueError: no\N{REPLACEMENT CHARACTER}"
    assert lines[1:] == ["case 3: timeout: SpecTimeoutError: more than 10 s", "case 6: crashed"]
    assert failed_lines([at] * 10)[-1] == "and 10 more"
    assert failed_lines([at.slice(2, 1)]) == []


def test_the_time_from_the_first_start_to_the_last_end() -> None:
    at = pa.array(
        [datetime(2026, 1, 1, 0, 0, s, tzinfo=UTC) for s in (10, 12)], OUTCOME_SCHEMA.field("started_at").type
    )
    table = pa.table({"started_at": at, "duration_s": pa.array([0.5, 3.0])})
    assert span_s([table, table.slice(0, 0)]) == 5.0
    assert span_s([]) == 0.0


def test_what_a_task_has_not_begun_is_handed_back_with_the_numbers_of_its_attempts() -> None:
    table = pa.table({"sort_index": [3, 4, 5], "final": [True, False, True]})
    rows = RowSet(start=3, n=5, attempts=[1, 1, 1, 1, 2])
    assert rest_of(rows, [table]) == RowSet(rows=[4, 6, 7], n=3, attempts=[2, 1, 2])
    assert rest_of(RowSet(start=3, n=1), [table]) is None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (error(Lost.CANCELLED), error(Lost.NEVER_STARTED)),
        (error(Lost.FAILED), error(Lost.FAILED)),
        ({"n": 1}, {"n": 1}),
    ],
)
def test_who_waited_for_too_long_never_started(result: Any, expected: Any) -> None:
    assert never_started(result) == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], []),
        ([Lost.FAILED, Lost.FAILED], ["2 tasks did not finish: the disk is full"]),
        ([Lost.CANCELLED], ["1 tasks were cancelled"]),
        (
            [Lost.CANCELLED, Lost.NEVER_STARTED],
            ["1 tasks were not picked up by a worker in time; their cases are pending", "1 tasks were cancelled"],
        ),
    ],
)
def test_what_the_user_is_told_of_lost_tasks(kinds: list[Lost], expected: list[str]) -> None:
    assert notices_of([error(kind) for kind in kinds], "task") == expected


@pytest.mark.parametrize(
    ("counts", "limit", "expected"),
    [
        ({}, None, False),
        ({"failed": 100}, None, False),
        ({"succeeded": 100}, 1, False),
        ({"failed": 1, "timeout": 1}, 3, False),
        ({"failed": 1, "timeout": 1, "crashed": 1}, 3, True),
        ({"failed": 4}, 3, True),
    ],
)
def test_failures_that_end_a_node(counts: dict[str, int], limit: int | None, expected: bool) -> None:
    assert reached_limit(counts, limit) is expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], False),
        (["cancel-20251231T235959-ffffffff.pq"], False),
        (["cancel-20260101T000000-00000000.pq"], True),
        (["cancel-20251231T235959-ffffffff.pq", "cancel-20260101T000001-00000000.pq"], True),
    ],
)
def test_a_submission_is_cancelled_by_what_is_not_older(names: list[str], expected: bool) -> None:
    assert is_cancelled(names, RUN.session) is expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(None, "root"), ([(10, 3)], "n3"), ([(10, 3), (10, 0)], "n3-0")],
)
def test_places_in_the_tree(steps: list[tuple[int, int]] | None, expected: str) -> None:
    path = None if steps is None else [RecursionSpec(factor=f, offset=o) for f, o in steps]
    assert place_of(RecursionMap(factor=10, max_depth=3, path=path)) == expected


def test_specs_to_run_and_their_attempts() -> None:
    rows = range(3, 30, 10)
    assert _to_run(rows, None) == (rows, {})
    chosen = pl.DataFrame({"sort_index": [13, 23], "attempt": [2, 5]})
    assert _to_run(rows, chosen) == ([13, 23], {13: 2, 23: 5})
    assert _to_run(rows, chosen.clear()) == ([], {})


def test_messages_have_limits_of_count_and_size() -> None:
    small = [Child("energy", "x", {}) for _ in range(2 * MESSAGE_CHILDREN + 1)]
    assert [len(group) for group in messages(small)] == [MESSAGE_CHILDREN, MESSAGE_CHILDREN, 1]
    large = [Child("energy", "x" * (MESSAGE_BYTES * 2 // 5), {}) for _ in range(5)]
    assert [len(group) for group in messages(large)] == [2, 2, 1]
    huge = [Child("energy", "x" * (MESSAGE_BYTES + 1), {}), *small[:2]]
    assert [len(group) for group in messages(huge)] == [1, 2]
    assert list(messages([])) == []


@pytest.mark.parametrize(
    ("is_workflow", "n", "text", "what"),
    [
        (False, 1, '{"sort_index": 4}', "spec"),
        (False, 1, None, "pointer"),
        (False, 3, None, "pointer"),
        (True, 1, '{"sort_index": 4}', "dag"),
        (True, 1, None, "refused"),
    ],
)
def test_the_input_of_a_task(is_workflow: bool, n: int, text: str | None, what: str) -> None:
    run = RUN.model_copy(update={"is_workflow": is_workflow})
    assignment = LeafAssignment(run=run, rows=RowSet(start=4, n=n), part="p-t0000")
    children, refused = task_children([assignment], {4: text})
    if what == "refused":
        assert (children, refused[0].error_type) == ([], "InputError")
        return
    (child,) = children
    assert not refused
    assert child.workflow == "energy"
    assert child.is_dag == (what == "dag")
    assert ('"scythe_rows"' in child.input) == (what == "pointer")
    assert ("scythe_leaf" in child.metadata) == (what == "spec")
    assert ("storage_settings" in child.input) == (what == "dag")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:hatchet_sdk.*")
@pytest.mark.parametrize(
    ("lasting", "n_retries", "expected"), [(False, 20, False), (True, 0, False), (True, 2, False), (True, 3, True)]
)
def test_a_node_is_tried_again_until_that_is_of_no_use(lasting: bool, n_retries: int, expected: bool) -> None:
    from scythe_cli.engines.hatchet.nodes.tasks import is_final

    error = StorageError("cannot read it")
    error.lasting = lasting
    assert is_final(error, n_retries) is expected
