"""Rows of 10 ms on a real Slurm of two nodes: wall time, and how often `sbatch` is called.

Every `sbatch` is counted, by a program of that name that stands first on the path and calls the real one. Libraries
that give each row a job of its own get few rows, since a job takes a second, whatever runs in it; how long all would
take is worked out from that, and the calls from what they call for a row.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import (
    CommandFailedError,
    Measurement,
    Record,
    Report,
    check_ratio,
    clean_environment,
    interleave,
    measure,
    runs_or,
)
from bench.projects import SCYTHE
from bench.rivals import RivalMissingError, rival_python
from tests.slurm_cluster import SlurmCluster, missing_slurm, slurm_cluster

TITLE = "Slurm: rows of 10 ms on two nodes of 8 processors, beside others"
ORDER = 60

_SCRIPT = Path(__file__).parent / "scripts" / "slurm_rivals.py"
_MODULE = '''
import time
from scythe_cli import Input, Output


class Case(Input):
    x: float


class Result(Output):
    y: float


def simulate(case: Case) -> Result:
    """Takes 10 ms."""
    time.sleep(0.01)
    return Result(y=case.x * 2)
'''
_CONFIG = """
[scythe]
engine = "slurm"

[slurm]
partition = "main"
array_limit = 16

[experiments.sim]
entrypoint = "slurm_bench:simulate"
"""
_LIMIT_S = 900.0
_MAX_ARRAY = 1001  # tasks of an array, unless a cluster says otherwise


class _Counter:
    """A program `sbatch` that counts how often it is called."""

    def __init__(self, folder: Path, cluster: SlurmCluster) -> None:
        self._calls = folder / "calls"
        bin_ = folder / "bin"
        bin_.mkdir()
        environment = clean_environment(**cluster.env)
        count = f'[ "$1" = --version ] || echo call >> {self._calls}'
        # a rival calls srun without what tells it where the cluster is
        where = f"export SLURM_CONF={cluster.env['SLURM_CONF']}"
        for name, before in (("sbatch", count), ("srun", where)):
            wrapper = bin_ / name
            wrapper.write_text(f'#!/bin/sh\n{before}\nexec {shutil.which(name)} "$@"\n')
            wrapper.chmod(0o755)
        self.env = {**environment, "PATH": f"{bin_}:{environment['PATH']}"}

    def taken(self) -> int:
        """The calls since the last time."""
        n = len(self._calls.read_text().splitlines()) if self._calls.exists() else 0
        self._calls.unlink(missing_ok=True)
        return n


def run(quick: bool) -> Report:
    if (missing := missing_slurm()) is not None:
        return [missing]
    with TemporaryDirectory(prefix="scythe-bench-") as name, slurm_cluster() as cluster:
        return _beside_others(Path(name), _Counter(Path(name), cluster), 1_000 if quick else 10_000, quick)


def _scythe(folder: Path, counter: _Counter, n: int) -> Measurement:
    project = folder / "project"
    project.mkdir()
    (project / "slurm_bench.py").write_text(_MODULE)
    (project / "experiments.toml").write_text(_CONFIG)
    (project / "cases.csv").write_text("x\n" + "".join(f"{i}\n" for i in range(n)))
    taken = measure(
        [SCYTHE, "allocate", "cases.csv", "--wait", "--quiet"], cwd=project, env=counter.env, timeout_s=_LIMIT_S
    )
    shutil.rmtree(project)
    return taken


def _rival(python: Path, how: str, folder: Path, counter: _Counter, n: int) -> Measurement:
    place = folder / how
    taken = measure([python, _SCRIPT, how, str(n), place], cwd=folder, env=counter.env, timeout_s=_LIMIT_S)
    shutil.rmtree(place)
    return taken


def _beside_others(folder: Path, counter: _Counter, n: int, quick: bool) -> Report:
    case = f"{n:,} rows of 10 ms"
    few = 20 if quick else 60
    rivals = {
        "submitit, 16 batches by hand": ("submitit-batched", n),
        "submitit, a job for each row": ("submitit", few),
        "executorlib, a job for each row": ("executorlib", few // 2),
        "Snakemake, a job for each row": ("snakemake", few // 2),
    }
    records: list[Record] = []
    notes: Report = []
    for subject, (how, rows) in {"scythe": ("", n), **rivals}.items():
        try:
            python = rival_python(how.partition("-")[0], install=not quick) if how else SCYTHE
            go = partial(_rival, python, how, folder, counter, rows) if how else partial(_scythe, folder, counter, rows)
            taken = interleave({subject: go}, runs_or(1))[subject]
        except (RivalMissingError, CommandFailedError) as error:
            counter.taken()
            notes.append(f"{subject}: {error}"[:2000])
            continue
        calls = counter.taken() / len(taken)
        scale = n / rows
        seconds = sorted(each.seconds for each in taken)[len(taken) // 2]
        if scale != 1:  # one array where there was one, as long as it may be
            calls = calls * scale if calls > 1 else -(-n // _MAX_ARRAY)
        more: dict[str, float | str] = {"sbatch calls": calls}
        if scale != 1:
            more["measured"] = f"{rows} rows in {seconds:.1f} s"
        records.append(Record(case, subject, seconds * scale, n=n, is_base=subject == "scythe", more=more))
    by_subject = {record.subject: record for record in records}
    ours = by_subject.pop("scythe", None)
    if ours is not None and by_subject:
        fastest = min(by_subject.values(), key=lambda record: record.seconds)
        each = [r for r in by_subject.values() if "a job for each" in r.subject]
        notes.append(check_ratio(f"time, beside {fastest.subject}", ours.seconds, fastest.seconds, 1.0, at_least=False))
        for record in each:
            calls = [float(r.more["sbatch calls"]) for r in (record, ours)]
            notes.append(check_ratio(f"sbatch calls, {record.subject}", calls[0], calls[1], 5.0, at_least=True))
    return [*records, *notes]
