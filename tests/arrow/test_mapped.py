"""Large tables in mapped files, and what is counted of many rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from scythe_cli.arrow import mapped, seeds
from scythe_cli.sampling.files import csv_file, parquet_file
from scythe_cli.sampling.files.text_file import TextFile


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large is small here."""
    for module in (mapped, csv_file, parquet_file):
        monkeypatch.setattr(module, "LARGE_BYTES", 4)
    monkeypatch.setattr(seeds, "_AT_ONCE", 7)
    monkeypatch.setattr(parquet_file, "_ROWS_AT_ONCE", 5)


TABLE = pa.table(
    {
        "x": pa.array([i / 7 if i % 5 else None for i in range(40)], pa.float64()),
        "text": pa.array([None if i % 7 == 0 else f"t{i % 3}" for i in range(40)]),
        "list": pa.array([[3, None], *[[]] * 39], pa.list_(pa.int64())),
    }
)


def test_a_mapped_table_is_the_table() -> None:
    assert mapped.mapped_table(TABLE.to_batches(6), TABLE.schema).equals(TABLE)
    assert mapped.mapped_table([], TABLE.schema).equals(TABLE.slice(0, 0))


@pytest.mark.usefixtures("small")
def test_a_large_file_is_read_as_a_small_one(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.pq", row_group_size=11)
    raw = parquet_file.read_parquet(tmp_path / "t.pq", "t.pq")
    assert pa.table(raw.columns, raw.names).equals(TABLE)
    assert mapped.mapped_column(raw.columns[0]).equals(TABLE.column("x"))

    texts = TABLE.select(["x", "text"]).to_pydict()
    pa_csv.write_csv(pa.table(texts), tmp_path / "t.csv")
    read = csv_file.read_csv(TextFile(tmp_path / "t.csv", "t.csv", ","), tmp_path)
    assert [column.to_pylist() for column in read.columns][1] == texts["text"]
    assert read.n_rows == 40
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1\n")
    assert len(csv_file.read_csv(TextFile(tmp_path / "t.csv", "t.csv", ","), tmp_path).problems) == 1


@pytest.mark.parametrize("n_values", [1, 5, 1000])
def test_repetitions_of_many_rows_are_those_of_few(n_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, n_values, 100)
    rows = pa.table({"x": values})
    expected = seeds.repetitions(rows, leave_out=(), artifacts="")
    told = [int((values[:i] == value).sum()) for i, value in enumerate(values)]
    assert expected is not None
    assert expected.to_pylist() == told
    monkeypatch.setattr(seeds, "_AT_ONCE", 7)
    assert seeds.repetitions(rows, leave_out=(), artifacts="") == expected
    assert seeds.repetitions(pa.table({"x": np.arange(100)}), leave_out=(), artifacts="") is None
