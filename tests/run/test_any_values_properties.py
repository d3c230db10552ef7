"""From the tables of three specs to the final one: whatever they hold, each value can be found again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.executor.rows.attempts import Attempts
from scythe_cli.executor.rows.call import Feature, LeafResult
from scythe_cli.executor.rows.frames import convert_frames
from scythe_cli.executor.rows.outcomes import OutcomeBatch
from scythe_cli.run.final import writers
from scythe_cli.run.final.gather import gather
from scythe_cli.run.ledger import merge_outcomes, write_part
from scythe_cli.storage.opening import open_storage
from tests.arrow.odd_arrays import ARRAYS, meaning, meanings, odd_columns
from tests.fuzzing import cases
from tests.made_runs import Answer, make_run

_N = 3
_COLUMNS = 4
_FEATURES: list[Feature] = [True, 0, 3, 2**53 + 1, -(2**63), 0.5, float("inf"), "n/a", "7", None]


def _batch(results: list[LeafResult], rows: list[int]) -> list[pa.Table]:
    attempts = Attempts.of(list(range(_N)), [1] * _N, [f"root-{i}" for i in range(_N)])
    batch = OutcomeBatch(Answer, "w", attempts)
    for row in rows:
        batch.add(row, 0.0, 1.0, None, results[row])
    return batch.finish().tables


@given(
    st.lists(odd_columns(_N), min_size=_COLUMNS, max_size=_COLUMNS),
    st.lists(st.sampled_from(_FEATURES), min_size=_N, max_size=_N),
    st.sampled_from(["one batch", "merged", "parts of their own", "two and one"]),
)
@cases(8)
def test_values_are_found_again(columns: list[list[pa.Array[Any]]], features: list[Feature], way: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        _check(Path(name), columns, features, way)


def _check(folder: Path, columns: list[list[pa.Array[Any]]], features: list[Feature], way: str) -> None:
    storage = open_storage(folder / "runs")
    run = make_run(storage, folder, _N)
    results = [
        LeafResult(
            Answer(y=row),
            features={"f": features[row]},
            frames=convert_frames(
                {f"t{i}": pa.Table.from_arrays([arrays[row]], names=["v"]) for i, arrays in enumerate(columns)},
                frozenset(),
            ),
        )
        for row in range(_N)
    ]
    groups = {"one batch": [[0, 1, 2]], "two and one": [[0, 1], [2]]}.get(way, [[0], [1], [2]])
    tables = [table for group in groups for table in _batch(results, group)]
    for number, table in enumerate(merge_outcomes(tables) if way == "merged" else tables):
        write_part(storage, run, f"p{number}", table)

    made = gather(storage, run)

    assert made.counts.succeeded == _N
    assert set(made.tables) == {"scalars", "errors", "result_file_refs", *(f"t{i}" for i in range(_COLUMNS))}, made
    scalars = pq.read_table(made.tables["scalars"])
    assert scalars.column("y").to_pylist() == [0, 1, 2]
    if any(feature is not None for feature in features):
        expected = [None if f is None else meaning(_written(f)) for f in features]
        assert meanings(scalars.column("f")) == expected
    for i, arrays in enumerate(columns):
        table = pq.read_table(made.tables[f"t{i}"])
        assert meanings(table.column("v")) == [value for array in arrays for value in meanings(array)]
        if way == "parts of their own" and pa.types.is_string(table.schema.field("v").type):
            types = {str(array.type) for array in arrays}
            assert types <= {"string", "large_string", "string_view"} or len(types) == 1 or made.notices


def _written(feature: Feature) -> str:
    if isinstance(feature, float):
        return {float("inf"): "Infinity"}.get(feature, repr(feature))
    return str(feature).lower() if isinstance(feature, bool) else str(feature)


def test_a_table_that_cannot_be_made_is_named_and_the_others_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 1)
    table = pa.Table.from_arrays([ARRAYS["small int64"]], names=["v"])
    result = LeafResult(Answer(y=1), frames=convert_frames({"bad": table, "good": table}, frozenset()))
    write_part(storage, run, "p", _batch([result], [0])[0])
    assert set(gather(storage, run).tables) == {"scalars", "errors", "result_file_refs", "bad", "good"}
    write = writers._FrameFile.write

    def refuse(self: Any, rows: Any) -> None:
        if self._path.stem == "bad":
            raise pa.ArrowNotImplementedError("no reader knows this")
        write(self, rows)

    monkeypatch.setattr(writers._FrameFile, "write", refuse)
    made = gather(storage, run)
    assert set(made.tables) == {"scalars", "errors", "result_file_refs", "good"}
    assert made.notices == ["the table bad cannot be made: no reader knows this"]
    assert not storage.exists(run.table("bad")), "that of the gather before is not taken for this one's"
