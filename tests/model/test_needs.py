"""What a spec takes of a machine: said in options, checked against what there is."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.core.cores import Gpus
from scythe_cli.errors import ConfigError, InvalidInputError, RegistrationError
from scythe_cli.model import needs
from scythe_cli.model.needs import Needs, needs_of
from scythe_cli.registry import ExperimentRegistry

GB = 10**9


class Case(ExperimentInputSpec):
    cores: int


class Answer(ExperimentOutputSpec):
    y: float


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "usable_memory_bytes", lambda: 16 * GB)
    monkeypatch.setattr(needs, "usable_gpus", lambda: Gpus("CUDA_VISIBLE_DEVICES", ("0", "1"), "the machine"))


@pytest.mark.parametrize(
    ("options", "needed", "at_once"),
    [
        ({}, Needs(), 8),
        ({"cpus": 2}, Needs(cpus=2), 4),
        ({"cpus": 3}, Needs(cpus=3), 2),
        ({"cpus": 16}, Needs(cpus=16), 1),
        ({"memory": "5GB"}, Needs(memory=5 * GB), 3),
        ({"memory": "peak"}, Needs(memory="peak"), 8),
        ({"cpus": "cores"}, Needs(cpus="cores"), 8),
        ({"tokens": {"licence": 1}}, Needs(tokens={"licence": 1}), 3),
        ({"tokens": {"licence": 2}, "cpus": 2}, Needs(cpus=2, tokens={"licence": 2}), 1),
        ({"tokens": {"licence": 0}}, Needs(tokens={"licence": 0}), 8),
        ({"gpus": 1}, Needs(gpus=1), 2),
        ({"gpus": 2}, Needs(gpus=2), 1),
        ({"gpus": "cards"}, Needs(gpus="cards"), 8),
        ({"gpus": 0}, Needs(), 8),
    ],
)
def test_as_many_run_at_once_as_there_is_of_everything(options: dict[str, Any], needed: Needs, at_once: int) -> None:
    made = needs_of(*(options.get(name) for name in ("cpus", "memory", "gpus", "tokens")))
    assert made == needed
    assert made.updated(None, None, None, {}, totals={"licence": 3}).at_once(8) == at_once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": 0}, "cpus=0 is neither a whole number from 1 on nor the name of an input field"),
        ({"cpus": True}, "cpus=True is neither"),
        ({"cpus": 1.5}, "cpus=1.5 is neither"),
        ({"cpus": "two cores"}, "cpus='two cores' is neither"),
        ({"memory": "4 elephants"}, "'4 elephants' is not a size"),
        ({"tokens": {"licence": -1}}, "tokens.licence=-1 is neither a whole number from 0 on"),
        ({"gpus": "2 cards"}, "gpus='2 cards' is neither a whole number from 0 on"),
        ({"threads": 0}, "threads=0 is not a whole number from 1 on"),
    ],
)
def test_options_that_say_no_need(options: dict[str, Any], message: str) -> None:
    def simulate(case: Case) -> Answer:
        return Answer(y=case.cores)

    with pytest.raises(RegistrationError, match=message):
        ExperimentRegistry.Register(**options)(simulate)


@pytest.mark.parametrize(
    ("needed", "message"),
    [
        (Needs(cpus="cores"), "row 1 takes 9 cores, and there are 8"),
        (Needs(cpus=9), "row 0 takes 9 cores, and there are 8"),
        (Needs(memory="bytes"), "row 2 takes 20.0 GB of memory, and there is 16.0 GB"),
        (Needs(tokens={"licence": "cores"}, totals={"licence": 3}), "row 1 takes 9 of the tokens licence, and there"),
        (Needs(gpus="low", cpus="cores"), "row 1 takes 9 cores"),
        (Needs(gpus=3), "row 0 takes 3 GPUs, and there are 2"),
        (Needs(gpus="cores"), "row 1 takes 9 GPUs, and there are 2"),
        (Needs(cpus="low"), "row 1: low is less than 1"),
        (Needs(cpus="empty"), "row 2: empty is empty"),
    ],
)
def test_a_spec_that_takes_more_than_there_is(needed: Needs, message: str) -> None:
    inputs = pa.table(
        {"cores": [1, 9, 2], "bytes": [1, 2, 20 * GB], "low": [1, 0, 1], "empty": pa.array([1, 1, None], pa.int64())}
    )
    with pytest.raises(InvalidInputError, match=message):
        needed.check(inputs, 8)


@pytest.mark.parametrize(
    ("needed", "message"),
    [
        (Needs(cpus="missing"), 'cpus = "missing" is no input field of whole numbers'),
        (Needs(cpus="text"), 'cpus = "text" is no input field of whole numbers'),
        (Needs(tokens={"licence": 1}), "it is not said how many 'licence' there are"),
    ],
)
def test_a_need_that_nothing_says(needed: Needs, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        needed.check(pa.table({"cores": [1], "text": ["a"]}), 8)


def test_what_fits_is_told_by_row() -> None:
    needed = Needs(cpus="cores", memory=GB, gpus=2, tokens={"licence": 1}, totals={"licence": 3})
    rows = pa.table({"cores": pa.array([1, 2], pa.int32())})
    needed.check(rows, 2)
    assert needed.names() == ["cpus", "memory", "gpus", "token licence"]
    assert needed.of_rows(rows).tolist() == [[1, GB, 2, 1], [2, GB, 2, 1]]
    assert needed.capacity(4) == [4, 16 * GB, 2, 3]
    assert (needed.fields, needed.is_fixed, needed.is_plain) == (["cores"], False, False)


def test_memory_that_is_learned() -> None:
    """Until a run has told it, cases take a core each; then as many run at once as fit, and one in any case."""
    asked = needs_of(None, "auto", None, None)
    assert (asked.memory, asked.learns_memory, asked.is_plain) == (None, True, False)
    assert asked.at_once(8) == 8
    told = asked.learned(5 * GB, "energy/v1.0.0/2026-01-01_00-00-00")
    assert told.at_once(8) == 3
    assert asked.learned(64 * GB, "energy/v1.0.0/2026-01-01_00-00-00").at_once(8) == 1
    asked.learned(64 * GB, "energy/v1.0.0/2026-01-01_00-00-00").check(pa.table({"x": [1.0]}), 8)


@pytest.mark.parametrize(
    ("registered", "configured", "learns", "memory"),
    [
        ("auto", None, True, None),
        ("auto", 2 * GB, False, 2 * GB),
        (None, "auto", True, None),
        ("2GB", "auto", True, None),
        ("2GB", None, False, 2 * GB),
        (None, None, False, None),
    ],
)
def test_the_configuration_says_last_what_is_learned(
    registered: str | None, configured: Any, learns: bool, memory: int | None
) -> None:
    combined = needs_of(None, registered, None, None).updated(None, configured, None, {}, totals={})
    assert (combined.learns_memory, combined.memory) == (learns, memory)
