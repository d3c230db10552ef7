"""What a forked process hands to the one that has forked it, and what it does not."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.base import ExperimentOutputSpec
from scythe_cli.core.states import State
from scythe_cli.executor.child.handing import Handing
from scythe_cli.executor.rows.attempts import Attempts
from scythe_cli.executor.rows.call import LeafResult
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.executor.rows.outcomes import OutcomeBatch

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())


class One(ExperimentOutputSpec):
    y: Any


class Two(ExperimentOutputSpec):
    y: float
    name: str


def batch_of(model: type[ExperimentOutputSpec], *outputs: ExperimentOutputSpec) -> OutcomeBatch:
    n = len(outputs)
    batch = OutcomeBatch(model, "worker")
    batch.attempts = Attempts.of(range(n), [1] * n, [f"run-{i}" for i in range(n)])
    for row, output in enumerate(outputs):
        batch.add(row, row + 0.5, 0.25, f"log {row}" if row % 2 else None, LeafResult(output))
    return batch


@given(st.lists(st.tuples(st.integers(), st.floats(), st.text(st.characters()) | st.none(), PLAIN)))
def test_numbers_and_texts_come_over_as_they_are(values: list[tuple[Any, ...]]) -> None:
    handing = Handing()
    assert all(handing.add(each) for each in values)
    assert repr(handing.take()) == repr([list(each) for each in values])  # NaN is not equal to itself
    handing.clear()
    assert handing.take() == []


@pytest.mark.processes
def test_it_comes_over_from_a_forked_process() -> None:
    handing = Handing()
    for value in ([1, 2.5, "ä"], [None, True]):
        if not (pid := os.fork()):
            os._exit(0 if handing.add(value) else 1)
        assert os.waitpid(pid, 0)[1] == 0
    assert handing.take() == [[1, 2.5, "ä"], [None, True]]


def test_what_is_too_large_is_not_handed_over() -> None:
    handing = Handing()
    assert handing.add("x" * 600_000)
    assert not handing.add("y" * 600_000)
    assert not handing.add(10**10_000)
    assert handing.add("z")
    assert handing.take() == ["x" * 600_000, "z"]


def test_outcomes_are_the_same_on_both_ways() -> None:
    outputs = [Two(y=i / 3, name=f"case {i}") for i in range(4)]
    whole, first = batch_of(Two, *outputs), batch_of(Two, *outputs[:2])
    for n in (3, 4):
        handed = batch_of(Two, *outputs[:n]).last_plain()
        assert handed is not None
        first.add_plain(*handed)
    first.attempts = whole.attempts
    assert first.finish().tables[0].equals(whole.finish().tables[0])
    assert len(first) == 0


class Odd(float):
    """A number of a user's own type."""


@pytest.mark.parametrize("value", [Odd(1.0), [1.0], {"a": 1}, b"bytes", object()])
def test_other_values_are_not_handed_over(value: Any) -> None:
    assert batch_of(One, One(y=1.0)).last_plain() is not None
    assert batch_of(One, One.model_construct(y=value)).last_plain() is None


def test_failures_and_further_values_are_not_handed_over() -> None:
    batch = batch_of(Two, Two(y=1.0, name="a"))
    batch.add(0, 1.0, 1.0, None, Failure(State.FAILED, "ValueError", "bad"))
    assert batch.last_plain() is None
    batch = batch_of(Two)
    batch.attempts = Attempts.of([0], [1], ["run"])
    batch.add(0, 1.0, 1.0, None, LeafResult(Two(y=1.0, name="a"), features={"big": 1}))
    assert batch.last_plain() is None
    batch.clear()
    assert batch.last_plain() is None
