"""How the time of `scythe validate` grows with the number of columns, for ten rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.growth import growth
from bench.measure import Check, Record, Report, measure
from bench.projects import SCYTHE

TITLE = "width: files of thousands of columns"
ORDER = 35

_ROWS = 10
_WITHIN_S = 5.0
_MODULE = """
from pydantic import Field, create_model
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

fields = {f"field_{i}": (float, Field(ge=0, le=10)) for i in range(COLUMNS)}
Case = create_model("Case", __base__=ExperimentInputSpec, **fields)


class Result(ExperimentOutputSpec):
    y: float


@ExperimentRegistry.Register()
def simulate(case: Case) -> Result:
    return Result(y=1.0)
"""


def run(quick: bool) -> Report:
    sizes = (1_000, 2_000) if quick else (1_250, 2_500, 5_000)
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        projects = {n: _project(Path(name) / str(n), n) for n in sizes}
        subjects = {
            n: partial(measure, [SCYTHE, "validate", "cases.csv", "--quiet"], cwd=folder)
            for n, folder in projects.items()
        }
        report = growth("scythe validate, 10 rows, start-up included", dict(subjects))
    largest = [record for record in report if isinstance(record, Record)][-1]
    return [*report, Check(f"seconds for {sizes[-1]:,} columns", largest.seconds, _WITHIN_S, at_least=False, unit="s")]


def _project(folder: Path, n: int) -> Path:
    (folder / "wide").mkdir(parents=True)
    (folder / "experiments.toml").write_text('[experiments.wide]\nentrypoint = "wide.wide:simulate"\n')
    (folder / "wide" / "wide.py").write_text(_MODULE.replace("COLUMNS", str(n)))
    header = ",".join(f"field_{i}" for i in range(n))
    rows = [",".join([f"{row}.5"] * n) for row in range(_ROWS)]
    (folder / "cases.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder
