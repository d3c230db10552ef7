"""The local engine beside pools that people write by hand, from a CSV to a table: the whole command is measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Check, Measurement, Report, check_ratio, interleave, measure, median_of, runs_or
from bench.projects import SCYTHE, make_project, write_cases
from bench.rivals import OURS, RivalMissingError, rival_python

TITLE = "the local engine: from a sampling file to final tables"
ORDER = 10

_POOLED = Path(__file__).parent / "scripts" / "pooled.py"
_WORKERS = 2

Subject = Callable[[], Measurement]


def run(quick: bool) -> Report:
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = make_project(Path(name))
        return [*_trivial(folder, quick), *_few(folder, quick), *_busy(folder, quick), *_long(folder, quick)]


def _scythe(folder: Path, experiment: str, cases: Path) -> Measurement:
    command = [SCYTHE, "allocate", cases, "--experiment", experiment, "--workers", str(_WORKERS), "--quiet"]
    taken = measure(command, cwd=folder)
    shutil.rmtree(folder / "runs")
    return taken


def _pooled(python: Path, how: str, folder: Path, function: str, cases: Path) -> Measurement:
    return measure([python, _POOLED, how, function, cases, folder / "out.pq"], cwd=folder)


def _rivals(
    names: dict[str, str], folder: Path, function: str, cases: Path, quick: bool
) -> tuple[dict[str, Subject], list[str]]:
    """Subjects from names to what `pooled.py` calls them; and why some are missing."""
    subjects: dict[str, Subject] = {}
    notes: list[str] = []
    for name, how in names.items():
        try:
            python = rival_python(how, install=not quick) if how in ("joblib", "dask", "ray") else OURS
        except RivalMissingError as error:
            notes.append(str(error))
            continue
        subjects[name] = partial(_pooled, python, how, folder, function, cases)
    return subjects, notes


def _trivial(folder: Path, quick: bool) -> Report:
    n = 100_000 if quick else 1_000_000
    cases = write_cases(folder / "many.csv", n)
    names = {"ProcessPoolExecutor, chunks of 500": "futures", "joblib": "joblib"}
    subjects, notes = _rivals(names, folder, "simulate", cases, quick)
    taken = interleave({"scythe allocate": partial(_scythe, folder, "simulate", cases), **subjects}, runs_or(1))
    case = f"{n:,} specs that compute next to nothing, CSV to Parquet, start-up included"
    records = [
        median_of(case, subject, runs, n=n, is_base=subject == "scythe allocate") for subject, runs in taken.items()
    ]
    seconds = {record.subject: record.seconds for record in records}
    checks: Report = []
    for subject, limit in (("ProcessPoolExecutor, chunks of 500", 0.8), ("joblib", 3.0)):
        if subject in seconds:
            ratio = check_ratio(
                f"specs a second, beside {subject}", seconds[subject], seconds["scythe allocate"], limit, at_least=True
            )
            checks.append(ratio)
    return [*records, *checks, *notes]


def _few(folder: Path, quick: bool) -> Report:
    n = 10_000
    cases = write_cases(folder / "few.csv", n)
    names = {"ProcessPoolExecutor, unchunked": "unchunked", "joblib": "joblib", "Dask": "dask", "Ray": "ray"}
    if quick:
        names = dict(list(names.items())[:2])
    subjects, notes = _rivals(names, folder, "simulate", cases, quick)
    taken = interleave({"scythe allocate": partial(_scythe, folder, "simulate", cases), **subjects}, runs_or(1))
    case = f"{n:,} specs that compute next to nothing, CSV to Parquet, start-up included"
    return [
        *(median_of(case, subject, runs, n=n, is_base=subject == "scythe allocate") for subject, runs in taken.items()),
        *notes,
    ]


def _busy(folder: Path, quick: bool) -> Report:
    """How much of two cores specs of 10 ms get; the time of a run with next to no work is taken off."""
    n = 1_000 if quick else 10_000
    few, many = write_cases(folder / "short.csv", 100), write_cases(folder / "busy.csv", n)
    subjects: dict[str, Subject] = {
        "start-up: 100 specs that compute nothing": partial(_scythe, folder, "simulate", few),
        "scythe allocate": partial(_scythe, folder, "spin_10_ms", many),
    }
    taken = interleave(subjects, runs_or(1))
    case = f"{n:,} specs that keep a core busy for 10 ms"
    records = [median_of(case, subject, runs, is_base=subject == "scythe allocate") for subject, runs in taken.items()]
    start_s, run_s = records[0].seconds, records[1].seconds
    busy = Check(
        "share of two cores that specs of 10 ms get", n * 0.01 / _WORKERS / (run_s - start_s) * 100, 95, True, "%"
    )
    return [*records, busy]


def _long(folder: Path, quick: bool) -> Report:
    n = 10 if quick else 200
    few, many = write_cases(folder / "short.csv", 100), write_cases(folder / "long.csv", n)
    taken = interleave(
        {
            "start-up: 100 specs that compute nothing": partial(_scythe, folder, "simulate", few),
            "scythe allocate": partial(_scythe, folder, "sleep_1_s", many),
        },
        runs_or(1),
    )
    case = f"{n} specs that wait for 1 s, two at a time"
    records = [median_of(case, subject, runs, is_base=subject == "scythe allocate") for subject, runs in taken.items()]
    over_s = records[1].seconds - records[0].seconds - n / _WORKERS
    return [*records, Check("time over the ideal, start-up taken off", over_s, 0.5, False, "s")]
