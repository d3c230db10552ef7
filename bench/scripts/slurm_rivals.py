"""Rows of 10 ms on Slurm with other libraries: `python slurm_rivals.py HOW N FOLDER`; prints the seconds it took.

`submitit` and `executorlib` give each row a job of its own; `submitit-batched` is written as somebody does who knows
how long a row takes: 16 jobs of one array, each with its share of the rows. `snakemake` runs a workflow with a rule for
each row.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

_SNAKEFILE = """
rule all:
    input: expand("out/{{i}}.txt", i=range({n}))

rule row:
    output: "out/{{i}}.txt"
    resources: mem_mb=100, runtime=5
    shell: "sleep 0.01 && echo {{wildcards.i}} > {{output}}"
"""
_AT_ONCE = 16


def row(x: float) -> float:
    """Takes 10 ms."""
    time.sleep(0.01)
    return 2 * x


def rows(some: list[float]) -> list[float]:
    """Some of them."""
    return [row(x) for x in some]


def submitit(cases: list[float], folder: Path, *, batched: bool) -> list[float]:
    """One array."""
    from submitit import AutoExecutor

    executor = AutoExecutor(folder=folder / "submitit", cluster="slurm")
    executor.update_parameters(
        timeout_min=10, slurm_partition="main", slurm_array_parallelism=_AT_ONCE, cpus_per_task=1
    )
    if not batched:
        return [job.result() for job in executor.map_array(row, cases)]
    shares = [cases[i::_AT_ONCE] for i in range(_AT_ONCE)]
    results = [job.result() for job in executor.map_array(rows, shares)]
    return [results[i % _AT_ONCE][i // _AT_ONCE] for i in range(len(cases))]


def executorlib(cases: list[float], folder: Path) -> list[float]:
    """A job for each row, from the login node."""
    from executorlib import SlurmClusterExecutor

    with SlurmClusterExecutor(
        cache_directory=str(folder / "executorlib"), resource_dict={"cores": 1, "partition": "main"}
    ) as executor:
        return [future.result() for future in [executor.submit(row, x) for x in cases]]


def snakemake(n: int, folder: Path) -> list[float]:
    """A rule for each row; what it needs of Slurm's accounting is asked of squeue."""
    (folder / "Snakefile").write_text(_SNAKEFILE.format(n=n))
    options = ["--executor", "slurm", "--jobs", str(_AT_ONCE), "--latency-wait", "30", "--quiet"]
    options += [
        "--slurm-status-command",
        "squeue",
        "--default-resources",
        "slurm_partition=main",
        "slurm_account=bench",
    ]
    command = [str(Path(sys.executable).with_name("snakemake")), *options]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    return [2.0 * float((folder / f"out/{i}.txt").read_text()) for i in range(n)]


def main() -> None:
    """Run one of them."""
    how, n, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True)
    cases = [float(i) for i in range(n)]
    began_s = time.perf_counter()
    if how == "snakemake":
        results = snakemake(n, folder)
    elif how == "executorlib":
        results = executorlib(cases, folder)
    else:
        results = submitit(cases, folder, batched=how == "submitit-batched")
    assert results == [2 * x for x in cases]
    print(json.dumps({"seconds": time.perf_counter() - began_s}))


if __name__ == "__main__":
    main()
