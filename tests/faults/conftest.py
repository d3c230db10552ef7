"""What the tests of faults share: a project whose calls are recorded, and what its runs are compared by."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import Ran, run_here
from tests.fuzzing import NIGHTLY
from tests.projects import make_project

CONFIG = '[scythe]\nstorage = "runs"\nworkers = 1\n[experiments.energy]\nentrypoint = "models.building:simulate"\n'

RECORDED = '''
import os, time
import pyarrow as pa
from scythe_cli.arrow.build import array_of
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Case(ExperimentInputSpec):
    x: float
    pause_s: float = 0.0


class Answer(ExperimentOutputSpec):
    y: float
    name: str


@ExperimentRegistry.Register(retries=0)
def simulate(spec: Case) -> Answer:
    """Square, and leave a line in the log of calls."""
    fd = os.open(os.environ["CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{spec.sort_index}\\n".encode())
    os.close(fd)
    time.sleep(spec.pause_s)
    if spec.x % 97 == 96:
        raise ValueError(f"bad case {spec.x:.0f}")
    e = array_of([spec.x, spec.x / 3], pa.float64())
    steps = pa.Table.from_arrays([array_of([0, 1], pa.int64()), e], ["step", "e"])
    return Answer(y=spec.x**2, name=f"case {spec.x:.0f}", dataframes={"steps": steps})
'''


# read here: while a test runs there are no such variables
_ROUNDS, _SEED = (os.environ.get(name) for name in ("SCYTHE_ROUNDS", "SCYTHE_SEED"))


def nightly() -> bool:
    """Whether the long rounds are run as well."""
    return NIGHTLY


def rounds(n: int) -> int:
    """How many rounds a test has: `n` in the nightly suite unless SCYTHE_ROUNDS says another number, else one."""
    return int(_ROUNDS or n) if nightly() else 1


def told_seed(by_day: int | None = None) -> int:
    """The seed for a test that draws lots, which is printed: SCYTHE_SEED where it is set.

    Args:
        by_day: The seed outside the nightly suite; any if not given.
    """
    seed = int(_SEED or (by_day if by_day is not None and not nightly() else random.randrange(2**32)))
    print(f"SCYTHE_SEED={seed}", flush=True)
    return seed


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose function appends the number of each spec that it is called for to the file `calls`."""
    folder = make_project(tmp_path / "a b'ç", code=RECORDED, config=CONFIG)
    monkeypatch.setenv("CALLS", str(folder / "calls"))
    return folder


Inside = Callable[..., Ran]


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Inside:
    """Run a command line in this process, which saves the time that a new one takes to start."""

    def run(folder: Path, *arguments: str) -> Ran:
        monkeypatch.chdir(folder)
        return run_here(*arguments)

    return run
