"""Studies that are killed with SIGKILL at random moments and started again, until they are done: what is lost.

Each tool runs ten rounds after a first one, on two processes, of a simulation of 0.2 s, and goes on as its
documentation says. Who is killed has up to two simulations under way that have to be run again; what counts is what
goes beyond.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from bench.measure import Report, clean_environment
from bench.projects import SCYTHE
from bench.rivals import REPOSITORY, RIVALS, RivalMissingError, rival_python

TITLE = "studies killed at random moments: what is lost, repeated and different"
ORDER = 82

_SCRIPTS = REPOSITORY / "bench" / "scripts"
_BATCH = 4
_CASES = 44

_MODULE = """
from killed_sim import simulate as wait
from pydantic import Field
from scythe_cli import Input, Output, experiment


class Case(Input):
    a: float = Field(ge=0, le=1)
    b: float = Field(ge=0, le=1)


class Answer(Output):
    f: float


@experiment
def simulate(case: Case) -> Answer:
    return Answer(f=wait(case.a, case.b))
"""
_CONFIG = f"""
[scythe]
workers = 2
[experiments.simulate]
entrypoint = "killed_module:simulate"
[studies.s]
experiment = "simulate"
suggest = "optimize"
initial = {_BATCH}
batch = {_BATCH}
targets = {{ f = "minimize" }}
max_cases = {_CASES}
patience = 1000
"""


@dataclass(frozen=True, slots=True)
class _Tool:
    """How a study is started, or goes on, how it tells what it came to, and with which code it ends."""

    run: Sequence[str | Path]
    report: Sequence[str | Path] | None
    code: int = 0


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a study came to.

    Attributes:
        points: Its points, sorted.
        running: Those that it has as running, though nothing runs.
        broken: Files that cannot be read.
        ended: How often the simulation of each point has ended.
        cut: How many simulations were killed.
    """

    points: list[tuple[float, float]]
    running: int
    broken: int
    ended: Counter[tuple[float, float]]
    cut: int


def run(quick: bool) -> Report:
    kills = 2 if quick else 20
    seed = int(os.environ.get("SCYTHE_SEED", random.randrange(2**32)))
    report: Report = [f"SCYTHE_SEED={seed}"]
    tools: dict[str, _Tool] = {"scythe study": _Tool([SCYTHE, "study", "s", "--quiet"], None, 1)}
    for name in ("optuna", "libensemble"):
        try:
            python = rival_python(name, install=not quick)
        except RivalMissingError as error:
            report.append(str(error))
            continue
        script, sizes = _SCRIPTS / f"killed_{name}.py", [str(_CASES), str(_BATCH)]
        label = f"{RIVALS[name][0].replace('==', ' ')}"
        tools[label] = _Tool([python, script, "run", *sizes], [python, script, "report", *sizes])
    for label, tool in tools.items():
        report.append(_killed(label, tool, kills, random.Random(seed)))
    return report


def _killed(label: str, tool: _Tool, kills: int, dice: random.Random) -> str:
    """Kill a tool so often, in as many studies as that takes, and count."""
    began = time.monotonic()
    undisturbed, _ = _study(tool, dice, None, 0)
    takes_s = time.monotonic() - began
    done = studies = 0
    total: Counter[str] = Counter()
    while done < kills:
        ended, more = _study(tool, dice, takes_s, kills - done)
        done, studies = done + more, studies + 1
        new = Counter(ended.points) - Counter(undisturbed.points)
        total += Counter(
            {
                "other": new.total(),
                "missing": max(0, len(undisturbed.points) - len(ended.points)),
                "again": sum(times - 1 for times in ended.ended.values()),
                "lost": len(set(ended.ended) - set(ended.points)),
                "running": ended.running,
                "broken": ended.broken,
                "cut": ended.cut,
            }
        )
    return (
        f"{label}: killed {done} times in {studies} studies of {_CASES} cases; {total['cut']} simulations were cut; "
        f"{total['again']} that had ended were run again, {total['lost']} that had ended are in no result; "
        f"{total['other']} points differ from those of a study that was left alone, {total['missing']} are missing; "
        f"{total['running']} are left as running; {total['broken']} files cannot be read"
    )


def _study(tool: _Tool, dice: random.Random, takes_s: float | None, kills: int) -> tuple[_Ended, int]:
    """A study from its start to its end, killed up to so often; what it came to, and how often it was."""
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        (folder / "killed_module.py").write_text(_MODULE)
        (folder / "experiments.toml").write_text(_CONFIG)
        shutil.copy(_SCRIPTS / "killed_sim.py", folder)
        env = clean_environment(CALLS=str(folder / "calls"), PYTHONPATH=f"{folder}{os.pathsep}{REPOSITORY}")
        done = 0
        while True:
            delay_s = 600.0 if takes_s is None or done >= kills else dice.uniform(0.2, 0.9) * takes_s
            if _ends_within(tool, folder, env, delay_s):
                break
            done += 1
        lines = [line.split() for line in (folder / "calls").read_text().splitlines()]
        counts = Counter(what for what, _, _ in lines)
        ended = Counter((float(a), float(b)) for what, a, b in lines if what == "end")
        found = _found(folder) if tool.report is None else _reported(tool.report, folder, env)
    points = sorted((float(a), float(b)) for a, b in found["points"])
    cut = counts["start"] - counts["end"]
    return _Ended(points, found["running"], found.get("broken", 0), ended, cut), done


def _ends_within(tool: _Tool, folder: Path, env: dict[str, str], delay_s: float) -> bool:
    """Run a tool, and kill it after a while with all that it started; whether it was done before."""
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(tool.run, cwd=folder, env=env, stdout=said, stderr=said, start_new_session=True)
        try:
            code = process.wait(delay_s)
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            psutil.wait_procs(children, timeout=60)
            return False
    if code != tool.code:  # a study of scythe has to reach max_cases, and says 1 then
        raise RuntimeError((folder / "said").read_text()[-2000:])
    return True


def _reported(command: Sequence[str | Path], folder: Path, env: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _found(folder: Path) -> dict[str, Any]:
    """The same of a study of scythe."""
    import polars as pl

    from scythe_cli.services.project import open_project

    run = open_project(start=folder).run()
    counts = run.status().counts
    assert counts is not None
    values = pl.read_parquet(Path(run.uri) / "final" / "scalars.pq")
    cases = pl.read_parquet(Path(run.uri) / "specs.pq")
    assert values.height == counts.succeeded
    return {
        "points": cases.select("a", "b").rows() if counts.succeeded == cases.height else [],
        "running": counts.pending,
    }
