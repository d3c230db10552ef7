"""Looking at what is there: a table of 10,000,000 rows in brief, and the lists of a store of 2,000 runs on S3.

The table is a final one, as the gather writes it; beside `scythe results show` stands what people do with pandas and
Polars: read the file, print its first rows and `describe()`. Every run of the store has a version of its own, as
`scythe allocate` makes them. The requests are counted in the server's own log, once for runs with few files and once
for runs with many.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.gather import gathering
from bench.ledgers import RUN, make_scalars
from bench.measure import Check, Measurement, Record, Report, clean_environment, interleave, measure, median_of, runs_or
from bench.projects import SCYTHE
from bench.rivals import OURS
from tests.servers import find_server, versitygw
from tests.stores import make_store

TITLE = "retrieval: a large table in brief, and what is in a store of many runs"
ORDER = 60

_COMMANDS = {
    "scythe versions": ["versions"],
    "scythe runs": ["runs"],
    "scythe runs --limit 20": ["runs", "--limit", "20"],
}


_DESCRIBED = """
import sys, {module}
frame = {module}.read_parquet(sys.argv[1])
print(frame.head(10))
print(frame.describe())
"""


def run(quick: bool) -> Report:
    return [*_table(quick), *_lists(quick)]


def _table(quick: bool) -> Report:
    """`results show` of a table, and of one with ten times the rows."""
    sizes = (20_000, 200_000) if quick else (1_000_000, 10_000_000)
    records: list[Record] = []
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        for n in sizes:
            store = make_scalars(folder / f"store-{n}", n, 100)
            gathering("scythe", store, cwd=folder)
            table = store / RUN.table("scalars")
            show = [SCYTHE, "--storage", store, "results", "show", "bench"]
            subjects = {"scythe results show": partial(measure, show, cwd=folder)}
            if n == sizes[-1]:
                for module in ("polars", "pandas"):
                    command = [OURS, "-c", _DESCRIBED.format(module=module), table]
                    subjects[f"{module}: read, head, describe"] = partial(measure, command, cwd=folder)
            taken = interleave(subjects, runs_or(1))
            case = f"a table of {n:,} rows and 9 columns"
            records += [
                median_of(case, subject, runs, n=n, is_base=subject.startswith("scythe"))
                for subject, runs in taken.items()
            ]
    small, large = records[0], records[1]
    memory = (large.peak_bytes or 0) / (small.peak_bytes or 1)
    return [
        *records,
        Check(f"results show of {sizes[1]:,} rows", large.seconds, 2.0, at_least=False, unit="s"),
        Check("results show: peak memory at ten times the rows", memory, 1.3, at_least=False),
    ]


def _lists(quick: bool) -> Report:
    if find_server("versitygw") is None:
        return ["left out: versitygw is not installed; `make servers` installs it"]
    n_runs = 20 if quick else 2000
    records: list[Record] = []
    requests: dict[tuple[str, int], int] = {}
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        with versitygw(folder / "server") as s3:
            assert s3.root is not None
            s3.new_bucket("stores")
            env = clean_environment(**s3.env)

            def listed(files: int, name: str) -> Measurement:
                before = len(s3.requests())
                taken = _list(folder, env, files, _COMMANDS[name])
                requests[name, files] = len(s3.requests()) - before
                return taken

            for files in (3, 30):
                make_store(s3.root / "stores" / f"files{files}", n_runs, files_each=files)
                subjects = {name: partial(listed, files, name) for name in _COMMANDS}
                taken = interleave(subjects, runs_or(1))
                case = f"{n_runs:,} runs on S3 of {files * 3:,} files each"
                records += [
                    median_of(case, name, runs, n=n_runs, more={"requests": requests[name, files]})
                    for name, runs in taken.items()
                ]
        make_store(folder / "local", n_runs, files_each=3)
        env = clean_environment()
        taken = interleave(
            {name: partial(_list, folder, env, None, arguments) for name, arguments in _COMMANDS.items()},
            runs_or(1),
        )
        records += [
            median_of(f"{n_runs:,} runs in a local folder", name, runs, n=n_runs) for name, runs in taken.items()
        ]
    checks = [
        Check(f"{name}: requests for runs of 90 files, beside runs of 9", many / requests[name, 3], 1.0, at_least=False)
        for (name, files), many in requests.items()
        if files == 30
    ]
    return [*records, *checks]


def _list(folder: Path, env: Mapping[str, str], files: int | None, arguments: list[str]) -> Measurement:
    store = folder / "local" if files is None else f"s3://stores/files{files}"
    return measure([SCYTHE, "--storage", str(store), *arguments], cwd=folder, env=env)
