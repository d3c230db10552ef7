"""A run of as many cases as fit: wall time, memory and disk of each step; killed once in the middle, and resumed.

    python -m bench.huge --size 1e7 --folder /a/disk/with/room

A trivial function, three columns of numbers of full precision, the local engine with its processes. Beside the commands
stand the largest sums over a command's processes: of memory of their own, and with the pages of mapped files, which the
system takes back when others need room; and the size of the run's folder with temporary files. It takes an hour for
some tens of millions of cases on two cores, and is no part of `python -m bench`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure import clean_environment
from bench.projects import SCYTHE

_MODULE = '''
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Case(ExperimentInputSpec):
    x: float
    k: int
    w: float


class Result(ExperimentOutputSpec):
    y: float


@ExperimentRegistry.Register()
def simulate(input_spec: Case) -> Result:
    """Computes next to nothing; a tenth of the cases fail while there is a file."""
    if FAIL is not None and hash(input_spec.x) % 10 == 0:
        raise ValueError("a tenth fails")
    return Result(y=input_spec.x + input_spec.k * input_spec.w)
'''
_PREAMBLE = '"""The experiment of a bench."""\nimport os\nFAIL = os.environ.get("BENCH_FAIL")\n'
_ROWS_AT_ONCE = 1_000_000
_POLL_S = 0.25


@dataclass(slots=True)
class Peaks:
    """What a command has taken at most, in bytes."""

    own: int = 0
    mapped: int = 0
    largest: int = 0
    disk: int = 0


class _Watcher(threading.Thread):
    """Looks at a process and its descendants, and at folders, until it is stopped."""

    def __init__(self, pid: int, folders: Sequence[Path]) -> None:
        super().__init__(daemon=True)
        self.peaks = Peaks()
        self._pid, self._folders = pid, folders
        self._over = threading.Event()

    def run(self) -> None:
        due_s = 0.0
        while not self._over.wait(_POLL_S):
            each = [_pss(pid) for pid in _tree(self._pid)]
            self.peaks.own = max(self.peaks.own, sum(own for own, _ in each))
            self.peaks.mapped = max(self.peaks.mapped, sum(whole for _, whole in each))
            self.peaks.largest = max([self.peaks.largest, *(own for own, _ in each)])
            if time.monotonic() >= due_s:
                self.peaks.disk = max(self.peaks.disk, sum(map(_size, self._folders)))
                due_s = time.monotonic() + 2.0

    def stop(self) -> Peaks:
        self._over.set()
        self.join()
        return self.peaks


def _tree(pid: int) -> list[int]:
    pids = [pid]
    for parent in pids:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                pids += map(int, children.read_text().split())
    return pids


def _pss(pid: int) -> tuple[int, int]:
    """Memory of its own, and all of it, with pages that are shared counted in parts."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0, 0
    sizes = {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return sizes.get("Pss_Anon", 0), sizes.get("Pss", 0)


def _size(folder: Path) -> int:
    """Bytes on disk of what a folder holds."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(path) / name).stat().st_blocks * 512
    return total


class Bench:
    """One project in a folder.

    Args:
        folder: Where; there must be nothing yet.
        n: The number of cases.
    """

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n
        self.scratch = folder / "tmp"
        self.scratch.mkdir(parents=True)
        (folder / "huge_module.py").write_text(_PREAMBLE + _MODULE)
        (folder / "experiments.toml").write_text('[experiments.simulate]\nentrypoint = "huge_module:simulate"\n')

    def write_cases(self) -> None:
        """Write the sampling file."""
        draw = np.random.default_rng(0)
        schema = pa.schema([("x", pa.float64()), ("k", pa.int64()), ("w", pa.float64())])
        with pq.ParquetWriter(self.folder / "cases.pq", schema) as writer:
            for start in range(0, self.n, _ROWS_AT_ONCE):
                m = min(_ROWS_AT_ONCE, self.n - start)
                columns = [draw.random(m), draw.integers(0, 1000, m), draw.random(m)]
                writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema))

    def run(self, what: str, *arguments: str, kill_at: float | None = None, fail: bool = False) -> None:
        """Run a command, and print what it took.

        Args:
            what: How it is called in the table.
            arguments: Of `scythe`.
            kill_at: Kill it, without warning, when the ledger holds that share of the cases.
            fail: Whether a tenth of the cases fail.
        """
        env = clean_environment(TMPDIR=str(self.scratch), PYTHONHASHSEED="0", **({"BENCH_FAIL": "1"} if fail else {}))
        began_s = time.perf_counter()
        process = subprocess.Popen(
            [str(SCYTHE), *arguments], cwd=self.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        watcher = _Watcher(process.pid, [self.folder / "runs", self.scratch])
        watcher.start()
        if kill_at is not None:
            while process.poll() is None and self.n_outcomes() < kill_at * self.n:
                time.sleep(2.0)
            process.send_signal(signal.SIGKILL)
        said = process.communicate()[1].decode(errors="replace")
        took_s, peaks = time.perf_counter() - began_s, watcher.stop()
        gb = [bytes_ / 1e9 for bytes_ in (peaks.own, peaks.largest, peaks.mapped, peaks.disk)]
        print(f"| {what} | {took_s:,.1f} | " + " | ".join(f"{each:.2f}" for each in gb) + " |", flush=True)
        expected = {0, 1} if kill_at is None else {-signal.SIGKILL}
        if process.returncode not in expected:
            raise SystemExit(f"{what} ended with {process.returncode}: {said[-2000:]}")

    def n_outcomes(self) -> int:
        """How many outcomes the ledger has."""
        n = 0
        for part in self.folder.glob("runs/*/*/*/outcomes/*.pq"):
            with suppress(pa.ArrowException, OSError):
                n += pq.read_metadata(part).num_rows
        return n

    def check(self) -> None:
        """See that the table has every case once, in order, with what the function gives."""
        (path,) = self.folder.glob("runs/*/*/*/final/scalars.pq")
        table, cases = pq.ParquetFile(path), pq.ParquetFile(self.folder / "cases.pq")
        n = 0
        there = table.iter_batches(_ROWS_AT_ONCE, columns=["sort_index", "x", "y"])
        wanted = cases.iter_batches(_ROWS_AT_ONCE)
        for rows, inputs in zip(there, wanted, strict=True):
            x, k, w = (column.to_numpy() for column in inputs.columns)
            index, of_x, y = (column.to_numpy() for column in rows.columns)
            right = (index == np.arange(n, n + len(x))).all() and (of_x == x).all() and (y == x + k * w).all()
            if not right:
                raise SystemExit(f"the table is wrong between rows {n:,} and {n + len(x):,}")
            n += len(x)
        final, run = path.stat().st_size, _size(path.parents[1])
        print(f"\n{n:,} rows, each right. The table: {final / 1e9:.2f} GB; the run: {run / final:.2f} times as much.")


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(prog="python -m bench.huge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=float, default=1e7, help="the number of cases (default: 1e7)")
    parser.add_argument("--folder", type=Path, help="where; a temporary folder unless given")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="scythe-bench-", dir=options.folder))
    try:
        bench = Bench(folder / "project", int(options.size))
        bench.write_cases()
        print(f"{bench.n:,} cases\n\n| | seconds | own memory, GB | largest process | with mapped files | disk, GB |")
        print("| --- | --: | --: | --: | --: | --: |", flush=True)
        _steps(bench)
        bench.check()
    finally:
        shutil.rmtree(folder)


def _steps(bench: Bench) -> None:
    allocate = ("allocate", "cases.pq", "--quiet")
    bench.run("validate", "validate", "cases.pq")
    bench.run("allocate, a tenth fails; killed in the middle", *allocate, kill_at=0.5, fail=True)
    bench.run("status of what was killed", "status")
    bench.run("retry of what is pending", "retry", "--only", "pending", "--quiet", fail=True)
    for what in ("status", "errors"):
        bench.run(f"{what}, a tenth has failed", what)
    bench.run("retry of a tenth", "retry", "--quiet")
    for command in (("status",), ("errors",), ("results", "show")):
        bench.run(" ".join(command), *command)
    bench.run("results query", "results", "query", "select k, avg(y) from scalars group by k order by k limit 5")


if __name__ == "__main__":
    sys.exit(main())
