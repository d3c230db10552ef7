from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from scythe_cli.core.recursion import RecursionMap, RecursionSpec, rows_of


def test_the_root_has_all_rows() -> None:
    root = RecursionMap(factor=10)
    assert root.is_root
    assert root.depth == 0
    assert root.max_depth == 10
    assert root.rows(7) == range(7)
    assert rows_of((), 0) == range(0)


def test_rows_follow_from_the_path() -> None:
    path = [RecursionSpec(factor=10, offset=3), RecursionSpec(factor=2, offset=1)]
    assert rows_of(path, 100) == range(13, 100, 20)
    assert len(rows_of(path, 13)) == 0
    assert len(rows_of(path, 14)) == 1


def test_ten_million_rows_in_a_deep_tree_cost_nothing() -> None:
    path = [RecursionSpec(factor=100_000, offset=99_999)] * 10
    assert len(rows_of(path, 10_000_000)) == 0


@pytest.mark.parametrize(
    ("n", "depth", "expected"), [(10, 1, True), (11, 1, False), (11, 0, True), (0, 1, True), (10**7, 0, True)]
)
def test_the_base_case(n: int, depth: int, expected: bool) -> None:
    assert RecursionMap(factor=10, max_depth=depth).is_base_case(n) is expected


def test_children_of_a_child_are_deep_enough() -> None:
    child = RecursionMap(factor=2, max_depth=1).children()[1]
    assert child.path == [RecursionSpec(factor=2, offset=1)]
    assert child.is_base_case(10**6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 0}, "greater than or equal to 1"),
        ({"factor": 2, "max_depth": 11}, "less than or equal to 10"),
        ({"factor": 2, "max_depth": -1}, "greater than or equal to 0"),
        ({"factor": 2, "path": []}, "a path has at least one step; the root's path is None"),
        ({"factor": 2, "path": ()}, "a path has at least one step; the root's path is None"),
        ({"factor": 2, "path": 5}, "valid list"),
        ({"factor": 2, "path": [{"factor": 2, "offset": 2}]}, "offset 2 is not below factor 2"),
        ({"factor": 2, "path": [{"factor": 2, "offset": -1}]}, "greater than or equal to 0"),
    ],
)
def test_impossible_trees(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RecursionMap(**arguments)


def test_a_step_does_not_change() -> None:
    step = RecursionSpec(factor=2)
    assert step.offset is None
    with pytest.raises(ValidationError, match="frozen"):
        step.factor = 3  # type: ignore[misc]
