"""What it costs that every outcome that counts survives a loss of power, beside leaving that to the system."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Measurement, Report, check_ratio, interleave, measure, median_of, runs_or
from bench.projects import SCYTHE, make_project, write_cases

TITLE = "durability: outcomes on the disk, or as the system likes"
ORDER = 18


def run(quick: bool) -> Report:
    trivial, slow = (100_000, 50) if quick else (1_000_000, 1_000)
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = make_project(Path(name))
        config = (folder / "experiments.toml").read_text()
        return [
            *_sides(folder, config, "simulate", trivial, workers=2, runs=runs_or(1 if quick else 3)),
            *_sides(folder, config, "sleep_1_s", slow, workers=50, runs=runs_or(1)),
        ]


def _sides(folder: Path, config: str, experiment: str, n: int, *, workers: int, runs: int) -> Report:
    cases = write_cases(folder / f"{experiment}.csv", n)
    sides = ("power", "process")
    subjects = {
        f"durability = {side}": partial(_once, folder, config, side, experiment, cases, workers) for side in sides
    }
    taken = interleave(subjects, runs)
    case = f"{n:,} specs of `{experiment}`, {workers} processes, start-up included"
    records = [median_of(case, name, some, n=n, is_base=name.endswith("process")) for name, some in taken.items()]
    power, process = (next(r.seconds for r in records if r.subject.endswith(side)) for side in sides)
    return [*records, check_ratio("power, beside process", power, process, 1.05, at_least=False)]


def _once(folder: Path, config: str, side: str, experiment: str, cases: Path, workers: int) -> Measurement:
    (folder / "experiments.toml").write_text(f'[scythe]\ndurability = "{side}"\n{config}')
    command = [SCYTHE, "allocate", cases, "--experiment", experiment, "--workers", str(workers), "--quiet"]
    taken = measure(command, cwd=folder)
    shutil.rmtree(folder / "runs")
    return taken
