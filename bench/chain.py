"""A chain of three experiments: the first time, with nothing to do, and with one row changed; beside Snakemake.

Each step computes next to nothing, so that what remains is what a chain costs. For Snakemake, each row of each step is
a file, which `cp` makes. How long it takes to make them all is worked out from few rows, since each is a job; what it
takes with nothing to do, and with one row changed, is measured for all rows, whose files are there from before.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import CommandFailedError, Measurement, Record, Report, check_ratio, measure, median_of, runs_or
from bench.projects import SCYTHE
from bench.rivals import RivalMissingError, rival_python

TITLE = "chain: three experiments one after the other, beside Snakemake"
ORDER = 55

_MODULES = {
    name: f"""
from scythe_cli import Input, Output


class Case(Input):
    {takes}: float


class Result(Output):
    {gives}: float


def simulate(case: Case) -> Result:
    \"\"\"Computes next to nothing.\"\"\"
    return Result({gives}=case.{takes} + 1)
"""
    for name, takes, gives in (
        ("solar", "tilt", "kwh"),
        ("economics", "kwh", "revenue"),
        ("score", "revenue", "points"),
    )
}
_CONFIG = """
[experiments.solar]
entrypoint = "solar:simulate"

[experiments.economics]
entrypoint = "economics:simulate"
input_from = "solar"

[experiments.score]
entrypoint = "score:simulate"
input_from = "economics"
"""
_SNAKEFILE = """
N = {n}

rule all:
    input: expand("score/{{i}}.txt", i=range(N))
"""
_RULE = """
rule {to}:
    input: "{of}/{{i}}.txt"
    output: "{to}/{{i}}.txt"
    shell: "cp {{input}} {{output}}"
"""
_STEPS = ("roofs", "solar", "economics", "score")
_FIRST, _NOTHING, _ONE = "the first time", "with nothing to do", "with one row changed"
_LIMIT_S = 1800.0


def run(quick: bool) -> Report:
    n, few = (1_000, 10) if quick else (10_000, 100)
    records: list[Record] = []
    notes: Report = []
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        records += _records("scythe", [_scythe(folder / f"scythe-{i}", n) for i in range(runs_or(1))], n, is_base=True)
        try:
            snakemake = rival_python("snakemake", install=not quick).with_name("snakemake")
            first = [_made_by(snakemake, folder / f"few-{i}", few) for i in range(runs_or(1))]
            [record] = _records("Snakemake", [{_FIRST: each} for each in first], n)
            more = {"measured": f"{few} rows in {record.seconds:.1f} s"}
            records.append(Record(record.case, record.subject, record.seconds * n / few, n=n, more=more))
            records += _records("Snakemake", [_again(snakemake, folder / f"all-{i}", n) for i in range(runs_or(1))], n)
        except (RivalMissingError, CommandFailedError) as error:
            notes.append(f"Snakemake: {error}"[:2000])
    by_case = {(record.case, record.subject): record.seconds for record in records}
    for state in (_FIRST, _NOTHING, _ONE):
        theirs = by_case.get((_case(state, n), "Snakemake"))
        if theirs is not None:
            ours = by_case[_case(state, n), "scythe"]
            notes.append(check_ratio(f"time {state}, beside Snakemake", ours, theirs, 1.0, at_least=False))
    records.sort(key=lambda record: [_case(state, n) for state in (_FIRST, _NOTHING, _ONE)].index(record.case))
    return [*records, *notes]


def _case(state: str, n: int) -> str:
    return f"three experiments of {n:,} rows, {state}"


def _records(subject: str, runs: list[dict[str, Measurement]], n: int, *, is_base: bool = False) -> list[Record]:
    return [
        median_of(_case(state, n), subject, [each[state] for each in runs], n=n, is_base=is_base) for state in runs[0]
    ]


def _scythe(project: Path, n: int) -> dict[str, Measurement]:
    project.mkdir()
    for name, text in _MODULES.items():
        (project / f"{name}.py").write_text(text)
    (project / "experiments.toml").write_text(_CONFIG)
    commands = [f"{SCYTHE} --json allocate {file} -e {name} --reuse >{name}.json" for name, file in _FILES.items()]
    taken: dict[str, Measurement] = {}
    for state, changed, run_again in ((_FIRST, None, n), (_NOTHING, None, 0), (_ONE, n // 2, 1)):
        rows = [f"{i}.5" if i == changed else f"{i}" for i in range(n)]
        (project / "roofs.csv").write_text("\n".join(["tilt", *rows]) + "\n")
        taken[state] = measure(["sh", "-ec", "\n".join(commands)], cwd=project, timeout_s=_LIMIT_S)
        for name in _MODULES:
            result = json.loads((project / f"{name}.json").read_text())
            if not result["ok"] or result["n_specs"] - result["n_reused"] != run_again:
                raise CommandFailedError(
                    f"{name}, {state}: {n - result['n_reused']:,} rows were run, not {run_again:,}"
                )
    shutil.rmtree(project)
    return taken


_FILES = {"solar": "roofs.csv", "economics": "", "score": ""}


def _snakefile(project: Path, n: int, made: Callable[[str], bool]) -> None:
    project.mkdir()
    rules = [_RULE.format(of=of, to=to) for of, to in pairwise(_STEPS)]
    (project / "Snakefile").write_text(_SNAKEFILE.format(n=n) + "".join(rules))
    for age, step in zip(range(len(_STEPS), 0, -1), _STEPS, strict=True):
        (project / step).mkdir()
        for i in range(n) if made(step) else ():
            file = project / step / f"{i}.txt"
            file.write_text(f"{i}\n")
            moment = file.stat().st_mtime - 60 * age  # what is made of a file is younger
            os.utime(file, (moment, moment))


def _snake(snakemake: Path, project: Path) -> Measurement:
    command = [snakemake, "--cores", str(len(os.sched_getaffinity(0))), "--quiet", "all"]
    return measure(command, cwd=project, timeout_s=_LIMIT_S)


def _made_by(snakemake: Path, project: Path, n: int) -> Measurement:
    _snakefile(project, n, lambda step: step == _STEPS[0])
    taken = _snake(snakemake, project)
    shutil.rmtree(project)
    return taken


def _again(snakemake: Path, project: Path, n: int) -> dict[str, Measurement]:
    _snakefile(project, n, lambda step: True)
    taken = {_NOTHING: _snake(snakemake, project)}
    (project / _STEPS[0] / f"{n // 2}.txt").write_text("changed\n")
    taken[_ONE] = _snake(snakemake, project)
    if (project / _STEPS[-1] / f"{n // 2}.txt").read_text() != "changed\n":
        raise CommandFailedError("Snakemake did not make again what was changed")
    shutil.rmtree(project)
    return taken
