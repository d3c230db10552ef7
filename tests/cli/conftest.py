"""A project in a folder with an odd name, and ways to run command lines in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scythe_cli.services.scaffold import write_project
from tests.commands import Ran, Run, run_alone, run_here

__all__ = ["EXPERIMENT", "Ran", "Run"]

EXPERIMENT = '''
from __future__ import annotations

import polars as pl
from pydantic import Field

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
    return Answer(square=case.x**2, dataframes={"steps": pl.DataFrame({"step": [1, 2], "y": [case.x, case.x**2]})})
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
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: an empty folder whose name no shell likes."""
    folder = tmp_path / "a [b] 'ç' $1 😀"
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
    (odd / "experiments.toml").write_text(
        '[scythe]\nworkers = 1\n[experiments.squares]\nentrypoint = "work:simulate"\n'
    )
    (odd / "work.py").write_text(EXPERIMENT)
    (odd / "good.csv").write_text("x\n1\n2\n3\n")
    (odd / "bad.csv").write_text("x,mode\n1,fine\n2,raise\n3,fine\n4,raise\n")
    (odd / "nan.csv").write_text("x,mode\n1,nan\n")
    return odd
