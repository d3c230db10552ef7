"""How time and memory grow with the number of specs: exponents, 1 where ten times as much takes ten times as long.

The exponent is that of the last step, from the second largest size to the largest: below, what a command costs however
little there is to do hides how it grows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.gather import gathering
from bench.ledgers import make_scalars
from bench.measure import (
    Check,
    Measurement,
    Record,
    Report,
    exponent,
    interleave,
    is_large,
    measure,
    median_of,
    runs_or,
)
from bench.projects import SCYTHE, make_project, write_cases

TITLE = "growth: ten, a hundred and a thousand times the specs"
ORDER = 30


def run(quick: bool) -> Report:
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        sizes = (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000)
        return [*_local(folder, sizes), *_gather(folder, sizes)]


def _local(folder: Path, sizes: Sequence[int]) -> Report:
    project = make_project(folder / "project")

    def allocate(cases: Path) -> Measurement:
        taken = measure(
            [SCYTHE, "allocate", cases, "--experiment", "simulate", "--workers", "2", "--quiet"], cwd=project
        )
        shutil.rmtree(project / "runs")
        return taken

    files = {n: write_cases(project / f"{n}.csv", n) for n in sizes}
    return growth(
        "scythe allocate, specs that compute next to nothing, start-up included",
        {n: partial(allocate, path) for n, path in files.items()},
    )


def _gather(folder: Path, sizes: Sequence[int]) -> Report:
    if is_large():
        sizes = (*sizes, sizes[-1] * 10)
    ledgers = {n: make_scalars(folder / f"ledger-{n}", n, n // 1_000) for n in sizes}
    return growth(
        "scythe gather, 1,000 outcomes in each part, in random order",
        {n: partial(gathering, "scythe", ledger, cwd=folder) for n, ledger in ledgers.items()},
    )


def growth(case: str, subjects: dict[int, Callable[[], Measurement]]) -> Report:
    """Measure something at several sizes; tell how time and memory grow."""
    taken = interleave({f"{n:,}": subject for n, subject in subjects.items()}, runs_or(1))
    records: list[Record] = []
    for n, runs in zip(subjects, taken.values(), strict=True):
        records.append(median_of(case, f"{n:,}", runs, n=n))
    sizes = list(subjects)[-2:]
    time = exponent(sizes, [record.seconds for record in records[-2:]])
    memory = exponent(sizes, [float(record.peak_bytes or 0) for record in records[-2:]])
    what = case.partition(",")[0]
    return [
        *records,
        Check(f"exponent of time, {what}", time, 1.05, at_least=False, unit=""),
        f"{what}: the exponent of peak memory from {sizes[0]:,} to {sizes[1]:,} is {memory:.2f}",
    ]
