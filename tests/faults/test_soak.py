"""Rows that do all that rows can do, for long, while processes get signals: all are counted, and nothing is left.

SCYTHE_SOAK_SEED repeats a run as far as chance goes, SCYTHE_SOAK_S limits its time.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import psutil
import pytest

from scythe_cli.core.states import State
from scythe_cli.services.project import open_project
from tests.waiting import wait_for

_MODULE = '''
import os
import signal
import subprocess
import time
from pathlib import Path

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

kept = []


class Row(ExperimentInputSpec):
    x: int
    kind: str


class Answer(ExperimentOutputSpec):
    y: int


@ExperimentRegistry.Register(retries=1, execution_timeout="2s", memory_limit="400MB")
def simulate(row: Row) -> Answer:
    """What any row may do."""
    if row.kind == "raise":
        raise ValueError(f"bad case {row.x % 3}")
    if row.kind == "print":
        print("line " * 200)
    if row.kind == "leak":
        kept.append(bytearray(2_000_000))
    if row.kind == "file":
        Path("sub").mkdir()
        Path("sub", "temp.inp").write_text(str(row.x))
        Path("temp.inp").write_text(str(row.x))
        return Answer(y=2 * int(Path("temp.inp").read_text()))
    if row.kind == "fork":
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        if not os.fork():
            time.sleep(1000)
    if row.kind == "crash":
        (os.abort, lambda: os._exit(3), lambda: os.kill(os.getpid(), signal.SIGKILL))[row.x % 3]()
    if row.kind == "slow":
        time.sleep(0.05)
    if row.kind == "hang":
        time.sleep(1000)
    return Answer(y=2 * row.x)
'''

_KINDS = {"raise": 5, "print": 4, "leak": 3, "file": 3, "fork": 1, "crash": 1.5, "slow": 1, "hang": 0.02}
"""How many rows of a hundred are of each kind; the others do nothing but compute."""

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGSTOP)
_FLAT_MB = 60
_AT_WORK = 3
_LIMIT_S = float(os.environ.get("SCYTHE_SOAK_S", "1200"))


@pytest.mark.parametrize(
    ("n", "limit_s", "pause_s"),
    [
        pytest.param(1500, 120.0, 0.7, id="short"),
        pytest.param(
            200_000, float(os.environ.get("SCYTHE_SOAK_S", "1200")), 3.0, id="long", marks=pytest.mark.nightly
        ),
    ],
)
def test_all_rows_are_counted_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], n: int, limit_s: float, pause_s: float
) -> None:
    seed = int(os.environ.get("SCYTHE_SOAK_SEED") or (7 if n < 10_000 else random.SystemRandom().randrange(10**6)))
    with capsys.disabled():
        print(f"\nsoak: {n:,} rows, SCYTHE_SOAK_SEED={seed}")
    chance = random.Random(seed)
    kinds = [*chance.choices([*_KINDS, "plain"], [*_KINDS.values(), 100 - sum(_KINDS.values())], k=n - 1), "hang"]
    project, scratch = tmp_path / "odd [soak]", tmp_path / "scratch"
    for folder in (project, scratch):
        folder.mkdir()
    (project / "soaking.py").write_text(_MODULE)
    (project / "experiments.toml").write_text('[experiments.soak]\nentrypoint = "soaking:simulate"\n')
    pl.DataFrame({"x": range(n), "kind": kinds}).write_csv(project / "cases.csv")
    before = {path.name for path in project.iterdir()} | {"runs"}

    sizes_mb = _run(project, scratch, chance, limit_s, pause_s)

    run = open_project(project / "experiments.toml").run()
    counts = run.status().counts
    assert counts.total == n
    assert counts.of(State.PENDING) == 0 or n > 10_000  # the time was over
    outcomes = run.scalars().join(pl.DataFrame({"sort_index": range(n), "expected": kinds}), on="sort_index")
    assert outcomes["y"].eq(2 * outcomes["x"]).all()
    assert not set(outcomes["expected"]) & {"raise", "crash", "hang"}
    # a signal costs the row that ran, and no other one; the first attempt of a row is not its last
    able = n - counts.of(State.PENDING) - sum(kind in ("raise", "crash", "hang") for kind in kinds)
    assert outcomes.height >= able - 2 - n // 1000
    quarter = len(sizes_mb) // 4
    early, late = (statistics.median(part or [0]) for part in (sizes_mb[quarter : 2 * quarter], sizes_mb[-quarter:]))
    assert late - early < _FLAT_MB, sizes_mb
    wait_for(lambda: not _marked(scratch), 60)
    assert list(scratch.iterdir()) == []
    assert {path.name for path in project.iterdir() if path.name != "__pycache__"} == before


def _run(project: Path, scratch: Path, chance: random.Random, limit_s: float, pause_s: float) -> list[float]:
    """Allocate, and send signals to the processes meanwhile; returns the sizes of the first process in MB."""
    errors = (project.parent / "errors.txt").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "scythe_cli.cli", "allocate", "cases.csv", "--workers", "2"],
        cwd=project,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    own = psutil.Process(process.pid)
    sizes_mb: list[float] = []
    end_s = time.monotonic() + limit_s
    try:
        while process.poll() is None:
            if time.monotonic() > end_s:
                process.send_signal(signal.SIGINT)
                end_s += 60
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause_s * chance.uniform(0.2, 1.8))
            with contextlib.suppress(psutil.Error):  # it has ended
                sizes_mb.append(own.memory_info().rss / 1e6)
                _disturb(own, chance)
    finally:
        process.kill()
        process.wait()
        errors.close()
    assert process.returncode in (1, 130), (project.parent / "errors.txt").read_text()[-3000:]
    return sizes_mb


def _disturb(process: psutil.Process, chance: random.Random) -> None:
    """Send a signal to one of the processes that a run has started."""
    others = [each for each in process.children(recursive=True) if each.name() != "sleep"]
    if len(others) < _AT_WORK:
        return  # some are being started, and what is always killed then cannot be started
    victim, number = chance.choice(others), chance.choice(_SIGNALS)
    victim.send_signal(number)
    if number == signal.SIGSTOP:
        time.sleep(chance.uniform(0.0, 0.2))
        victim.send_signal(signal.SIGCONT)


def _marked(scratch: Path) -> list[int]:
    """The processes that were started by a run with this folder for temporary files."""
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(scratch):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
