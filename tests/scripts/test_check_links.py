"""Tests that a document names and that are not there."""

from __future__ import annotations

from pathlib import Path

from scripts import check_links


def test_tests_that_are_not_there(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    (tests / "run").mkdir(parents=True)
    (tests / "run" / "test_lease.py").write_text("def test_two_take_it():\n    ...\n")
    page = tmp_path / "guarantees.md"
    page.write_text(
        "| a | `run/test_lease.py`: `test_two…`, `test_two_take_it` |\n| b | `unit/test_x.py`: `test_gone…` |\n"
    )

    assert check_links.missing_tests(page, tests) == [
        "guarantees.md: there is no tests/unit/test_x.py",
        "guarantees.md: no test begins with test_gone",
    ]
