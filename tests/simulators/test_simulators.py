"""Simulators with state or files of their own: every number as in a plain loop, each row in a fresh process.

They are in the dependency group `simulators`, which `make nightly` installs. Small ones that behave as they do are in
`tests/executor/test_isolation.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.commands import Ran, run_alone

pytestmark = [pytest.mark.processes, pytest.mark.nightly]

MODELS = Path(__file__).parent / "models"

PLAIN = """
import json, os, sys, tempfile
folder, module, cells = sys.argv[1:]
sys.path.insert(0, folder)
with tempfile.TemporaryDirectory() as here:
    os.chdir(here)
    simulate = __import__(module).simulate
    output = simulate(simulate.input_validator_type(**json.loads(cells)))
    frames = {
        name: {c: list(map(repr, f[c].to_list())) for c in f.columns}
        for name, f in output.dataframes.items()
    }
    print("ANSWER", json.dumps([{k: repr(v) for k, v in output.model_dump(exclude={"dataframes"}).items()}, frames]))
    sys.stdout.flush()
    os._exit(0)
"""


@dataclass(frozen=True)
class Simulator:
    """A model, and the rows that it is run with."""

    package: str
    module: str
    rows: Sequence[Mapping[str, Any]]
    tables: tuple[str, ...] = ()


SIMULATORS = [
    Simulator(
        "wntr",
        "water",
        [{"demand": 0.5 + i / 16, "diameter": 0.2 + (i % 5) / 32} for i in range(8)],
        tables=("pressure",),
    ),
    Simulator("cantera", "flame", [{"temperature": 900.0 + 37 * i, "pressure": 1e5 * (1 + i % 7)} for i in range(8)]),
    Simulator(
        "pybamm", "battery", [{"current": 1.0 + i / 4, "warmer": 310.0 if i % 3 == 1 else None} for i in range(6)]
    ),
    Simulator("fmpy", "tank", [{"level": 1.0 + i / 8, "outlet": 0.001 * (1 + i % 5)} for i in range(8)]),
    Simulator(
        "rebound",
        "orbits",
        [{"mass": 1e-4 * (1 + i % 6), "eccentricity": (i % 8) / 20} for i in range(8)],
        tables=("path",),
    ),
    Simulator("mesa", "market", [{"agents": 20 + i, "steps": 30} for i in range(8)]),
]


def make_fmu(folder: Path) -> None:
    """Compile the tank into an FMU."""
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("no C compiler to make an FMU with")
    library = folder / "build" / "tank.so"
    library.parent.mkdir()
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, folder / "tank.c", "-lm"], check=True)
    with zipfile.ZipFile(folder / "tank.fmu", "w") as fmu:
        fmu.write(folder / "modelDescription.xml", "modelDescription.xml")
        fmu.write(library, "binaries/linux64/tank.so")


def plain_loop(folder: Path, simulator: Simulator) -> list[tuple[dict[str, str], dict[str, dict[str, list[str]]]]]:
    """Scalars and tables of each row, as text with all digits, from a process that runs nothing else."""

    def run(row: Mapping[str, Any]) -> Any:
        command = [sys.executable, "-P", "-c", PLAIN, str(folder), simulator.module, json.dumps(row)]
        env = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.partition("ANSWER ")[2])

    with ThreadPoolExecutor(2) as pool:
        return [(scalars, frames) for scalars, frames in pool.map(run, simulator.rows)]


@pytest.fixture(params=SIMULATORS, ids=lambda simulator: simulator.package)
def simulator(request: pytest.FixtureRequest) -> Simulator:
    if importlib.util.find_spec(request.param.package) is None:
        pytest.skip(f"{request.param.package} is not installed: it is in the dependency group `simulators`")
    return request.param


@pytest.fixture
def project(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYBAMM_DISABLE_TELEMETRY", "true")
    folder = tmp_path / "a b'ç"
    shutil.copytree(MODELS, folder)
    if simulator.module == "tank":
        make_fmu(folder)
    entrypoint = f'[scythe]\nstorage = "runs"\n\n[experiments.sim]\nentrypoint = "{simulator.module}:simulate"\n'
    (folder / "experiments.toml").write_text(entrypoint)
    pl.DataFrame(simulator.rows).write_csv(folder / "cases.csv")
    return folder


def test_every_number_is_that_of_a_plain_loop(simulator: Simulator, project: Path) -> None:
    expected = plain_loop(project, simulator)
    before = {path.name for path in project.iterdir()} | {"runs"}

    def scythe(*arguments: str) -> Ran:
        ran = run_alone(*arguments, cwd=project)
        assert ran.code == 0, ran.out + ran.err
        return ran

    for workers in (1, 2):
        scythe("allocate", "cases.csv", "--workers", str(workers))
        run = latest(project)
        scalars = run("scalars").sort("sort_index")
        for (values, _), row in zip(expected, scalars.iter_rows(named=True), strict=True):
            assert {name: repr(row[name]) for name in values} == values
        for table in simulator.tables:
            frame = run(table)
            for i, (_, frames) in enumerate(expected):
                own = frame.filter(pl.col("sort_index") == i)
                assert {name: list(map(repr, own[name].to_list())) for name in frames[table]} == frames[table]
        scythe("verify", "-n", "5")
    assert {path.name for path in project.iterdir()} <= before


def latest(project: Path) -> Callable[[str], pl.DataFrame]:
    """What reads the final tables of the last run."""
    folder = max((project / "runs").rglob("final"), key=lambda path: path.stat().st_mtime_ns)
    return lambda table: pl.read_parquet(folder / f"{table}.pq")
