"""A stochastic model, for tests that its numbers are the same wherever and however often it runs."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from scythe_cli.services.project import Project
from tests.fuzzing import NIGHTLY

__all__ = ["N_ROWS", "QUEUE", "numbers_of", "write_rows"]


N_ROWS = 500 if NIGHTLY else 150

QUEUE = '''
import os
import random
import time
from pathlib import Path

import numpy as np
import polars as pl
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Queue(ExperimentInputSpec):
    servers: int
    load: float


class Waiting(ExperimentOutputSpec):
    mean_s: float
    longest_s: float
    shared: float


@ExperimentRegistry.Register()
def simulate(queue: Queue) -> Waiting:
    """Customers of a queue, with each of the generators that there are; the first attempt of some rows fails."""
    tried = Path(os.environ["TRIED"], str(queue.sort_index)) if "TRIED" in os.environ else None
    rng = queue.rng()
    free_s, now_s, waits = [0.0] * queue.servers, 0.0, []
    for _ in range(200):
        now_s += rng.exponential(1 / queue.load)
        server = min(range(queue.servers), key=free_s.__getitem__)
        waits.append(max(0.0, free_s[server] - now_s))
        free_s[server] = now_s + waits[-1] + rng.gamma(2.0, 0.5)
    if tried is not None and queue.sort_index % 7 == 3 and not tried.exists():
        tried.touch()
        random.random()
        if queue.sort_index % 2:
            os.abort()
        raise ValueError("the first time")
    if tried is not None and (tried.parent / "slow").exists():
        time.sleep(0.01)
    shared = random.gauss(0.0, 1.0) + np.random.standard_normal() + np.random.rand()
    frame = pl.DataFrame({"wait_s": waits[-20:]})
    return Waiting(mean_s=sum(waits) / 200, longest_s=max(waits), shared=shared, dataframes={"last": frame})
'''


def write_rows(folder: Path) -> Path:
    """Rows, of which some are repetitions."""
    path = folder / "queues.csv"
    lines = [f"{1 + i % 5},{1 + i % 11 / 8}" for i in range(N_ROWS)]
    path.write_text("\n".join(["servers,load", *lines, ""]))
    return path


def numbers_of(project: Project, run: str = "latest") -> list[pl.DataFrame]:
    """All that the rows of a run have drawn."""
    tables = project.run(run)
    scalars = tables.scalars().sort("sort_index").select("sort_index", "mean_s", "longest_s", "shared")
    return [
        scalars,
        tables.table("last").collect().sort("sort_index", maintain_order=True).select("sort_index", "wait_s"),
    ]
