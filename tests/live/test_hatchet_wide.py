"""Specs of 200 fields on a real engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scythe_cli.core.records import StateCounts
from tests.live.fleet import LiveProject

N_FIELDS = 200

MODULE = f"""
from pydantic import Field, create_model
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

Wide = create_model(
    "Wide",
    __base__=ExperimentInputSpec,
    __module__=__name__,
    **{{f"x{{i:03d}}": (float, Field(ge=0, le=1)) for i in range({N_FIELDS})}},
)
Sums = create_model(
    "Sums", __base__=ExperimentOutputSpec, __module__=__name__, **{{f"y{{i:03d}}": (float, ...) for i in range(100)}}
)

@ExperimentRegistry.Register(retries=0)
def simulate(spec: Wide) -> Sums:
    \"\"\"Adds up pairs.\"\"\"
    x = [getattr(spec, f"x{{i:03d}}") for i in range({N_FIELDS})]
    return Sums(**{{f"y{{i:03d}}": x[i] + x[i + 100] for i in range(100)}})
"""

# the peak of the process that it starts, as the last line
MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
sys.stderr.write(done.stderr)
print(done.stdout)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(done.returncode)
"""


def write_wide(live: LiveProject, n: int) -> tuple[Path, pl.DataFrame]:
    (live.root / "live_module.py").write_text(MODULE)
    draw = np.random.default_rng(n)
    frame = pl.DataFrame({f"x{i:03d}": draw.random(n) for i in range(N_FIELDS)})
    frame.write_csv(live.root / "wide.csv")
    return live.root / "wide.csv", frame


@pytest.mark.parametrize("per_task", [1, "auto"])
def test_wide_specs_arrive_and_wide_outcomes_come_back(live: LiveProject, per_task: int | str) -> None:
    live.configure(specs_per_task=per_task, max_depth=0)
    cases, inputs = write_wide(live, 300)
    live.start_worker("--slots", "2")

    result = live.open().allocate(cases)

    assert result.counts == StateCounts(succeeded=300)
    scalars = live.open().run().scalars().sort("sort_index")
    for i in (0, 57, 99):
        expected = (inputs[f"x{i:03d}"] + inputs[f"x{i + 100:03d}"]).to_list()
        assert scalars[f"y{i:03d}"].to_list() == pytest.approx(expected, abs=1e-12)


@pytest.mark.nightly
def test_a_wide_file_is_submitted_in_bounded_memory(live: LiveProject) -> None:
    """100,000 specs of 200 fields: 385 MB of text, 160 MB of numbers."""
    live.configure()
    cases, _ = write_wide(live, 100_000)
    command = [sys.executable, "-m", "scythe_cli.cli", "allocate", str(cases), "--no-wait", "--quiet"]

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], cwd=live.root, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 1_000_000_000
    project = live.open()
    status = project.status()
    assert status.counts == StateCounts(pending=100_000)
    assert (live.root / "runs" / status.experiment_id / "specs.pq").stat().st_size < 250_000_000
    assert project.cancel().cancelled == 100_000
