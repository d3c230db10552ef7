"""The same program in a script, at the prompt of Python and in a kernel of Jupyter: what a loop gives, and errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import scythe_cli
from tests.kernel import started

PROGRAM = """
import asyncio, dataclasses, inspect, os
import numpy as np
import pandas as pd
import scythe_cli as scythe
RATE = 3
@dataclasses.dataclass
class Panel:
    tilt: float
    def share(self): return 1 - abs(self.tilt - 35) / 200

def check(case):
    if case == 3: raise ValueError("no sun")
    if case == 5: os._exit(9)

def of_module(case: int, tilt, site="Oslo"):
    check(case)
    return {"kwh": RATE * Panel(tilt).share(), "site": site * 2}

def closure_of(factor):
    def closure(case, tilt, site):
        check(case)
        return factor * tilt + len(site)
    return closure

async def later(case, tilt, site):
    check(case)
    await asyncio.sleep(0)
    return tilt / 7, site

sites = ["Oslo", "Rome"] * (COUNT // 2)
frame = pd.DataFrame({"case": np.arange(COUNT), "tilt": np.linspace(0, 90, COUNT), "site": sites})

def by_loop(function):
    rows = [row for row in frame.itertuples(index=False) if row.case not in (3, 5)]
    values = [function(*row) for row in rows]
    return [asyncio.run(value) for value in values] if inspect.isawaitable(values[0]) else values

def by_map(function):
    run = scythe.map(function, frame, workers=2, retries=0)
    errors = [(error.sort_index, error.state.value) for error in run.errors().errors]
    assert errors == [(3, "failed"), (5, "crashed")], errors
    return run.scalars()

kwh = by_map(of_module)
assert kwh.select("kwh", "output_site").rows() == [tuple(each.values()) for each in by_loop(of_module)]
assert by_map(closure_of(2))["value"].to_list() == by_loop(closure_of(2))
IN_A_KERNEL = "get_ipython" in globals()
expected = [(tilt / 7, site) for case, tilt, site in frame.itertuples(index=False) if case not in (3, 5)]
assert by_map(later).select("value_0", "value_1").rows() == expected
assert IN_A_KERNEL or by_loop(later) == expected
print("as a loop", COUNT)
"""

COUNTS = [100, pytest.param(10_000, marks=pytest.mark.nightly)]

pytestmark = [pytest.mark.processes, pytest.mark.filterwarnings("default")]


def _started(folder: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    root = str(Path(scythe_cli.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, *arguments],
        input=text,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.parametrize("count", COUNTS)
def test_in_a_script(tmp_path: Path, count: int) -> None:
    (tmp_path / "study.py").write_text(f"COUNT = {count}\n{PROGRAM}")
    ran = _started(tmp_path, "study.py")
    assert (ran.returncode, ran.stdout) == (0, f"as a loop {count}\n"), ran.stderr


@pytest.mark.parametrize("count", COUNTS)
def test_at_the_prompt(tmp_path: Path, count: int) -> None:
    ran = _started(tmp_path, "-i", "-q", text=f"COUNT = {count}\n{PROGRAM}")
    assert f"as a loop {count}" in ran.stdout, ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("count", COUNTS)
def test_in_a_kernel(tmp_path: Path, count: int) -> None:
    with started(tmp_path) as kernel:
        shown = kernel.run(f"COUNT = {count}\n{PROGRAM}")
    assert shown.error is None
    assert f"as a loop {count}" in shown.text
