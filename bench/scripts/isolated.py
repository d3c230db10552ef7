"""A process for each task: `isolated.py WHAT N`, which prints seconds of the processor for each task, or of waiting.

Each process has NumPy, pandas, pyarrow and s3fs loaded.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def load() -> None:
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow  # noqa: F401
    import s3fs  # noqa: F401


def nothing(x: int = 0) -> int:
    return x


def cpu_s() -> float:
    """Of this process, and of all that have ended."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def tree_cpu_s() -> float:
    """Of this process and all of its descendants, and of those of them that have ended."""
    from scythe_cli.executor.limits import descendants

    total = 0.0
    for pid in [os.getpid(), *descendants(os.getpid())]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def fork(n: int) -> float:
    load()
    began_s = cpu_s()
    for _ in range(n):
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
    return (cpu_s() - began_s) / n


def futures(n: int) -> float:
    from concurrent.futures import ProcessPoolExecutor

    began_s = cpu_s()
    with ProcessPoolExecutor(1, initializer=load, max_tasks_per_child=1) as pool:
        list(pool.map(nothing, range(n)))
    return (cpu_s() - began_s) / n


def pebble(n: int) -> float:
    import multiprocessing

    from pebble import ProcessPool

    began_s = cpu_s()
    context = multiprocessing.get_context("spawn")
    with ProcessPool(max_workers=1, max_tasks=1, initializer=load, context=context) as pool:
        for future in [pool.schedule(nothing) for _ in range(n)]:
            future.result()
    return (cpu_s() - began_s) / n


def loky(n: int) -> float:
    from loky import ProcessPoolExecutor

    began_s = cpu_s()
    for _ in range(n):
        with ProcessPoolExecutor(1, initializer=load) as pool:
            pool.submit(nothing).result()
    return (cpu_s() - began_s) / n


def scythe(n: int, workers: int = 1, *, is_timed: bool = False, **options: Any) -> float:
    """Seconds of the processor for each row; or of waiting for all of them."""
    import pyarrow as pa

    from scythe_cli.executor.limits import Limits, StopSignal
    from scythe_cli.executor.pool import Executor
    from scythe_cli.executor.rows.call import RunContext
    from scythe_cli.model.functions.reference import target_of
    from scythe_cli.model.spec_rows import with_meta

    sys.path.insert(0, str(Path(__file__).parent))
    import isolated_rows

    target = target_of(isolated_rows.simulate, root=None)
    context = RunContext("s3://bench/runs", "bench/v1.0.0/2026-01-01_00-00-00", "root", "bench")

    def rows(n: int) -> list[pa.RecordBatch]:
        inputs = pa.Table.from_arrays([pa.array([isolated_rows.NAP_S * is_timed] * n, pa.float64())], ["nap_s"])
        return with_meta(inputs, context.experiment_id, None).combine_chunks().to_batches()

    began_s, began_cpu_s = time.monotonic(), cpu_s()
    executor = Executor(target, context, Limits(60.0, None, 0, **options), workers=workers)
    if is_timed or options.get("start_method") == "spawn":
        with executor:
            for _ in executor.run(rows(n), stop=StopSignal()):
                pass
            waited_s = time.monotonic() - began_s
        return waited_s - isolated_rows.NAP_S if is_timed else (cpu_s() - began_cpu_s) / n
    with executor:
        for _ in executor.run(rows(5), stop=StopSignal()):
            pass
        began_cpu_s = tree_cpu_s()
        for _ in executor.run(rows(n), stop=StopSignal()):
            pass
        return (tree_cpu_s() - began_cpu_s) / n


def first(n: int) -> float:
    """Until so many processes have run a row each."""
    return scythe(n, workers=n, is_timed=True, isolation="process", working_directory="project")


SUBJECTS = {
    "fork": fork,
    "futures": futures,
    "pebble": pebble,
    "loky": loky,
    "row": lambda n: scythe(n, isolation="row", working_directory="project"),
    "row-folder": lambda n: scythe(n, isolation="row"),
    "spawn": lambda n: scythe(n, start_method="spawn", rows_per_process=1, working_directory="project"),
    "first": first,
}


if __name__ == "__main__":
    print(json.dumps({"seconds": SUBJECTS[sys.argv[1]](int(sys.argv[2]))}))
