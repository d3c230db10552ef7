from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.records import StateCounts
from scythe_cli.errors import StorageError
from scythe_cli.executor.rows.attempts import Attempts
from scythe_cli.executor.rows.call import LeafResult
from scythe_cli.executor.rows.frames import convert_frames
from scythe_cli.executor.rows.outcomes import OutcomeBatch
from scythe_cli.run import ledger as ledger_module
from scythe_cli.run.final import gather as gather_module
from scythe_cli.run.final import merge as merge_module
from scythe_cli.run.final import sources as sources_module
from scythe_cli.run.final import writers as writers_module
from scythe_cli.run.final.gather import gather
from scythe_cli.run.final.table_file import TableFile
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.effective import counts_of, effective_outcomes
from scythe_cli.storage.opening import open_storage
from tests.fuzzing import cases
from tests.made_runs import LAYOUT, Answer, Case, make_run, outcomes, write_part

LEVELS = ["experiment_id", "sort_index", "workflow_run_id", "root_workflow_run_id", "x", "label"]


def test_all_states_end_in_their_tables_in_order(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 100)
    write_part(storage, run, "b", outcomes(range(99, 49, -1)))
    write_part(storage, run, "a", outcomes(range(40)))
    write_part(storage, run, "c", outcomes([40, 41, 42], "failed"))
    write_part(storage, run, "d", outcomes([43], "timeout"))

    result = gather(storage, run)

    assert result.counts == StateCounts(succeeded=90, failed=3, timeout=1, pending=6)
    scalars = pd.read_parquet(result.tables["scalars"])
    assert list(scalars.index.names) == LEVELS
    assert list(scalars.columns) == ["y", "odd", "picture"][:2]
    index = scalars.index.get_level_values("sort_index")
    assert list(index) == [*range(40), *range(50, 100)]
    assert list(scalars["y"]) == [i**2 for i in index]
    files = pd.read_parquet(result.tables["result_file_refs"])
    assert list(files.index) == list(scalars.index)
    assert files["picture"].iloc[3] == "p3.png"
    errors = pl.read_parquet(result.tables["errors"])
    assert errors["sort_index"].to_list() == list(range(40, 50))
    assert errors["state"].to_list() == ["failed"] * 3 + ["timeout"] + ["pending"] * 6
    assert errors.columns[:7] == ["sort_index", "state", "attempt", "error_type", "message", "traceback", "duration_s"]
    assert errors["x"].to_list() == list(range(40, 50))
    assert errors["steps"].to_list() == [[i] for i in range(40, 50)]
    assert errors["attempt"].to_list() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_no_outcome_at_all_still_gives_typed_tables(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 3)

    result = gather(storage, run)

    scalars = pl.read_parquet(result.tables["scalars"])
    assert scalars.height == 0
    assert dict(scalars.schema) == {
        **dict.fromkeys(["experiment_id", "workflow_run_id", "root_workflow_run_id", "label"], pl.String),
        "sort_index": pl.Int64,
        "x": pl.Float64,
        "y": pl.Float64,
        "odd": pl.Int64,
    }
    assert pl.read_parquet(result.tables["errors"])["state"].to_list() == ["pending"] * 3


def test_errors_table_is_empty_with_its_schema_when_all_is_well(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 3)
    write_part(storage, run, "a", outcomes(range(3)))

    errors = pl.read_parquet(gather(storage, run).tables["errors"])

    assert errors.height == 0
    assert errors.schema["attempt"] == pl.Int32
    assert errors.schema["x"] == pl.Float64


def test_frames_are_stacked_with_their_own_levels(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 20)
    write_part(storage, run, "a", outcomes(range(10), frame_rows=3, feature=True))
    write_part(storage, run, "b", outcomes(range(10, 15), frame_rows=1, feature=True))
    write_part(storage, run, "c", outcomes(range(15, 18), frame_rows=0))
    write_part(storage, run, "d", outcomes(range(18, 20)))

    tables = gather(storage, run).tables

    frame = pd.read_parquet(tables["monthly"])
    assert list(frame.index.names) == [*LEVELS, "half", "month", "sort_subindex"]
    assert list(frame.columns) == ["e"]
    assert len(frame) == 35
    flat = frame.reset_index()
    assert (flat["e"] == flat["x"] * flat["month"]).all()
    assert (flat["half"] == flat["x"] / 2).all()
    assert list(flat["sort_subindex"][:6]) == [0, 1, 2, 0, 1, 2]
    scalars = pl.read_parquet(tables["scalars"])
    assert scalars["half"].null_count() == 5


def test_single_row_frames_have_no_subindex(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 5)
    write_part(storage, run, "a", outcomes(range(5), frame_rows=1))

    frame = pd.read_parquet(gather(storage, run).tables["monthly"])

    assert list(frame.index.names) == [*LEVELS, "month"]
    assert len(frame) == 5


def test_a_frame_gets_its_subindex_when_a_later_spec_has_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather_module, "_ROWS_AT_ONCE", 2)
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 8)
    write_part(storage, run, "a", outcomes(range(6), frame_rows=1))
    write_part(storage, run, "b", outcomes([6], frame_rows=3))
    write_part(storage, run, "c", outcomes([7], frame_rows=1))

    into = tmp_path / "into"
    into.mkdir()
    tables = gather(storage, run, into=into).tables

    frame = pd.read_parquet(tables["monthly"])
    assert list(frame.index.names) == [*LEVELS, "month", "sort_subindex"]
    assert list(frame.index.get_level_values("sort_subindex")) == [0] * 6 + [0, 1, 2] + [0]
    assert sorted(path.name for path in into.iterdir()) == [
        "errors.pq",
        "monthly.pq",
        "result_file_refs.pq",
        "scalars.pq",
    ]


def test_repeated_text_is_stored_once_and_read_as_text(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 50)
    write_part(storage, run, "a", outcomes(range(50), frame_rows=200))

    path = gather(storage, run).tables["monthly"]

    file = pq.ParquetFile(path)
    for name in ("experiment_id", "workflow_run_id", "label"):
        assert file.schema_arrow.field(name).type == pa.string()
        column = file.metadata.row_group(0).column(file.schema_arrow.get_field_index(name))
        assert column.total_uncompressed_size < 20_000, f"{name} is there 200 times for each spec"
    assert pl.read_parquet_schema(path)["experiment_id"] == pl.String
    frame = pd.read_parquet(path)
    assert frame.index.get_level_values("label").unique().to_list() == ["q"]


def test_outcomes_of_other_specs_are_refused(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 3)
    write_part(storage, run, "a", outcomes([5, 1, 0, -1, 9]))

    with pytest.raises(
        StorageError,
        match=r"part a\.pq of the ledger is damaged: it holds outcomes that cannot belong to a case of this run\n",
    ):
        gather(storage, run)


def test_a_range_is_done_before_later_parts_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "_GROUP_ROWS", 1)
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 30)
    for name, rows in (("a", range(12)), ("b", range(12, 20)), ("c", range(20, 30))):
        write_part(storage, run, name, outcomes(rows))
    with Ledger.open(storage, run) as ledger:
        ranges = merge_module.ranges_of(ledger.parts, sources_module.Columns.of(ledger.parts), 30, 10, tmp_path)
        part = storage.local_path(run.outcome_part("c"))
        assert part is not None
        part.write_bytes(part.read_bytes()[:-100])
        for start in (0, 10):
            here = next(ranges)
            assert (here.start, here.stop) == (start, start + 10)
            assert here.good["sort_index"].to_list() == list(range(start, start + 10))
        with pytest.raises(StorageError, match=r"part c\.pq of the ledger is damaged"):
            next(ranges)


def test_nothing_waits_in_files_where_a_run_was_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command has written its parts in order, and its parts lie beside those of the others."""
    monkeypatch.setattr(gather_module, "_ROWS_AT_ONCE", 10)
    monkeypatch.setattr(sources_module, "_GROUP_ROWS", 10)
    monkeypatch.setattr(merge_module, "_MAX_WAITING_BYTES", 4_000)
    monkeypatch.setattr(merge_module._Store, "_write", lambda *_: pytest.fail("rows wait"))
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 200)
    for start in range(0, 200, 20):
        write_part(storage, run, f"a-{start:03}", outcomes(range(start, start + 20), "failed"))
    for start in range(0, 200, 20):
        write_part(storage, run, f"b-{start:03}", outcomes(range(start, start + 20), attempt=2))

    result = gather(storage, run)

    assert result.counts == StateCounts(succeeded=200)
    assert pl.read_parquet(result.tables["scalars"])["y"].to_list() == [i**2 for i in range(200)]


def test_dataframes_of_a_part_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = outcomes([*range(10, 20), *range(10)], frame_rows=3)
    monkeypatch.setattr(ledger_module, "_GROUP_FRAME_BYTES", table.column("frame:monthly").nbytes // 4)
    monkeypatch.setattr(gather_module, "_ROWS_AT_ONCE", 5)
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 20)
    write_part(storage, run, "a", table)

    with Ledger.open(storage, run) as ledger:
        groups = ledger.parts[0].row_groups
    assert [(group.n_rows, group.first) for group in groups] == [(5, 10), (5, 15), (5, 0), (5, 5)]
    monthly = pl.read_parquet(gather(storage, run).tables["monthly"])
    assert monthly.select("sort_index", "month", "e").rows() == [
        (i, month, float(i * month)) for i in range(20) for month in range(3)
    ]


def test_types_that_contradict_each_other_end_as_text(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 3)
    for row, (name, values) in enumerate([("a", [1]), ("b", [2.5]), ("c", ["high"])]):
        cells = pa.array([[{"v": values[0]}]])
        write_part(storage, run, name, outcomes([row]).append_column("frame:mixed", cells))

    frame = pl.read_parquet(gather(storage, run).tables["mixed"])

    assert frame.schema["v"] == pl.String
    assert [float(v) if v != "high" else v for v in frame["v"]] == [1.0, 2.5, "high"]


def test_whole_and_broken_numbers_become_broken_numbers(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 2)
    write_part(storage, run, "a", outcomes([0]).append_column("feature:f", pa.array([1])))
    write_part(storage, run, "b", outcomes([1]).append_column("feature:f", pa.array([0.5])))

    assert pl.read_parquet(gather(storage, run).tables["scalars"])["f"].to_list() == [1.0, 0.5]


def test_damaged_part_is_named_and_its_specs_are_pending(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 10)
    write_part(storage, run, "a", outcomes(range(5)))
    write_part(storage, run, "b", outcomes(range(5, 10)))
    part = storage.local_path(run.outcome_part("b"))
    assert part is not None
    part.write_bytes(part.read_bytes()[:-20])
    storage.write_bytes(run.outcome_part("stranger"), b"hello")

    result = gather(storage, run)

    assert result.damaged == ["b.pq", "stranger.pq"]
    assert result.counts == StateCounts(succeeded=5, pending=5)


def test_run_without_specs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"has no specs\.pq"):
        gather(open_storage(tmp_path / "runs"), LAYOUT)


@cases(8, at_night=400)
@given(data=st.data())
def test_any_mix_of_parts_gives_each_spec_one_row(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """However outcomes are spread over parts, repeated and superseded, and however the rows are cut into ranges."""
    tmp_path = tmp_path_factory.mktemp("mix")
    storage = open_storage(tmp_path / "runs")
    n = data.draw(st.integers(1, 30))
    run = make_run(storage, tmp_path, n)
    history: dict[int, list[tuple[int, str, bool, int]]] = {i: [] for i in range(n)}
    frame_bytes = data.draw(st.sampled_from([1, 100, 8_000_000]))
    for number in range(data.draw(st.integers(0, 6))):
        rows = data.draw(st.lists(st.integers(0, n - 1), unique=True, min_size=1))
        state = data.draw(st.sampled_from(["succeeded", "failed", "timeout", "crashed", "cancelled"]))
        attempt = data.draw(st.integers(1, 3))
        final = state == "succeeded" or data.draw(st.booleans())
        frame_rows = data.draw(st.sampled_from([None, 0, 1, 3]))
        part = outcomes(rows, state, attempt=attempt, final=final, frame_rows=frame_rows, shift=attempt / 10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ledger_module, "_GROUP_FRAME_BYTES", frame_bytes)
            write_part(storage, run, f"p{number}", part)
        for row in rows:
            history[row].append((attempt, state, final, frame_rows or 0))

    expected: dict[int, tuple[int, str, int]] = {}
    for row, happened in history.items():
        finals = [(attempt, state, rows) for attempt, state, final, rows in happened if final]
        good = [one for one in finals if one[1] == "succeeded"]
        if good:
            expected[row] = min(good, key=lambda one: one[0])  # of equal ones the first
        elif finals:
            expected[row] = max(finals, key=lambda one: one[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather_module, "_ROWS_AT_ONCE", data.draw(st.integers(1, 40)))
        patch.setattr(sources_module, "_GROUP_ROWS", data.draw(st.sampled_from([1, 20, 1000])))
        patch.setattr(sources_module, "_MAX_AHEAD_BYTES", data.draw(st.sampled_from([0, 1_000_000])))
        patch.setattr(merge_module, "_MAX_WAITING_BYTES", data.draw(st.sampled_from([0, 2_000, 1_000_000])))
        tables = gather(storage, run).tables
    scalars, errors = pl.read_parquet(tables["scalars"]), pl.read_parquet(tables["errors"])
    succeeded = {row: attempt for row, (attempt, state, _) in expected.items() if state == "succeeded"}
    assert scalars["sort_index"].to_list() == sorted(succeeded)
    assert scalars["y"].to_list() == [row**2 + attempt / 10 for row, attempt in sorted(succeeded.items())]
    assert errors["sort_index"].to_list() == [row for row in range(n) if row not in succeeded]
    bad = [expected.get(row, (0, "pending", 0)) for row in range(n) if row not in succeeded]
    assert errors["attempt"].to_list() == [attempt for attempt, _, _ in bad]
    assert errors["state"].to_list() == [state for _, state, _ in bad]
    told = [f"bad {row}" if row in expected else None for row in range(n) if row not in succeeded]
    assert errors["message"].to_list() == told
    months = [(row, month) for row in sorted(succeeded) for month in range(expected[row][2])]
    if "monthly" in tables:
        frame = pl.read_parquet(tables["monthly"])
        assert list(frame.select("sort_index", "month").iter_rows()) == months
        assert frame["e"].to_list() == [float(row * month) for row, month in months]
        if "sort_subindex" in frame.columns:
            assert frame["sort_subindex"].to_list() == [month for _, month in months]
        assert ("sort_subindex" in frame.columns) == any(month for _, month in months)
    else:
        assert not months
    with Ledger.open(storage, run) as ledger:
        counts = counts_of(effective_outcomes(ledger.outcomes()), n)
    assert counts.total == n
    assert counts.succeeded == len(succeeded)


def test_only_what_compression_makes_smaller_is_compressed(tmp_path: Path) -> None:
    table = outcomes(range(2_000))
    noise = np.random.default_rng(0).random(2_000)
    table = table.set_column(table.schema.get_field_index("out:y"), "out:y", pa.array(noise))
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 2_000)
    write_part(storage, run, "a", table)

    scalars = gather(storage, run).tables["scalars"]

    columns = pq.read_metadata(scalars).row_group(0).to_dict()["columns"]
    codecs = {column["path_in_schema"]: column["compression"] for column in columns}
    assert codecs.pop("y") == "UNCOMPRESSED"
    assert set(codecs.values()) == {"ZSTD"}, codecs
    assert pl.read_parquet(scalars)["y"].to_list() == noise.tolist()


def test_ranges_of_few_specs_do_not_become_small_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "_FRAME_BYTES_AT_ONCE", 1)
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 40)
    write_part(storage, run, "a", outcomes(range(40), frame_rows=2))

    tables = gather(storage, run).tables

    for name, n_rows in (("scalars", 40), ("monthly", 80), ("errors", 0)):
        metadata = pq.read_metadata(tables[name])
        assert (metadata.num_rows, metadata.num_row_groups) == (n_rows, min(n_rows, 1)), name
    labels = pd.read_parquet(tables["monthly"]).index.get_level_values("workflow_run_id")
    assert list(labels) == [f"root-{i // 2:08d}" for i in range(80)]


def gather_outputs(folder: Path, made: list[dict[str, Any]], pictures: Sequence[str | None] = ()) -> dict[str, str]:
    """The final tables of specs that return these tables, each with a part of its own."""
    storage = open_storage(folder / "runs")
    run = make_run(storage, folder, len(made))
    levels = frozenset({*LEVELS, "sort_subindex"})
    for i, frames in enumerate(made):
        files = {"picture": pictures[i] if pictures else None}
        batch = OutcomeBatch(Answer, "w", Attempts.of([i], [1], [f"root-{i}"]))
        batch.add(0, 0.0, 1.0, None, LeafResult(Answer(y=i), files, frames=convert_frames(frames, levels)))
        for n, table in enumerate(batch.finish().tables):
            write_part(storage, run, f"p{i}-{n}", table)
    return gather(storage, run).tables


@pytest.mark.parametrize("counted", [False, True])
def test_rows_are_counted_unless_the_index_says_that_they_are_not(tmp_path: Path, counted: bool) -> None:
    def table(i: int, n: int) -> pd.DataFrame:
        more = [{"month": month} for month in range(n)]
        index = Case(x=i).make_multiindex(more, n_rows=n, include_sort_subindex=counted)
        return pd.DataFrame({"e": [float(i)] * n}, index=index)

    tables = gather_outputs(tmp_path, [{"t": table(0, 1)}, {"t": table(1, 3)}, {"t": table(2, 2)}])
    frame = pd.read_parquet(tables["t"])
    assert list(frame.index.names) == [*LEVELS, "month", *(["sort_subindex"] if counted else [])]
    assert list(frame.index.get_level_values("month")) == [0, 0, 1, 2, 0, 1]


def test_rows_are_counted_where_one_spec_has_them_counted(tmp_path: Path) -> None:
    index = Case(x=0).make_multiindex(n_rows=2, include_sort_subindex=False)
    tables = gather_outputs(
        tmp_path, [{"t": pd.DataFrame({"e": [1, 2]}, index=index)}, {"t": pl.DataFrame({"e": [3]})}]
    )
    assert list(pd.read_parquet(tables["t"]).index.get_level_values("sort_subindex")) == [0, 1, 0]


def test_rows_of_a_large_table_are_written_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tables_of(i: int) -> dict[str, Any]:
        rows = range(30 * i)
        frame = pd.DataFrame({"v": [10.0 * i + row for row in rows], "kind": [f"k{row % 3}" for row in rows]})
        return {"t": frame.astype({"kind": "category"})}

    written: list[tuple[str, int]] = []
    whole = gather_outputs(tmp_path / "whole", [tables_of(i) for i in range(4)])
    monkeypatch.setattr(writers_module, "_PIECE_BYTES", 500)
    write = TableFile.write

    def note(file: TableFile, table: pa.Table) -> None:
        written.append((file.path.stem, table.num_rows))
        write(file, table)

    monkeypatch.setattr(TableFile, "write", note)
    pieces = gather_outputs(tmp_path / "pieces", [tables_of(i) for i in range(4)])
    frame = pd.read_parquet(pieces["t"])
    sizes = [n_rows for name, n_rows in written if name == "t"]
    assert sum(sizes) == 180
    assert max(sizes) < 50
    assert list(frame["v"]) == [10.0 * i + row for i in range(4) for row in range(30 * i)]
    assert list(frame.index.get_level_values("sort_index")) == [i for i in range(4) for _ in range(30 * i)]
    assert list(frame.index.get_level_values("sort_subindex")) == [row for i in range(4) for row in range(30 * i)]
    pd.testing.assert_frame_equal(frame, pd.read_parquet(whole["t"]))


def test_categories_stay(tmp_path: Path) -> None:
    sizes = pd.CategoricalDtype(["small", "large", "huge"], ordered=True)

    def tables_of(i: int) -> dict[str, Any]:
        frame = pd.DataFrame(
            {
                "size": pd.Categorical(["large", None], dtype=sizes),
                "own": pd.Categorical(["a", f"b{i}"]),
                "mixed": pd.Categorical(["a", "b"]) if i else ["a", "c"],
                "number": pd.Categorical([3, 1]),
            }
        )
        groups = frame.groupby(pd.cut(frame["number"].astype(int), [0, 2, 5]), observed=False).size().to_frame("n")
        enum = pl.Enum(["x", "y"])
        polars = pl.DataFrame({"e": pl.Series(["y"], dtype=enum), "c": pl.Series([f"w{i}"], dtype=pl.Categorical)})
        arrow = pa.table({"d": pa.array(["u", "v"]).dictionary_encode()})
        return {"pandas": frame, "groups": groups, "polars": polars, "arrow": arrow}

    tables = gather_outputs(tmp_path, [tables_of(i) for i in range(3)])
    frame = pd.read_parquet(tables["pandas"])
    assert frame["size"].dtype == sizes
    assert frame["size"].astype(object).where(frame["size"].notna(), None).tolist() == ["large", None] * 3
    assert frame["own"].cat.categories.tolist() == ["a", "b0", "b1", "b2"]
    assert frame["own"].tolist() == ["a", "b0", "a", "b1", "a", "b2"]
    assert frame["mixed"].tolist() == ["a", "c", "a", "b", "a", "b"]
    assert not isinstance(frame["mixed"].dtype, pd.CategoricalDtype), "as pandas puts them below each other"
    assert frame["number"].tolist() == [3, 1] * 3
    level = pd.read_parquet(tables["groups"]).index.levels[-2]
    assert level.tolist() == ["(0, 2]", "(2, 5]"]
    assert level.dtype.ordered
    polars = pd.read_parquet(tables["polars"])
    assert polars["e"].cat.categories.tolist() == ["x", "y"]
    assert polars["c"].cat.categories.tolist() == ["w0", "w1", "w2"]
    assert pd.read_parquet(tables["arrow"])["d"].cat.categories.tolist() == ["u", "v"]
    assert pl.read_parquet(tables["arrow"])["d"].cast(pl.String).to_list() == ["u", "v"] * 3


def test_very_many_categories_are_those_that_are_there(tmp_path: Path) -> None:
    values = [f"value {n}" for n in range(3_000)]
    frame = pd.DataFrame({"c": pd.Categorical(values[:5], categories=values)})
    read = pd.read_parquet(gather_outputs(tmp_path, [{"t": frame}, {"t": frame}])["t"])
    assert read["c"].cat.categories.tolist() == values[:5]
    assert read["c"].tolist() == values[:5] * 2


def test_an_output_file_that_no_spec_has_is_no_column(tmp_path: Path) -> None:
    for folder, pictures, columns in (("none", [None, None], []), ("one", [None, "p.png"], ["picture"])):
        files = pd.read_parquet(gather_outputs(tmp_path / folder, [{}, {}], pictures)["result_file_refs"])
        assert list(files.columns) == columns
        assert list(files.index.get_level_values("sort_index")) == [0, 1]


def test_the_part_is_named_that_holds_outcomes_of_no_spec(tmp_path: Path) -> None:
    """Also where several small parts are read at once."""
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 10)
    for name, rows in (("a", range(4)), ("b", range(4, 8)), ("c", [8, 10])):
        write_part(storage, run, name, outcomes(rows))
    with Ledger.open(storage, run) as ledger:
        columns = sources_module.Columns.of(ledger.parts)
        with pytest.raises(StorageError, match=r"part c\.pq of the ledger is damaged: it holds outcomes that cannot"):
            list(merge_module.ranges_of(ledger.parts, columns, 10, 5, tmp_path))


def test_a_part_that_begins_before_it_says_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "_GROUP_ROWS", 1)
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 20)
    write_part(storage, run, "a", outcomes(range(10)))
    write_part(storage, run, "b", outcomes([3, 12]))
    with Ledger.open(storage, run) as ledger:
        parts = [ledger.parts[0], replace(ledger.parts[1], first=12)]
        ranges = merge_module.ranges_of(parts, sources_module.Columns.of(parts), 20, 10, tmp_path)
        assert next(ranges).good.height == 10
        with pytest.raises(StorageError, match=r"part b\.pq .* is damaged: its cases are not those in its name"):
            list(ranges)


def test_dataframes_that_wait_in_files_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "_ROWS_AT_ONCE", 5)
    monkeypatch.setattr(sources_module, "_GROUP_ROWS", 1)
    monkeypatch.setattr(merge_module, "_MAX_WAITING_BYTES", 0)
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 12)
    for name, rows in (("a", [0, 7, 2, 9]), ("b", [1, 5, 3, 8]), ("c", [4, 6])):
        write_part(storage, run, name, outcomes(rows, frame_rows=2))
    write_part(storage, run, "d", outcomes([11, 10], "failed"))
    result = gather(storage, run)
    monthly = pl.read_parquet(result.tables["monthly"])
    assert monthly.select("sort_index", "month", "e").rows() == [
        (i, month, float(i * month)) for i in range(10) for month in range(2)
    ]
    errors = pl.read_parquet(result.tables["errors"])
    assert errors.select("sort_index", "message").rows() == [(10, "bad 10"), (11, "bad 11")]
