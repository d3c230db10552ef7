from __future__ import annotations

import os
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scythe_cli.arrow.checksum import seal
from scythe_cli.core.records import StateCounts
from scythe_cli.errors import StorageError
from scythe_cli.run import ledger as ledger_module
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, LedgerWriter, merge_outcomes
from scythe_cli.run.outcomes.effective import counts_of, effective_outcomes
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, outcomes, write_part


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


def part_names(storage: Storage, run: RunLayout = LAYOUT) -> list[str]:
    return [f.name for f in storage.list_files(run.outcomes)]


def test_parts_are_written_when_it_is_time_and_less_often_in_long_runs(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: now[0])
    writer = LedgerWriter(storage, LAYOUT, "w", _started=0.0, _flushed=0.0)
    writer.add(outcomes([0]))
    assert part_names(storage) == []
    now[0] = 1.0
    writer.add(outcomes([1]))
    assert part_names(storage) == ["w-000001.pq"]
    now[0] = 1000.0
    writer.add(outcomes([2]))
    now[0] = 1005.0
    writer.add(outcomes([3]))
    assert len(part_names(storage)) == 2, "at 1000 s the interval is 10 s"
    now[0] = 1_000_000.0
    writer.flush_if_due()
    now[0] += 29.0
    writer.add(outcomes([4]))
    assert len(part_names(storage)) == 3
    now[0] += 1.5
    writer.flush_if_due()
    assert len(part_names(storage)) == 4, "the interval is never more than 30 s"
    writer.flush()
    assert len(part_names(storage)) == 4, "there is nothing to write"
    with Ledger.open(storage, LAYOUT) as ledger:
        assert sorted(ledger.outcomes()["sort_index"]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("limit", "value"), [("_MAX_PART_ROWS", 10), ("_MAX_PART_BYTES", 1000)])
def test_many_outcomes_are_written_at_once(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(ledger_module, limit, value)
    writer = LedgerWriter(storage, LAYOUT, "w")
    writer.add(outcomes(range(50)))
    assert part_names(storage) == ["w-000001.pq"]


@pytest.mark.parametrize("limit", ["_MAX_PART_ROWS", "_MAX_PART_BYTES"])
def test_a_part_is_written_when_all_at_hand_are_as_many(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    some = outcomes([0])
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(ledger_module, limit, 3 * (some.num_rows if limit.endswith("ROWS") else some.nbytes))
    writer = LedgerWriter(storage, LAYOUT, "w")
    for n_parts in (0, 0, 1, 1, 1, 2):
        writer.add(some)
        assert len(part_names(storage)) == n_parts


def test_a_part_is_written_after_a_hundredth_of_the_time(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [990.0]
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: now[0])
    writer = LedgerWriter(storage, LAYOUT, "w", _started=500.0, _flushed=990.0)
    writer.add(outcomes([0]))
    now[0] = 994.94  # 4.94 s after the last one, and the interval is 4.9494 s
    writer.flush_if_due()
    assert part_names(storage) == []
    now[0] = 994.96
    writer.flush_if_due()
    assert part_names(storage) == ["w-000001.pq"]


def test_a_part_with_large_tables_has_its_name_as_well(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_LARGE_BYTES", 10)
    write_part(storage, LAYOUT, "large", outcomes([0, 1], frame_rows=3))
    assert part_names(storage) == ["large.pq"]
    with Ledger.open(storage, LAYOUT, thorough=True) as ledger:
        assert (ledger.damaged, ledger.parts[0].n_rows) == ([], 2)


def test_outcomes_say_where_they_are_from(storage: Storage) -> None:
    with Ledger.open(storage, LAYOUT) as ledger:
        none = ledger.outcomes()
    write_part(storage, LAYOUT, "a", outcomes([3, 0]))
    write_part(storage, LAYOUT, "b", outcomes([1]))
    with Ledger.open(storage, LAYOUT) as ledger:
        some = ledger.outcomes()
        assert [part.first for part in ledger.parts] == [0, 1]
    assert some.select("sort_index", "part", "row").rows() == [(3, 0, 0), (0, 0, 1), (1, 1, 0)]
    assert (none.height, none.schema) == (0, some.schema)
    with Ledger.open(storage, LAYOUT) as ledger:
        # no run has an outcome of a spec that it has not
        assert ledger.outcomes(2)["sort_index"].to_list() == [1]
        assert ledger.damaged == ["a.pq"]


def test_a_byte_that_is_another_is_noticed_when_its_column_is_read(storage: Storage) -> None:
    write_part(storage, LAYOUT, "a", outcomes(range(500)))
    path = storage.local_path(LAYOUT.outcome_part("a"))
    assert path is not None
    whole = path.read_bytes()
    metadata = pq.read_metadata(path).row_group(0)
    column = next(metadata.column(i) for i in range(20) if metadata.column(i).path_in_schema == "duration_s")
    end = column.data_page_offset + column.total_compressed_size
    for at in range(end - 10, end):  # before them is the header of the page
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with Ledger.open(storage, LAYOUT) as ledger:
            assert (ledger.outcomes().height, ledger.damaged) == (0, ["a.pq"]), at


def test_levels_of_tables_are_kept_when_parts_are_stacked() -> None:
    plain, more = outcomes([0], frame_rows=1), outcomes([1], frame_rows=1, feature=True)
    (merged,) = merge_outcomes([plain, more])
    assert merged.column("sort_index").to_pylist() == [0, 1]
    assert merged.schema.field("frame:monthly").metadata == plain.schema.field("frame:monthly").metadata
    assert sorted(merged.schema.names) == sorted(more.schema.names)
    # whichever comes first, where a table has levels in some specs alone
    index = plain.schema.get_field_index("frame:monthly")
    bare = plain.set_column(index, plain.schema.field(index).remove_metadata(), plain.column(index))
    told = [
        merge_outcomes(tables)[0].schema.field("frame:monthly").metadata for tables in ([plain, bare], [bare, plain])
    ]
    assert told[0] == told[1]


def test_outcomes_of_other_code_say_so(storage: Storage) -> None:
    writer = LedgerWriter(storage, LAYOUT, "w", code="abc")
    writer.add(outcomes([0, 1]))
    writer.flush()
    with Ledger.open(storage, LAYOUT) as ledger:
        assert pq.ParquetFile(ledger.parts[0].path).read().column("code").to_pylist() == ["abc", "abc"]


def test_damaged_parts_are_told_from_what_somebody_put_there(storage: Storage, tmp_path: Path) -> None:
    names = [f"local-20260101T000000-0000000{i}" for i in range(6)]
    own, cut, foreign, linked, empty, good = names
    for name in (own, cut, good, "mine"):
        write_part(storage, LAYOUT, name, outcomes([0]))
    whole = {name: storage.read_bytes(LAYOUT.outcome_part(name)) for name in (own, cut)}
    storage.write_bytes(LAYOUT.outcome_part(own), whole[own][:-30] + bytes([whole[own][-30] ^ 1]) + whole[own][-29:])
    storage.write_bytes(LAYOUT.outcome_part(cut), whole[cut][:20])
    storage.write_bytes(LAYOUT.outcome_part("mine"), whole[cut][:20])
    storage.write_bytes(LAYOUT.outcome_part(foreign), b"something else")
    storage.write_bytes(LAYOUT.outcome_part(empty), b"")
    folder = storage.local_path(LAYOUT.outcomes)
    assert folder is not None
    (folder / f"{linked}.pq").symlink_to(tmp_path / "elsewhere")
    (folder / "notes.txt").symlink_to(tmp_path / "elsewhere")
    with Ledger.open(storage, LAYOUT) as ledger:
        assert sorted(ledger.damaged) == sorted(f"{name}.pq" for name in (own, cut, foreign, linked, empty, "mine"))
        ours, others = ledger.own_and_foreign()
    assert sorted(ours) == sorted(f"{name}.pq" for name in (own, cut, empty))
    assert sorted(others) == sorted(f"{name}.pq" for name in (foreign, linked, "mine"))
    with Ledger.open(storage, LAYOUT, names=[f"{good}.pq"]) as ledger:
        assert (ledger.names, ledger.damaged) == ([f"{good}.pq"], [])


def test_outcomes_are_still_there_after_a_write_that_failed(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LedgerWriter(storage, LAYOUT, "w")
    writer.add(outcomes([0, 1]))
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise StorageError("no space is left on the device")

        patch.setattr(type(storage), "write_bytes", full)
        with pytest.raises(StorageError, match="no space"):
            writer.flush()
    writer.flush()
    with Ledger.open(storage, LAYOUT) as ledger:
        assert ledger.outcomes()["sort_index"].to_list() == [0, 1]


def test_columns_that_contradict_each_other_are_kept_in_parts_of_their_own() -> None:
    a = outcomes([0]).append_column("feature:f", pa.array([1]))
    b = outcomes([1]).append_column("feature:f", pa.array(["text"]))
    merged = merge_outcomes([a, b, a, outcomes([]), b])
    assert [table.num_rows for table in merged] == [2, 2]


def test_a_replayed_part_counts_once(storage: Storage) -> None:
    for _ in range(2):
        write_part(storage, LAYOUT, "n0", outcomes([0, 1]))
    write_part(storage, LAYOUT, "n0-again", outcomes([1, 2]))
    with Ledger.open(storage, LAYOUT) as ledger:
        assert counts_of(effective_outcomes(ledger.outcomes()), 5) == StateCounts(succeeded=3, pending=2)


@pytest.mark.parametrize("n", [0, 3, 4, 100, -1])
def test_a_part_that_was_cut_anywhere_is_damaged_and_the_others_are_read(storage: Storage, n: int) -> None:
    write_part(storage, LAYOUT, "a", outcomes([0]))
    write_part(storage, LAYOUT, "b", outcomes([1]))
    key = LAYOUT.outcome_part("a")
    storage.write_bytes(key, storage.read_bytes(key)[:n])
    with Ledger.open(storage, LAYOUT) as ledger:
        assert ledger.damaged == ["a.pq"]
        assert ledger.outcomes()["sort_index"].to_list() == [1]


def test_a_part_is_ours_or_damaged(storage: Storage) -> None:
    """Also one that could be read: who knows what wrote it, and whether it was all."""
    buffer = pa.BufferOutputStream()
    pq.write_table(outcomes([0]), buffer)
    storage.write_bytes(LAYOUT.outcome_part("foreign"), buffer.getvalue().to_pybytes())
    write_part(storage, LAYOUT, "own", outcomes([1]))
    with Ledger.open(storage, LAYOUT) as ledger:
        assert ledger.damaged == ["foreign.pq"]
        assert ledger.outcomes()["sort_index"].to_list() == [1]
    with pytest.raises(ValueError, match="not written to be sealed"):
        seal(memoryview(bytearray(buffer.getvalue())))


def test_a_part_whose_description_is_long_is_read(storage: Storage) -> None:
    table = outcomes([0])
    for i in range(1000):
        table = table.append_column(f"out:a_column_with_a_rather_long_name_{i}", pa.array([float(i)]))
    write_part(storage, LAYOUT, "wide", table)
    path = storage.local_path(LAYOUT.outcome_part("wide"))
    assert path is not None
    whole = path.read_bytes()
    assert int.from_bytes(whole[-8:-4], "little") > 1 << 16
    with Ledger.open(storage, LAYOUT, thorough=True) as ledger:
        assert ledger.damaged == []
        assert ledger.outcomes().height == 1
    path.write_bytes(whole[:-100_000] + bytes([whole[-100_000] ^ 1]) + whole[-99_999:])
    with Ledger.open(storage, LAYOUT) as ledger:
        assert ledger.damaged == ["wide.pq"]


def test_sealed_parts_are_plain_parquet_for_other_readers(storage: Storage) -> None:
    write_part(storage, LAYOUT, "a", outcomes(range(5), frame_rows=2))
    path = storage.local_path(LAYOUT.outcome_part("a"))
    assert path is not None
    assert pl.read_parquet(path, glob=False)["sort_index"].to_list() == list(range(5))
    assert duckdb.sql(f"select sum(sort_index) from read_parquet('{path}')").fetchall() == [(10,)]
    assert pq.read_table(path, partitioning=None).num_rows == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_part_that_may_not_be_read_is_not_taken_for_damaged(storage: Storage) -> None:
    write_part(storage, LAYOUT, "a", outcomes([0]))
    path = storage.local_path(LAYOUT.outcome_part("a"))
    assert path is not None
    path.chmod(0)
    with pytest.raises(StorageError, match=r"cannot read .*: Permission denied"), Ledger.open(storage, LAYOUT):
        pass


def test_a_refused_read_is_not_taken_for_damage(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    write_part(storage, LAYOUT, "a", outcomes([0]))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    with pytest.raises(StorageError, match="Input/output error"), Ledger.open(storage, LAYOUT):
        pass
