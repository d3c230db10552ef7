"""The local engine beside pools that people write by hand, from a CSV to a table: the whole command is measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import (
    Check,
    Measurement,
    Record,
    Report,
    check_ratio,
    interleave,
    is_large,
    measure,
    median_of,
    runs_or,
)
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
        return [*_trivial(folder, quick), *_few(folder, quick), *_real(folder, quick)]


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
    n = 100_000 if is_large() else 10_000
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


def _real(folder: Path, quick: bool) -> Report:
    """What specs get that take some time; the time of a run with next to no work is taken off."""
    n_busy, n_long = (200, 2) if quick else (10_000, 200)
    few = write_cases(folder / "short.csv", 100)
    start, busy, long = "start-up: 100 specs that compute nothing", "10 ms", "1 s"
    taken = interleave(
        {
            start: partial(_scythe, folder, "simulate", few),
            busy: partial(_scythe, folder, "spin_10_ms", write_cases(folder / "busy.csv", n_busy)),
            long: partial(_scythe, folder, "sleep_1_s", write_cases(folder / "long.csv", n_long)),
        },
        runs_or(1),
    )
    report: list[Record] = []
    for case, which in (
        (f"{n_busy:,} specs that keep a core busy for 10 ms", busy),
        (f"{n_long} specs that wait for 1 s, two at a time", long),
    ):
        report.append(median_of(case, start, taken[start]))
        report.append(median_of(case, "scythe allocate", taken[which], is_base=True))
    start_s, busy_s, long_s = report[0].seconds, report[1].seconds, report[3].seconds
    share = n_busy * 0.01 / _WORKERS / (busy_s - start_s) * 100
    over_s = long_s - start_s - n_long / _WORKERS
    return [
        *report,
        Check("share of two cores that specs of 10 ms get", share, 95, at_least=True, unit="%"),
        Check("time over the ideal, start-up taken off", over_s, 0.5, at_least=False, unit="s"),
    ]
