"""`scythe_cli.map` beside what people call in a notebook: from a pandas frame to a table in a file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import CommandFailedError, Measurement, Report, interleave, measure, median_of, runs_or
from bench.rivals import OURS, RivalMissingError, rival_python

TITLE = "scythe.map: from a pandas frame to a table"
ORDER = 15

_MAPPED = Path(__file__).parent / "scripts" / "mapped.py"
_CAP_S = 120.0
_OURS = "scythe.map"
_HOWS = {
    _OURS: "scythe",
    "concurrent.futures, chunks": "futures",
    "joblib": "joblib",
    "pandarallel": "pandarallel",
    "Dask, processes": "dask",
}


def run(quick: bool) -> Report:
    notes: list[str] = []
    pythons: dict[str, Path] = {}
    for name, how in _HOWS.items():
        try:
            own = how in ("scythe", "futures")
            pythons[name] = OURS if own else rival_python(how, install=not quick)
        except RivalMissingError as error:
            notes.append(str(error))
    report: Report = []
    with TemporaryDirectory(prefix="scythe-bench-") as folder:
        for what, n, words in (
            ("trivial", 1_000 if quick else 10_000, "that compute next to nothing"),
            ("trivial", 50_000 if quick else 1_000_000, "that compute next to nothing"),
            ("wait", 200 if quick else 10_000, "that wait for 10 ms, two at a time"),
        ):
            case = f"{n:,} rows {words}, without imports"
            done = _in_turns(Path(folder), pythons, what, n, notes)
            report += [median_of(case, name, runs, n=n, is_base=name == _OURS) for name, runs in done.items()]
    return [*report, *notes]


def _in_turns(
    folder: Path, pythons: dict[str, Path], what: str, n: int, notes: list[str]
) -> dict[str, list[Measurement]]:
    """Each in turn; one that takes longer than the cap, or fails, is left out, and a note says so."""
    done: dict[str, list[Measurement]] = {}
    for name, python in pythons.items():
        try:
            done |= interleave({name: _subject(folder, python, _HOWS[name], what, n)}, runs_or(1))
        except CommandFailedError as error:
            last = (str(error).strip().splitlines() or [""])[-1]
            notes.append(f"{name}, {n:,} rows: none within {_CAP_S:.0f} s, or it failed ({last[:100]})")
    return done


def _subject(folder: Path, python: Path, how: str, what: str, n: int) -> Callable[[], Measurement]:
    def once() -> Measurement:
        command = [python, _MAPPED, how, what, str(n), folder / "out.pq"]
        try:
            return measure(command, cwd=folder, timeout_s=_CAP_S)
        finally:
            shutil.rmtree(folder / "runs", ignore_errors=True)

    return once
