"""How busy the slots of a fleet are, and how long small runs take: alone, cold, and behind a large one.

Workers, engine, database and store share this machine, and rows sleep. Dozens of slots share a core: a process for each
row, 10 ms of a core, would be most of what is measured, so that rows share processes here. Busy is what rows took, by
the ledger, in all slots from the start of the first row to the end of the last; the ideal is the shortest time in
which so many slots can do them.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.hatchet import working
from bench.measure import Check, Record, Report, clean_environment, measure
from bench.rivals import OURS
from scythe_cli.run.ledger import Ledger
from scythe_cli.services.project import open_project
from tests.hatchet_servers import hatchet_servers, missing_servers
from tests.servers import find_server, versitygw

TITLE = "a fleet: how busy its slots are, and small runs"
ORDER = 41

_CLI = [OURS, "-m", "scythe_cli.cli"]
_N_WORKERS, _SLOTS = 4, 16

_MODULE = '''
import time
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    seconds: float

class Result(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register()
def simulate(spec: Case) -> Result:
    """Sleeps."""
    time.sleep(spec.seconds)
    return Result(y=spec.seconds)
'''

_WITH_PANDAS = '''
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    seconds: float
    weather: FileReference

class Result(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register()
def simulate(spec: Case) -> Result:
    """Reads a file of the store and makes a dataframe."""
    import pandas as pd

    days = len(Path(spec.weather).read_text())
    return Result(y=spec.seconds * days, dataframes={"hours": pd.DataFrame({"hour": [0, 1], "heat": [1.0, days]})})
'''


@dataclass(frozen=True)
class _Shape:
    """Rows, and how long each of them sleeps."""

    n: int
    seconds: Callable[[int], float]
    n_one: int
    """How many of them are run at one a task."""


def _shapes(quick: bool) -> dict[str, _Shape]:
    if quick:
        return {"half a second": _Shape(64, lambda _: 0.5, 64)}
    return {
        "2,000 of half a second": _Shape(2_000, lambda _: 0.5, 2_000),
        "50,000 of 5 ms": _Shape(50_000, lambda _: 0.005, 2_000),
        "320 from 1 ms to 30 s, sorted": _Shape(320, lambda i: 0.001 + 30 * i / 320, 320),
        "320 of 5 ms, then 640 of 2 s": _Shape(960, lambda i: 0.005 if i < 320 else 2.0, 960),
    }


def run(quick: bool) -> Report:
    reason = missing_servers() or (None if find_server("versitygw") else "versitygw is not installed: `make servers`")
    if reason:
        return [f"left out: {reason}"]
    report: Report = []
    with TemporaryDirectory(prefix="scythe-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        hatchet = stack.enter_context(hatchet_servers())
        s3 = stack.enter_context(versitygw(folder / "s3"))
        s3.new_bucket("bench")
        for shape_name, shape in _shapes(quick).items():
            for per_task in ("auto", "1"):
                report += _busy(folder, hatchet.env, shape_name, shape, per_task)
        report += _small(folder, hatchet.env, quick)
        report += _behind(folder, hatchet.env, quick)
        report += _cold(folder, {**hatchet.env, **s3.env}, quick)
    return report


def _busy(folder: Path, env: Mapping[str, str], name: str, shape: _Shape, per_task: str) -> Report:
    n = shape.n if per_task == "auto" else shape.n_one
    with _Project(folder, env).open(per_task, [shape.seconds(i) for i in range(n)]) as project:
        with project.workers(_N_WORKERS, _SLOTS):
            taken = measure(project.allocate, cwd=project.root, env=project.env)
        begun_s, lasted_s = project.times()
    span_s = _ends(begun_s, lasted_s)[1] - min(begun_s)
    slots = _N_WORKERS * _SLOTS
    busy = sum(lasted_s) / slots / span_s
    ideal_s = _ideal_s(lasted_s, slots)
    more = {"busy": f"{busy:.0%}", "first to last row, s": f"{span_s:.1f}", "ideal, s": f"{ideal_s:.1f}"}
    subject = "auto" if per_task == "auto" else f"one a task ({n:,} rows)"
    report: Report = [Record(f"{name}, {slots} slots", subject, taken.wall_s, n=n, wall_s=taken.wall_s, more={**more})]
    if per_task == "auto":
        # where the slowest row alone takes most of the time, all slots cannot be busy
        possible = sum(lasted_s) / slots / ideal_s
        report.append(Check(f"busy, of what is possible: {name}", busy / possible, 0.9, at_least=True, unit=""))
    return report


def _ends(begun_s: list[float], lasted_s: list[float]) -> tuple[float, float]:
    """When the first row was over, and the last."""
    ends = [begun + lasted for begun, lasted in zip(begun_s, lasted_s, strict=True)]
    return min(ends), max(ends)


def _ideal_s(lasted_s: list[float], slots: int) -> float:
    """The time in which so many slots do the rows, the longest first."""
    ends = [0.0] * slots
    for each in sorted(lasted_s, reverse=True):
        ends.sort()
        ends[0] += each
    return max(ends)


def _small(folder: Path, env: Mapping[str, str], quick: bool) -> Report:
    """A small run on workers that have had another one."""
    with _Project(folder, env).open("auto", [0.005] * 20) as project, project.workers(1, 8):
        measure(project.allocate, cwd=project.root, env=project.env)
        taken = [measure(project.allocate, cwd=project.root, env=project.env) for _ in range(1 if quick else 5)]
    walls = sorted(each.wall_s for each in taken)
    median_s = walls[len(walls) // 2]
    return [
        Record("20 rows on warm workers", "from command to tables", median_s, n=20, spread=(walls[0], walls[-1])),
        Check("seconds of 20 rows on warm workers", median_s, 2.0, at_least=False, unit="s"),
    ]


def _behind(folder: Path, env: Mapping[str, str], quick: bool) -> Report:
    """A small run behind a large one: when its first row is over."""
    first_s: dict[str, float] = {}
    n_large = 500 if quick else 5_000
    with _Project(folder, env).open("auto", [0.005] * 20) as project, project.workers(1, 8):
        measure(project.allocate, cwd=project.root, env=project.env)
        for name in ("alone", f"behind {n_large:,} of 0.2 s"):
            large = None
            if name != "alone":
                project.write_cases([0.2] * n_large)
                submit = [part for part in project.allocate if part != "--wait"]
                measure(submit, cwd=project.root, env=project.env)
                large = project.newest()
                time.sleep(10.0)
                project.write_cases([0.005] * 20)
            submitted_s = time.time()
            measure(project.allocate, cwd=project.root, env=project.env)
            begun_s, lasted_s = project.times()
            first_s[name] = _ends(begun_s, lasted_s)[0] - submitted_s
            if large is not None:
                measure([*_CLI, "cancel", large], cwd=project.root, env=project.env)
    alone_s, behind_s = first_s.values()
    case = "20 rows of 5 ms, their first outcome"
    return [
        *(Record(case, name, seconds, n=20, is_base=name == "alone") for name, seconds in first_s.items()),
        Check("seconds that the first outcome is later behind a large run", behind_s - alone_s, 5.0, False, "s"),
    ]


def _cold(folder: Path, env: Mapping[str, str], quick: bool) -> Report:
    """Quick rows that need pandas and a file of the store, on workers that have just been started."""
    n = 24 if quick else 240
    with _Project(folder, env).open("auto", [0.0] * n, storage="s3://bench/cold", module=_WITH_PANDAS) as project:
        (project.root / "mild.epw").write_text("mild")
        rows = "".join(f"{i},mild.epw\n" for i in range(n))
        (project.root / "cases.csv").write_text("seconds,weather\n" + rows)
        with project.workers(1, 8):
            taken = measure(project.allocate, cwd=project.root, env=project.env)
    return [
        Record(f"{n} quick rows with pandas and a file on S3", "cold, 8 slots", taken.wall_s, n=n, cpu_s=taken.cpu_s),
        Check("seconds of quick rows on cold workers", taken.wall_s, 25.0, at_least=False, unit="s"),
    ]


class _Project:
    """A project of its own for each measurement, so that no worker or row of another one is in the way."""

    number = 0

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        type(self).number += 1
        self.name = f"busy{self.number}"
        self.root = folder / self.name
        self.env = clean_environment(**env, SCYTHE_ENGINE="hatchet")
        self.allocate = [*_CLI, "--json", "--quiet", "allocate", "cases.csv", "--wait"]

    @contextmanager
    def open(
        self, per_task: str, seconds: list[float], *, storage: str = "runs", module: str = _MODULE
    ) -> Generator[_Project]:
        self.root.mkdir()
        (self.root / "bench_module.py").write_text(module)
        tasks = json.dumps(per_task) if per_task == "auto" else per_task
        (self.root / "experiments.toml").write_text(
            f'[scythe]\nstorage = "{storage}"\n[experiments.{self.name}]\nentrypoint = "bench_module:simulate"\n'
            f'specs_per_task = {tasks}\nisolation = "process"\n'
        )
        self.write_cases(seconds)
        yield self

    def write_cases(self, seconds: list[float]) -> None:
        (self.root / "cases.csv").write_text("seconds\n" + "".join(f"{each}\n" for each in seconds))

    @contextmanager
    def workers(self, n: int, slots: int) -> Generator[None]:
        with working([[*_CLI, "worker", "--slots", str(slots)]] * n, self.root, self.env):
            yield

    def newest(self) -> str:
        listed = subprocess.run(
            [*_CLI, "--json", "runs"], cwd=self.root, env=self.env, capture_output=True, text=True, check=True
        )
        return str(json.loads(listed.stdout)[0]["experiment_id"])

    def times(self) -> tuple[list[float], list[float]]:
        """When the rows of the newest run began, and how long each took; s."""
        run: Any = open_project(self.root / "experiments.toml").run()
        with Ledger.open(run.storage, run.layout) as ledger:
            outcomes = ledger.outcomes()
        begun: list[datetime] = outcomes["started_at"].to_list()
        return [each.timestamp() for each in begun], outcomes["duration_s"].to_list()
