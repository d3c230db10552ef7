"""The rows of a tree's nodes, against literal slicing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.recursion import RecursionMap, RecursionSpec, rows_of
from tests.fuzzing import cases

steps = st.integers(1, 6).flatmap(lambda f: st.builds(RecursionSpec, factor=st.just(f), offset=st.integers(0, f - 1)))
sizes = st.integers(0, 400)


@given(st.lists(steps, max_size=5), sizes)
@cases(50, at_night=1000)
def test_rows_equal_slicing_step_by_step(path: list[RecursionSpec], n: int) -> None:
    rows = list(range(n))
    for step in path:
        rows = rows[step.offset :: step.factor]
    assert list(rows_of(path, n)) == rows


@given(st.lists(steps, max_size=3), st.integers(1, 12), st.integers(1, 6), sizes)
@cases(40, at_night=750)
def test_children_partition_their_parent(path: list[RecursionSpec], factor: int, depth: int, n: int) -> None:
    parent = RecursionMap(path=path or None, factor=factor, max_depth=depth)
    children = parent.children()
    assert len(children) == factor
    assert all(child.depth == parent.depth + 1 and not child.is_root for child in children)
    dealt = [row for child in children for row in child.rows(n)]
    assert sorted(dealt) == list(parent.rows(n))
    counts = [len(child.rows(n)) for child in children]
    assert max(counts) - min(counts) <= 1


@given(st.integers(2, 5), st.integers(0, 3), sizes)
@cases(20, at_night=500)
def test_the_leaves_hold_each_row_once(factor: int, depth: int, n: int) -> None:
    open_nodes, rows = [RecursionMap(factor=factor, max_depth=depth)], []
    while open_nodes:
        node = open_nodes.pop()
        if node.is_base_case(n):
            rows += node.rows(n)
        else:
            open_nodes += node.children()
    assert sorted(rows) == list(range(n))


@given(st.lists(steps, min_size=1, max_size=4))
@cases(20, at_night=500)
def test_a_place_in_the_tree_survives_json(path: list[RecursionSpec]) -> None:
    place = RecursionMap(path=path, factor=3, max_depth=4)
    assert RecursionMap.model_validate_json(place.model_dump_json()) == place
