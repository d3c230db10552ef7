"""What people write by hand: read a CSV, run a function over its rows on all cores, write a table.

python pooled.py futures|unchunked|joblib|dask|ray FUNCTION CASES.csv OUT.pq
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import models
import polars as pl
from models import Case, Result


def futures(function: Callable[[Case], Result], cases: list[Case], chunksize: int = 500) -> list[Result]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor() as pool:
        return list(pool.map(function, cases, chunksize=chunksize))


def unchunked(function: Callable[[Case], Result], cases: list[Case]) -> list[Result]:
    return futures(function, cases, chunksize=1)


def joblib(function: Callable[[Case], Result], cases: list[Case]) -> list[Result]:
    from joblib import Parallel, delayed

    done: Any = Parallel(n_jobs=-1)(delayed(function)(case) for case in cases)
    return done


def dask(function: Callable[[Case], Result], cases: list[Case]) -> list[Result]:
    from dask.distributed import Client, LocalCluster

    with LocalCluster(threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        return client.gather(client.map(function, cases, pure=False))


def ray(function: Callable[[Case], Result], cases: list[Case]) -> list[Result]:
    # below `uv run`, Ray would start its processes with uv and the project of the working directory, which fails here
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    import ray as library

    library.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    remote = library.remote(function)
    done = library.get([remote.remote(case) for case in cases])
    library.shutdown()
    return done


def main() -> None:
    with_what, function, source, target = sys.argv[1:]
    table = pl.read_csv(source)
    cases = [Case(**row) for row in table.to_dicts()]
    results = globals()[with_what](getattr(models, function), cases)
    outputs = pl.DataFrame([result.model_dump() for result in results])
    pl.concat([table, outputs], how="horizontal").write_parquet(target)
    print(outputs["y"].sum())


if __name__ == "__main__":
    main()
