"""What people write in a notebook: a function over the rows of a pandas frame on two cores, and a table of the results.

python mapped.py scythe|joblib|futures|pandarallel|dask trivial|wait N OUT.pq
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

WORKERS = 2


def trivial(x: float, k: int) -> float:
    return x * 2 + k


def wait(x: float, k: int) -> float:
    time.sleep(0.01)
    return x * 2 + k


def scythe(function: Callable[..., float], frame: pd.DataFrame) -> pd.DataFrame:
    import scythe_cli

    return scythe_cli.map(function, frame, workers=WORKERS, storage="runs").to_pandas()


def joblib(function: Callable[..., float], frame: pd.DataFrame) -> pd.DataFrame:
    from joblib import Parallel, delayed

    rows = frame.itertuples(index=False)
    values: Any = Parallel(n_jobs=WORKERS)(delayed(function)(row.x, row.k) for row in rows)
    return frame.assign(value=values)


def futures(function: Callable[..., float], frame: pd.DataFrame) -> pd.DataFrame:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as pool:
        chunk = max(1, len(frame) // (16 * WORKERS))
        return frame.assign(value=list(pool.map(function, frame["x"], frame["k"], chunksize=chunk)))


def pandarallel(function: Callable[..., float], frame: pd.DataFrame) -> pd.DataFrame:
    from pandarallel import pandarallel

    pandarallel.initialize(nb_workers=WORKERS, verbose=0)
    return frame.assign(value=frame.parallel_apply(lambda row: function(row.x, row.k), axis=1))


def dask(function: Callable[..., float], frame: pd.DataFrame) -> pd.DataFrame:
    import dask.dataframe as dd

    parts: Any = dd.from_pandas(frame, npartitions=8 * WORKERS)
    values = parts.apply(lambda row: function(row.x, row.k), axis=1, meta=("value", "f8"))
    return frame.assign(value=values.compute(scheduler="processes", num_workers=WORKERS))


def main() -> None:
    how, what, n, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.random(n), "k": rng.integers(0, 10, n)})
    function = {"trivial": trivial, "wait": wait}[what]
    began_s = time.perf_counter()
    table = globals()[how](function, frame)
    table.to_parquet(out)
    taken_s = time.perf_counter() - began_s
    expected = frame["x"] * 2 + frame["k"]
    assert np.array_equal(table["value"].to_numpy(), expected.to_numpy())
    print(json.dumps({"seconds": taken_s}))


if __name__ == "__main__":
    main()
