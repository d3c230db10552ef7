"""The same program in a script, at the prompt of Python and in a kernel of Jupyter: what a loop gives, and errors."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
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


def _environ() -> dict[str, str]:
    root = str(Path(scythe_cli.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": root, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}


def _typed(folder: Path, text: str) -> str:
    """What a terminal shows in which Python was started, and each line was typed when the prompt was there."""
    ours, terminal = pty.openpty()
    command = [sys.executable, "-i", "-q"]
    files = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    shown = b""
    until_s = time.monotonic() + 500
    with subprocess.Popen(command, cwd=folder, env=_environ(), start_new_session=True, **files) as python:
        os.close(terminal)
        try:
            for line in [*text.splitlines(), "", "exit()"]:
                while not shown.endswith((b">>> ", b"... ")):
                    assert select.select([ours], [], [], max(0.0, until_s - time.monotonic()))[0], shown[-2000:]
                    shown += os.read(ours, 65536)
                os.write(ours, line.encode() + b"\n")
                shown += b"\n"
            assert python.wait(timeout=60) == 0
        finally:
            python.kill()
            os.close(ours)
    return shown.decode(errors="replace")


@pytest.mark.parametrize("count", COUNTS)
def test_in_a_script(tmp_path: Path, count: int) -> None:
    (tmp_path / "study.py").write_text(f"COUNT = {count}\n{PROGRAM}")
    command = [sys.executable, "study.py"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=_environ(), capture_output=True, text=True, timeout=500, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, f"as a loop {count}\n"), ran.stderr


@pytest.mark.parametrize("count", COUNTS)
def test_at_the_prompt(tmp_path: Path, count: int) -> None:
    shown = _typed(tmp_path, f"COUNT = {count}\n{PROGRAM}")
    assert f"\nas a loop {count}" in shown, shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("count", COUNTS)
def test_in_a_kernel(tmp_path: Path, count: int) -> None:
    with started(tmp_path) as kernel:
        shown = kernel.run(f"COUNT = {count}\n{PROGRAM}")
    assert shown.error is None
    assert f"as a loop {count}" in shown.text
