"""The simulation of large runs counts what nodes really ask for."""

from __future__ import annotations

import pytest

from bench.scale import Case, Figures, Fleet, Prices, estimate
from scythe_cli.core.recursion import RecursionMap
from scythe_cli.engines.hatchet.nodes.plan import Shape, waves


def counted(node: RecursionMap, n: int, shape: Shape) -> tuple[int, int, int]:
    """Nodes, tasks and waves of a tree, one by one."""
    if node.is_base_case(n):
        cut = list(waves(node.rows(n), shape))
        return 1, sum(map(len, cut)), len(cut)
    below = [counted(child, n, shape) for child in node.children()]
    return 1 + sum(b[0] for b in below), sum(b[1] for b in below), sum(b[2] for b in below)


@pytest.mark.parametrize("per_task", [1, 7, 50])
@pytest.mark.parametrize(("factor", "depth"), [(10, 0), (10, 1), (3, 3)])
def test_nodes_tasks_and_parts_are_those_of_the_code(factor: int, depth: int, per_task: int) -> None:
    n = factor**depth * 1000  # so that all nodes have as many
    case = Case(n=n, specs_per_task=per_task, factor=factor, max_depth=depth)

    done = estimate(case, Fleet(), Figures(child_bytes=500, rows_child_bytes=500), Prices())

    tree = RecursionMap(factor=factor, max_depth=depth)
    assert (done.nodes, done.tasks, done.parts) == counted(tree, n, Shape(per_task))


def test_the_limit_that_is_hit_first_and_what_moves_it() -> None:
    figures = Figures(child_bytes=500, rows_child_bytes=500, output_bytes=900, outcome_bytes=25)
    slow = estimate(Case(spec_s=1.0, specs_per_task=1), Fleet(), figures, Prices())
    moved = estimate(Case(spec_s=1.0, specs_per_task=100), Fleet(), figures, Prices())

    assert slow.limits[0].what.startswith("engine")
    assert "specs_per_task" in slow.limits[0].setting
    assert slow.busy < 0.05
    assert moved.busy > 0.95
    assert moved.hours < slow.hours / 20
    assert sum(moved.dollars.values()) < sum(slow.dollars.values()) / 20


@pytest.mark.parametrize("spec_s", [0.001, 0.1, 1.0, 10.0, 600.0])
def test_auto_keeps_a_large_fleet_busy(spec_s: float) -> None:
    figures = Figures(child_bytes=500, rows_child_bytes=500, output_bytes=900, outcome_bytes=5)
    n = int(2_000 * 3600 / spec_s)  # an hour's work
    assert estimate(Case(n=n, spec_s=spec_s), Fleet(), figures, Prices()).busy >= 0.85


def test_several_runs_cost_as_much_as_one_and_need_less_at_once() -> None:
    figures = Figures(specs_copy_bytes=100, node_row_bytes=40, child_bytes=500, rows_child_bytes=500)
    one = estimate(Case(specs_per_task=30), Fleet(), figures, Prices())
    ten = estimate(Case(specs_per_task=30, n_runs=10), Fleet(), figures, Prices())

    assert ten.tasks == pytest.approx(one.tasks, rel=0.01)
    assert ten.dollars["workers"] == pytest.approx(one.dollars["workers"], rel=0.05)
    assert ten.node_memory_gb < one.node_memory_gb / 5
