"""Final tables from a ledger, beside Polars for scalars and beside pandas for tables that specs returned.

What is compared is the time without imports, and the memory of the whole process.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.ledgers import make_frames, make_scalars
from bench.measure import Check, Measurement, Report, check_ratio, interleave, measure, median_of, runs_or
from bench.rivals import OURS

TITLE = "the gather: from the ledger to final tables"
ORDER = 20

_GATHERING = Path(__file__).parent / "scripts" / "gathering.py"


def run(quick: bool) -> Report:
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        return [*_scalars(folder, quick), *_frames(folder, quick)]


def gathering(how: str, *arguments: Path, cwd: Path) -> Measurement:
    """Run one of the ways of `gathering.py`."""
    return measure([OURS, _GATHERING, how, *arguments], cwd=cwd)


def _scalars(folder: Path, quick: bool) -> Report:
    n, parts = (50_000, 50) if quick else (1_000_000, 1_000)
    small = make_scalars(folder / "scalars", n, parts)
    large = make_scalars(folder / "scalars-4", 4 * n, 4 * parts)
    ours, four, polars = "scythe gather", "scythe gather, 4 times the rows", "Polars: scan, sort, sink"
    taken = interleave(
        {
            ours: partial(gathering, "scythe", small, cwd=folder),
            polars: partial(gathering, "polars", small, folder / "out.pq", cwd=folder),
            four: partial(gathering, "scythe", large, cwd=folder),
            f"{polars}, 4 times the rows": partial(gathering, "polars", large, folder / "out.pq", cwd=folder),
        },
        runs_or(1),
    )
    case = f"{n:,} outcomes in {parts:,} parts, in random order"
    rows = {ours: n, polars: n}
    records = {
        subject: median_of(case, subject, runs, n=rows.get(subject, 4 * n), is_base=subject == ours)
        for subject, runs in taken.items()
    }
    memory = (records[four].peak_bytes or 0) / (records[ours].peak_bytes or 1)
    return [
        *records.values(),
        check_ratio("time, beside Polars alone", records[ours].seconds, records[polars].seconds, 1.5, at_least=False),
        Check("peak memory at 4 times the rows, scalars", memory, 1.3, at_least=False),
    ]


def _frames(folder: Path, quick: bool) -> Report:
    n = 20 if quick else 1_000
    pile = folder / "pile"
    small, large = make_frames(folder / "frames", n, pile), make_frames(folder / "frames-4", 4 * n)
    ours, four = "scythe gather", "scythe gather, 4 times the rows"
    indexed, bare = "pandas: concat of a pile of files", "pandas: the same without ids and inputs"
    taken = interleave(
        {
            ours: partial(gathering, "scythe", small, cwd=folder),
            indexed: partial(gathering, "pandas", pile / "indexed", folder / "out.pq", cwd=folder),
            bare: partial(gathering, "pandas", pile / "bare", folder / "out.pq", cwd=folder),
            four: partial(gathering, "scythe", large, cwd=folder),
        },
        runs_or(1),
    )
    case = f"{n:,} specs, each with a table of 8,760 rows and 4 columns"
    records = {subject: median_of(case, subject, runs, is_base=subject == ours) for subject, runs in taken.items()}

    def memory(a: str, b: str) -> float:
        return (records[a].peak_bytes or 0) / (records[b].peak_bytes or 1)

    return [
        *records.values(),
        check_ratio("time, pandas beside scythe", records[indexed].seconds, records[ours].seconds, 5, at_least=True),
        Check("peak memory, beside pandas", memory(ours, indexed), 0.25, at_least=False),
        Check("peak memory at 4 times the rows, tables", memory(four, ours), 1.3, at_least=False),
    ]
