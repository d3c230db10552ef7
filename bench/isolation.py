"""What a process for each row costs, how soon processes begin, and what a crash costs.

SCYTHE_BENCH_BEFORE is the Python of another version of scythe, whose crashes are measured as well.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Record, Report, check_ratio, clean_environment, interleave, measure, median_of, runs_or
from bench.rivals import OURS, RivalMissingError, rival_python

TITLE = "isolation: a process for each row, the first rows of many processes, crashes"
ORDER = 15

_SCRIPT = Path(__file__).parent / "scripts" / "isolated.py"
_MODULE = """
import os
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float
    crash: bool

class Result(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register(retries=0)
def simulate(case: Case) -> Result:
    if case.crash:
        os.abort()
    return Result(y=case.x)
"""


def run(quick: bool) -> Report:
    runs = runs_or(1 if quick else 3)
    return [*_rows(quick, runs), *_starts(runs), *_crashes(quick, runs)]


def _rows(quick: bool, runs: int) -> Report:
    n = 100 if quick else 300
    subjects: dict[str, list[str | Path]] = {
        "fork, exit and wait": [OURS, _SCRIPT, "fork", str(n)],
        "isolation = row": [OURS, _SCRIPT, "row", str(n)],
        "isolation = row, in a folder of its own": [OURS, _SCRIPT, "row-folder", str(n)],
        "a new process for each": [OURS, _SCRIPT, "spawn", "5"],
        "ProcessPoolExecutor(max_tasks_per_child=1)": [OURS, _SCRIPT, "futures", "5"],
    }
    notes: list[str] = []
    for name in ("pebble", "loky"):
        try:
            subjects[name] = [rival_python(name, install=not quick), _SCRIPT, name, "5"]
        except RivalMissingError as error:
            notes.append(str(error))
    with TemporaryDirectory(prefix="scythe-bench-") as folder:
        taken = interleave(
            {name: partial(measure, [*map(str, c)], cwd=Path(folder)) for name, c in subjects.items()}, runs
        )
    records = [
        median_of("CPU seconds of a row in a process of its own", name, some, is_base=name.startswith("fork"))
        for name, some in taken.items()
    ]
    seconds = {record.subject: record.seconds for record in records}
    own = seconds["isolation = row"]
    others = [name for name in seconds if name.startswith(("ProcessPool", "pebble", "loky"))]
    return [
        *records,
        check_ratio("a row, beside a fork", own, seconds["fork, exit and wait"], 2.0, at_least=False),
        check_ratio("a new process, beside a row", seconds["a new process for each"], own, 50.0, at_least=True),
        *(check_ratio(f"{name}, beside a row", seconds[name], own, 5.0, at_least=True) for name in others),
        *notes,
    ]


def _starts(runs: int) -> Report:
    subjects = {f"{n} process{'es' * (n > 1)}": [OURS, _SCRIPT, "first", str(n)] for n in (1, 8)}
    with TemporaryDirectory(prefix="scythe-bench-") as folder:
        taken = interleave(
            {name: partial(measure, [*map(str, c)], cwd=Path(folder)) for name, c in subjects.items()}, runs
        )
    case = "until each process has run its first row, with pandas and S3"
    one, eight = (median_of(case, name, some, is_base=name[0] == "1") for name, some in taken.items())
    return [one, eight, check_ratio("8 processes, beside one", eight.seconds, one.seconds, 1.5, at_least=False)]


def _crashes(quick: bool, runs: int) -> Report:
    n = 100 if quick else 1000
    pythons = {"now": OURS}
    if "SCYTHE_BENCH_BEFORE" in os.environ:
        pythons["before"] = Path(os.environ["SCYTHE_BENCH_BEFORE"])
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        (folder / "crashing.py").write_text(_MODULE)
        (folder / "experiments.toml").write_text('[experiments.sim]\nentrypoint = "crashing:simulate"\n')
        for file, every in (("some.csv", 5), ("none.csv", n + 2)):
            (folder / file).write_text("\n".join(["x,crash", *(f"{i},{i % every == every - 1}" for i in range(n)), ""]))
        options = {"cwd": folder, "env": clean_environment()}
        subjects = {}
        for when, python in pythons.items():
            command = [str(python), "-m", "scythe_cli.cli", "allocate"]
            tail = ["--workers", "2"]
            subjects[f"{when}, a fifth of {n} crash"] = partial(
                measure, [*command, "some.csv", *tail], expect=1, **options
            )
            subjects[f"{when}, none crashes"] = partial(measure, [*command, "none.csv", *tail], **options)
        taken = interleave(subjects, runs)
    case = f"{n} rows that compute nothing"
    records: list[Record] = [median_of(case, name, some, n=n) for name, some in taken.items()]
    seconds = {record.subject: record.seconds for record in records}
    cost = {
        when: (seconds[f"{when}, a fifth of {n} crash"] - seconds[f"{when}, none crashes"]) / (n / 5)
        for when in pythons
    }
    cpu = {record.subject: record.cpu_s for record in records}
    report: Report = list(records)
    for when, s in cost.items():
        cpu_s = (cpu[f"{when}, a fifth of {n} crash"] - cpu[f"{when}, none crashes"]) / (n / 5)
        report.append(f"a crash costs {s * 1e3:.1f} ms {when}, and {cpu_s * 1e3:.1f} ms of a processor")
    if "before" in pythons:
        now, before = (seconds[f"{when}, a fifth of {n} crash"] for when in pythons)
        report.append(check_ratio("rate with crashes, beside before", before, now, 10.0, at_least=True))
    return report
