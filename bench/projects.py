"""Small projects for benchmarks: a folder with experiments.toml, a module and sampling files."""

from __future__ import annotations

import random
from pathlib import Path

from bench.rivals import OURS

__all__ = ["SCYTHE", "make_project", "write_cases"]

SCYTHE = OURS.parent / "scythe"
"""The command, as it is installed beside the Python that runs the benchmarks."""

_MODULE = '''
import time

from pydantic import Field
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Case(ExperimentInputSpec):
    x: float = Field(ge=0, le=1)
    k: int = Field(ge=0)
    label: str


class Result(ExperimentOutputSpec):
    y: float
    z: int


@ExperimentRegistry.Register()
def simulate(input_spec: Case) -> Result:
    """Computes next to nothing."""
    return Result(y=input_spec.x * 2 + input_spec.k, z=input_spec.k + 1)


@ExperimentRegistry.Register()
def spin_10_ms(input_spec: Case) -> Result:
    """Keeps a core busy for 10 ms."""
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        pass
    return Result(y=input_spec.x, z=input_spec.k)


@ExperimentRegistry.Register()
def sleep_1_s(input_spec: Case) -> Result:
    """Waits for a second."""
    time.sleep(1)
    return Result(y=input_spec.x, z=input_spec.k)
'''

_FUNCTIONS = ("simulate", "spin_10_ms", "sleep_1_s")


def make_project(folder: Path) -> Path:
    """Make a project whose experiments are named as their functions: `simulate`, `spin_10_ms`, `sleep_1_s`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench_module.py").write_text(_MODULE)
    sections = [f'[experiments.{name}]\nentrypoint = "bench_module:{name}"\n' for name in _FUNCTIONS]
    (folder / "experiments.toml").write_text("\n".join(sections))
    return folder


def write_cases(path: Path, n: int) -> Path:
    """Write a CSV of `n` rows with a float, an integer and a text, the same for the same `n`."""
    numbers = random.Random(n)
    with path.open("w") as file:
        file.write("x,k,label\n")
        for i in range(n):
            file.write(f"{numbers.random():.6f},{numbers.randrange(100)},case {i % 50}\n")
    return path
