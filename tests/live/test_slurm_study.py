"""A study whose rounds are arrays of jobs on a real Slurm: the same rounds as on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.projects import scythe
from tests.slurm_cluster import SlurmCluster

MODULE = """
import math
from pydantic import Field
from scythe_cli import Input, Output

class Case(Input):
    a: float = Field(ge=0, le=3)
    b: float = Field(ge=-1, le=1)

class Result(Output):
    y: float

def simulate(case: Case) -> Result:
    return Result(y=math.sin(case.a) + case.b * case.b)
"""
CONFIG = """
[scythe]
engine = "slurm"
storage = "runs"

[slurm]
array_limit = 2

[experiments.sim]
entrypoint = "slurm_module:simulate"

[studies.waves]
experiment = "sim"
initial = 8
batch = 4
targets = { y = "rmse <= 0.5%" }
max_cases = 24
"""


def _study(root: Path, *options: str) -> dict[str, Any]:
    done = scythe("study", "waves", "--json", *options, cwd=root)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_slurm_runs_the_study_that_one_machine_runs(cluster: SlurmCluster, tmp_path: Path) -> None:
    del cluster
    (tmp_path / "slurm_module.py").write_text(MODULE)
    (tmp_path / "experiments.toml").write_text(CONFIG)

    slurm = _study(tmp_path)
    local = _study(tmp_path, "--engine", "local", "--new")

    assert (slurm["engine"], slurm["end"]) == ("slurm", "reached")
    assert len(slurm["rounds"]) > 1
    assert slurm["rounds"] == local["rounds"]
