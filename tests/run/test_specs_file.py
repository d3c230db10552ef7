"""`specs.pq`: the same file and the same hash, however the columns lie in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import META_SCHEMA, with_meta
from scythe_cli.run import specs_file as specfile
from scythe_cli.run.specs_file import specs_hash, write_new_specs, write_specs

RUN = "e/v1.0.0/2026-01-01_00-00-00"


def columns(n: int) -> pa.Table:
    """Columns of all kinds that are kept in specs."""
    made: dict[str, Any] = {
        "number": pa.array(np.arange(n) * 0.5),
        "count": pa.array([None if i % 7 == 3 else i for i in range(n)], pa.int64()),
        "text": pa.array([None if i % 11 == 5 else "é" * (i % 5) for i in range(n)], pa.string()),
        "flag": pa.array([i % 3 == 0 for i in range(n)]),
        "list": pa.array([[float(i)] * (i % 4) for i in range(n)]),
        "struct": pa.array([{"a": i, "b": None if i % 2 else str(i)} for i in range(n)]),
    }
    return pa.table(made)


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specfile, "_ROW_GROUP_ROWS", 64)


@pytest.mark.parametrize("size", [1, 7, 64, 100, 1000])
def test_the_hash_tells_values_and_not_how_they_lie_in_memory(size: int) -> None:
    whole = columns(300)
    cut = pa.concat_tables([whole.slice(start, size) for start in range(0, 300, size)])

    assert specs_hash(cut) == specs_hash(whole)
    assert specs_hash(with_meta(whole, RUN, "root")) == specs_hash(whole)
    assert specs_hash(columns(400).slice(0, 300)) == specs_hash(whole)


def test_the_hash_tells_what_differs() -> None:
    whole = columns(200)
    others = [
        whole.slice(0, 199),
        whole.slice(1),
        whole.rename_columns([*whole.column_names[:-1], "other"]),
        whole.drop_columns(["flag"]),
        whole.set_column(2, "text", pa.array(["x"] * 200)),
        whole.set_column(1, "count", whole.column("count").cast(pa.int32())),
    ]

    assert len({specs_hash(table) for table in (whole, *others)}) == 7


@pytest.mark.parametrize("n", [0, 1, 64, 200])
def test_specs_are_written_piece_by_piece_as_they_are_at_once(tmp_path: Path, n: int) -> None:
    inputs = columns(n)
    write_specs(tmp_path / "a.pq", with_meta(inputs, RUN, "root"), ["number"], OUTCOME_SCHEMA)
    write_new_specs(tmp_path / "b.pq", inputs, RUN, "root", ["number"], OUTCOME_SCHEMA)

    a, b = pq.ParquetFile(tmp_path / "a.pq"), pq.ParquetFile(tmp_path / "b.pq")
    assert b.schema_arrow.equals(a.schema_arrow, check_metadata=True)
    assert b.read().equals(a.read())
    assert b.read().column("sort_index").to_pylist() == list(range(n))
    assert b.schema_arrow.names[:4] == META_SCHEMA.names
    assert [b.metadata.row_group(i).num_rows for i in range(b.metadata.num_row_groups)] == [
        min(64, n - start) for start in range(0, n, 64)
    ]


def test_what_has_been_read_of_specs_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the specs that have been run."""
    monkeypatch.setattr(specfile, "_ROW_GROUP_ROWS", 16_384)
    n_groups = 12
    draw = np.random.default_rng(0)
    inputs = pa.table({"x": pa.array(draw.random(16_384 * n_groups)), "w": pa.array(draw.random(16_384 * n_groups))})
    write_new_specs(tmp_path / "specs.pq", inputs, RUN, "root", [], OUTCOME_SCHEMA)
    specs = specfile.SpecFile(tmp_path / "specs.pq", pq.read_schema(tmp_path / "specs.pq"), inputs.num_rows)
    pool = pa.default_memory_pool()
    kept: list[int] = []
    before = pool.bytes_allocated()

    for batch in specs.batches():
        kept.append(pool.bytes_allocated() - before - batch.nbytes)

    assert len(kept) == n_groups
    assert max(kept) < (tmp_path / "specs.pq").stat().st_size / 3
