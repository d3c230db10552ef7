"""A run in which each spec returns another odd thing: none of them costs a row or a table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from tests.fuzzing import NIGHTLY
from tests.projects import make_project, scythe

N = 1_000 if NIGHTLY else 324  # each table with each remainder that says what else is odd; at night with each value
CODE = """
from __future__ import annotations
import datetime as dt
import decimal, enum, uuid
from pathlib import Path
from typing import Any, Optional
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from pydantic import ConfigDict, computed_field
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Roof(enum.Enum):
    FLAT = "flat"

class Case(ExperimentInputSpec):
    k: int
    angle: float = 1.0

class Out(ExperimentOutputSpec):
    model_config = ConfigDict(extra="allow")
    v: float
    when: Optional[dt.datetime] = None
    n: int = 0
    report: Optional[FileReference] = None

    @computed_field
    @property
    def inverse(self) -> float:
        return 1 / self.v

D = pd.DataFrame
utc, zurich = dt.timezone.utc, "Europe/Zurich"
loads = D({"v": [1.0, 2.0, 9.0]})
VALUES = [
    1, 2.5, True, "n/a", 2**53 + 1, 2**63, 2**70, decimal.Decimal("1.10"), None, float("nan"), b"\\xff", [1, 2],
    {"a": 1},
    {"a": "b"}, dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, 5), dt.datetime(2026, 1, 1, tzinfo=utc), dt.timedelta(1),
    dt.time(1), uuid.UUID(int=1), Roof.FLAT, Path("a/b"), 1 + 2j, np.ones((2, 2)), np.float16(1.5), pd.NaT, pd.NA,
    (1, "a"),
    {1, 2}, pd.Period("2026-01"), pd.Interval(0, 1), pd.Timestamp("2026-01-01", tz=zurich), object(), np.int8(1),
]
TABLES = [
    lambda: D([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")], names=["k", None])),
    lambda: D([[1, 2], [3, 4]]),
    lambda: D([[1]], columns=pd.to_datetime(["2026-01-01"])),
    lambda: loads.groupby(pd.cut(loads.v, [0, 5, 10]), observed=True).size().to_frame("n"),
    lambda: D({"angle": [1.0], "k": [3]}),
    lambda: D({"x": [1]}, index=pd.Index([7.0], name="angle")),
    lambda: D({"x": [1, 2, 3]}).iloc[1:],
    lambda: D({"x": np.array([1.0], np.float16)}),
    lambda: D({"x": pd.arrays.SparseArray([0, 1])}),
    lambda: D({"x": [1, "a", None]}),
    lambda: D(index=pd.RangeIndex(3)),
    lambda: D([[1, 2]], columns=["x", "x"]),
    lambda: D({"x": [1]}, index=pd.period_range("2026-01", periods=1, freq="M")),
    lambda: D({"x": pd.Categorical(["a", "b"])}),
    lambda: pd.Series([1, 2], name="x"),
    lambda: pl.DataFrame({"x": pl.Series([2**100], dtype=pl.Int128)}),
    lambda: pl.DataFrame({"x": pl.Series([Roof.FLAT], dtype=pl.Object)}),
    lambda: pl.DataFrame({"x": [[1, 2], None]}),
    lambda: pa.table({"x": pa.array([1, 2], pa.timestamp("ns", "Mars/Olympus"))}),
    lambda: np.ones((2, 2)),
    *(lambda v=v: D({"x": pd.Series([v], dtype=object)}) for v in VALUES),
]

@ExperimentRegistry.Register(retries=0)
def simulate(case: Case) -> Out:
    k = case.k
    out = Out(
        v=k % 7,
        when=pd.NaT if k % 3 else dt.datetime(2026, 1, 1),
        n=2**70 if k % 5 == 0 else k,
        report=Path("none.txt") if k % 11 == 0 else None,
        kpi=VALUES[k % len(VALUES)],
        dataframes={"t": TABLES[k % len(TABLES)](), f"u{k % 3}": TABLES[k * 7 % len(TABLES)](), "plain": D({"y": [k]})},
    )
    if k % 13 == 0:
        out.dataframes["none"] = "no table"
    return out
"""


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("odd") / "p", code=CODE)
    pl.DataFrame({"k": range(N)}).write_csv(folder / "cases.csv")
    ran = scythe("--json", "allocate", "cases.csv", "--workers", "1", cwd=folder, timeout=300)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["counts"]["succeeded"] == N
    final = Path(result["uri"]) / "final"
    assert result["n_warnings"] == pl.read_parquet(final / "warnings.pq").height
    assert sorted(result["tables"]) == sorted(path.stem for path in final.glob("*.pq"))
    return final


def test_all_rows_and_tables_are_there(final: Path) -> None:
    scalars = pl.read_parquet(final / "scalars.pq")
    assert scalars["k"].to_list() == list(range(N))
    assert scalars["v"].to_list() == [k % 7 for k in range(N)]
    assert scalars["n"].to_list() == [None if k % 5 == 0 else k for k in range(N)]
    assert scalars["when"].null_count() == sum(k % 3 > 0 for k in range(N))
    assert scalars["inverse"].to_list() == [None if k % 7 == 0 else 1 / (k % 7) for k in range(N)]
    assert scalars["kpi"][3] == "n/a"
    assert scalars["kpi"][4] == str(2**53 + 1)
    assert pl.read_parquet(final / "errors.pq").height == 0
    tables = {path.stem for path in final.glob("*.pq")}
    assert tables == {"scalars", "errors", "result_file_refs", "warnings", "plain", "t", "u0", "u1", "u2"}
    assert pl.read_parquet(final / "plain.pq")["y"].to_list() == list(range(N))
    for name in ("t", "u0", "u1", "u2"):
        assert len(pd.read_parquet(final / f"{name}.pq")) == pl.read_parquet(final / f"{name}.pq").height >= N / 3
    rows = pl.read_parquet(final / "t.pq")
    assert sorted(rows["k"].unique()) == list(range(N)), "each of the tables has a row at least"


def test_what_could_not_be_kept_is_told(final: Path) -> None:
    warnings = pl.read_parquet(final / "warnings.pq")
    assert dict(warnings.schema) == {"sort_index": pl.Int64, "field": pl.String, "what": pl.String, "why": pl.String}

    def rows(field: str) -> list[int]:
        return warnings.filter(pl.col("field") == field)["sort_index"].to_list()

    assert rows("n") == list(range(0, N, 5))
    assert rows("report") == list(range(0, N, 11))
    assert rows("none") == list(range(0, N, 13))
    assert rows("inverse") == list(range(0, N, 7))
