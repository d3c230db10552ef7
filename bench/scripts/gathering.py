"""One way to make a table of what many specs left: prints a JSON object with the seconds that it took.

python gathering.py scythe STORAGE | polars STORAGE OUT.pq | pandas PILE OUT.pq
"""

import json
import sys
import time
from pathlib import Path


def scythe(storage: Path) -> float:
    from scythe_cli.run.final.gather import gather
    from scythe_cli.run.layout import RunLayout
    from scythe_cli.storage.opening import open_storage

    began = time.perf_counter()
    run = RunLayout.from_experiment_id(str(next(storage.glob("*/*/*/specs.pq")).parent.relative_to(storage)))
    gather(open_storage(storage), run)
    return time.perf_counter() - began


def polars(storage: Path, out: Path) -> float:
    import polars as pl

    began = time.perf_counter()
    pl.scan_parquet(storage / "*/*/*/outcomes/*.pq").sort("sort_index").sink_parquet(out)
    return time.perf_counter() - began


def pandas(pile: Path, out: Path) -> float:
    import pandas as pd

    began = time.perf_counter()
    pd.concat([pd.read_parquet(path) for path in sorted(pile.iterdir())]).to_parquet(out)
    return time.perf_counter() - began


if __name__ == "__main__":
    seconds = globals()[sys.argv[1]](*map(Path, sys.argv[2:]))
    print(json.dumps({"seconds": seconds}))
