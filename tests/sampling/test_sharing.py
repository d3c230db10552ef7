"""Rows that other processes help to validate: real processes, which may fail to start, or die."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scythe_cli.model.functions.entrypoints import load_entrypoint
from scythe_cli.registry import RegisteredExperiment
from scythe_cli.sampling import sharing
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.sampling.reading import Helpers, SamplingTable, read_sampling_file

pytestmark = pytest.mark.processes

MODULE = """
import os, time
from pathlib import Path
from pydantic import Field, field_validator
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.model.functions.loading import in_worker

HERE = Path(__file__).parent
if in_worker() and (HERE / "broken").exists():
    (HERE / "no-licence").touch()
    raise RuntimeError("this machine has no licence")
print("this must not get into the output of a command")
waits = (HERE / "waits").exists()

class Case(ExperimentInputSpec):
    x: float = Field(ge=0)
    name: str = "a"

    @field_validator("x")
    @classmethod
    def check(cls, value):
        global waits
        print("nor this")
        if in_worker():
            (HERE / f"seen-{os.getpid()}").touch()
            if (HERE / "deadly").exists():
                os._exit(7)
        elif waits:
            time.sleep(0.01)  # until the other process is at work
            waits = not any(HERE.glob("seen-*")) and not (HERE / "no-licence").exists()
        if value == 13:
            raise ValueError("an unlucky number")
        return value

class Result(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register()
def simulate(case: Case) -> Result:
    return Result(y=case.x)
"""

Read = Callable[..., SamplingTable]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sharing_module.py").write_text(MODULE)
    (tmp_path / "waits").touch()
    monkeypatch.setattr(sharing, "_FIRST_ROWS", 20)
    monkeypatch.setattr(sharing, "_MAX_ROWS", 50)
    return tmp_path


@pytest.fixture
def read(folder: Path) -> Read:
    def read(values: list[float | str], *, helped: bool = True) -> SamplingTable:
        path = folder / "cases.csv"
        lines = ["x,name", *(f"{value},n{i}" for i, value in enumerate(values))]
        path.write_text("\n".join(lines) + "\n")
        loaded = load_entrypoint("sharing_module:simulate", folder)
        assert isinstance(loaded, RegisteredExperiment)
        helpers = Helpers(loaded, folder, n=1, worth_s=0.01) if helped else None
        return read_sampling_file(path, loaded.input_validator_type, helpers=helpers)

    return read


def helped(folder: Path) -> bool:
    return bool(list(folder.glob("seen-*")))


def test_values_come_in_the_order_of_the_file(folder: Path, read: Read, capfd: pytest.CaptureFixture[str]) -> None:
    """And what a validator prints is no result."""
    table = read([i + 100 for i in range(4000)])

    assert table.inputs["x"].to_pylist() == [float(i + 100) for i in range(4000)]
    assert table.inputs["name"].to_pylist() == [f"n{i}" for i in range(4000)]
    assert helped(folder)
    assert capfd.readouterr().out == ""


def test_problems_are_those_of_one_process(folder: Path, read: Read) -> None:
    values: list[float | str] = [13 if i % 50 == 7 else "x" if i == 2222 else i for i in range(4000)]
    with pytest.raises(BadCellsError) as shared:
        read(values)
    with pytest.raises(BadCellsError) as alone:
        read(values, helped=False)

    assert helped(folder)
    assert shared.value.message == alone.value.message
    assert shared.value.problems == alone.value.problems
    assert "line 9, x: 13: Value error, an unlucky number" in shared.value.message
    assert shared.value.n_problems == 82


@pytest.mark.parametrize("what", ["broken", "deadly"])
def test_a_process_that_cannot_help_is_done_without(folder: Path, read: Read, what: str) -> None:
    (folder / what).touch()

    table = read([i + 100 for i in range(3000)])

    assert table.inputs["x"].to_pylist() == [float(i + 100) for i in range(3000)]
    assert helped(folder) == (what == "deadly")


def test_a_process_that_cannot_be_started_is_done_without(
    folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "waits").unlink()
    monkeypatch.setattr(sys, "executable", str(folder / "no python"))

    assert read([i + 100 for i in range(500)]).inputs.num_rows == 500
    assert not helped(folder)


def test_few_rows_are_validated_here(folder: Path, read: Read) -> None:
    (folder / "waits").unlink()
    read([1, 2, 3])

    assert not helped(folder)


def test_what_a_factory_makes_is_made_by_one_process(folder: Path) -> None:
    """It may count."""
    text = MODULE.replace('name: str = "a"', "number: int = Field(default_factory=iter(range(10**6)).__next__)")
    (folder / "counting_module.py").write_text(text)
    (folder / "waits").unlink()
    (folder / "cases.csv").write_text("x\n" + "\n".join(str(i + 100) for i in range(1000)) + "\n")
    loaded = load_entrypoint("counting_module:simulate", folder)
    assert isinstance(loaded, RegisteredExperiment)

    helpers = Helpers(loaded, folder, n=1, worth_s=0.01)
    table = read_sampling_file(folder / "cases.csv", loaded.input_validator_type, helpers=helpers)

    assert table.inputs["number"].to_pylist() == list(range(1000))
    assert not helped(folder)
