"""A project in a folder with an odd name, and ways to run command lines in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scythe_cli.services.scaffold import write_project
from tests.commands import Ran, Run, run_alone, run_here, run_several_alone

__all__ = ["EXPERIMENT", "ODD", "Ran", "Run", "RunSeveral", "write_squares"]

ODD = "a [b] 'ç' $1 😀"
"""A name of a folder that no shell likes."""

RunSeveral = Callable[..., list[Ran]]

EXPERIMENT = '''
from __future__ import annotations

import pyarrow as pa
from pydantic import Field

from scythe_cli.arrow.build import array_of
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Case(ExperimentInputSpec):
    x: float = Field(ge=0, le=100, description="What is squared [m]")
    mode: str = "fine"


class Answer(ExperimentOutputSpec):
    square: float = Field(description="The square [m2]")


@ExperimentRegistry.Register(retries=0)
def simulate(case: Case) -> Answer:
    """Squares."""
    if case.mode == "raise":
        raise ValueError(f"[red]bad[/] case {case.x} \\x1b[31m")
    if case.mode == "nan":
        return Answer(square=float("nan"))
    steps = [array_of([1, 2], pa.int64()), array_of([case.x, case.x**2], pa.float64())]
    return Answer(square=case.x**2, dataframes={"steps": pa.Table.from_arrays(steps, ["step", "y"])})
'''


@pytest.fixture
def scythe() -> Run:
    """Run a command line in this process."""
    return run_here


@pytest.fixture
def shell() -> Run:
    """Run a command line in a process of its own; output is piped."""
    return run_alone


@pytest.fixture
def shells() -> RunSeveral:
    """Run command lines one after the other in a process of their own; output is piped."""
    return run_several_alone


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: an empty folder whose name no shell likes."""
    folder = tmp_path / ODD
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def scaffolded(odd: Path) -> Path:
    """What `scythe init` writes."""
    write_project(odd)
    return odd


@pytest.fixture
def project(odd: Path) -> Path:
    """A project whose experiment fails when it is told to."""
    write_squares(odd)
    return odd


def write_squares(folder: Path) -> None:
    """Write that project."""
    (folder / "experiments.toml").write_text(
        '[scythe]\nworkers = 1\n[experiments.squares]\nentrypoint = "work:simulate"\n'
    )
    (folder / "work.py").write_text(EXPERIMENT)
    (folder / "good.csv").write_text("x\n1\n2\n3\n")
    (folder / "bad.csv").write_text("x,mode\n1,fine\n2,raise\n3,fine\n4,raise\n")
    (folder / "nan.csv").write_text("x,mode\n1,nan\n")


@pytest.fixture(scope="session")
def squares_with_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That project with a run of good.csv, v1.0.0, and one of bad.csv, v1.1.0; nothing is to be written to it."""
    folder = tmp_path_factory.mktemp(ODD)
    write_squares(folder)
    env = {"SCYTHE_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    for file, code in (("good.csv", 0), ("bad.csv", 1)):
        assert run_here("allocate", file, "--quiet", cwd=folder, env=env).code == code
    return folder


@pytest.fixture
def with_runs(squares_with_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a copy of that project with two runs."""
    folder = tmp_path / ODD
    shutil.copytree(squares_with_runs, folder)
    monkeypatch.chdir(folder)
    return folder
