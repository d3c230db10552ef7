"""What is said of final tables, which ones are there, and when none is made."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.model.outcome_schema import WARNINGS
from scythe_cli.run.final import gather as gather_module
from scythe_cli.run.final.gather import Known, OutcomesMissingError, gather
from scythe_cli.run.outcomes.part_list import note_writer
from scythe_cli.run.outcomes.summary import read_summary
from scythe_cli.storage.opening import open_storage
from tests.made_runs import make_run, outcomes, write_part
from tests.served_storage import ServedStorage

Said = tuple[str, str, str]


def warned(table: pa.Table, *cells: list[Said] | None) -> pa.Table:
    """Outcomes with what of each spec could not be kept as it was."""
    type_ = pa.list_(pa.struct([("field", pa.string()), ("what", pa.string()), ("why", pa.string())]))
    names = ("field", "what", "why")
    told = [None if each is None else [dict(zip(names, said, strict=True)) for said in each] for each in cells]
    return table.append_column(WARNINGS, pa.array(told, type_))


def test_what_could_not_be_kept_is_a_table_and_the_most_frequent_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather_module, "_ROWS_AT_ONCE", 3)
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 9)
    text: Said = ("y", "kept as text", "it is too large")
    many: list[Said] = [(f"f{i}", "left out", "it has no type") for i in range(6)]
    write_part(storage, run, "a", warned(outcomes([0, 1, 2, 3]), [text], None, [many[0], text], []))
    write_part(storage, run, "b", outcomes([4, 5]))
    write_part(storage, run, "c", warned(outcomes([6, 7]), many, [*many[:4], ("y", "dropped", "it is old")]))
    write_part(storage, run, "d", warned(outcomes([8], "failed"), [text]))

    result = gather(storage, run)

    warnings = pl.read_parquet(result.tables["warnings"])
    assert warnings.columns == ["sort_index", "field", "what", "why"]
    assert warnings.rows() == [
        (0, *text),
        (2, *many[0]),
        (2, *text),
        *((6, *each) for each in many),
        *((7, *each) for each in many[:4]),
        (7, "y", "dropped", "it is old"),
    ]
    assert result.n_warnings == 14
    assert result.notices == [
        "f0: left out, since it has no type (3 cases)",
        "y: kept as text, since it is too large (2 cases)",
        "f1: left out, since it has no type (2 cases)",
        "f2: left out, since it has no type (2 cases)",
        "f3: left out, since it has no type (2 cases)",
        "3 more warnings are in the table warnings",
    ]


def test_one_case_is_a_case_and_kinds_beyond_a_number_are_not_counted_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather_module, "_MAX_KINDS", 2)
    monkeypatch.setattr(gather_module, "_ROWS_AT_ONCE", 1)
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 4)
    kinds: list[Said] = [("a", "cut", "it is long"), ("b", "cut", "it is long"), ("c", "cut", "it is long")]
    cells = [[kinds[0]], [kinds[1], kinds[2]], [kinds[2]], [kinds[1]]]
    write_part(storage, run, "a", warned(outcomes(range(4)), *cells))
    result = gather(storage, run)
    assert result.notices == [
        "b: cut, since it is long (2 cases)",
        "a: cut, since it is long (1 case)",
        "2 more warnings are in the table warnings",
    ]


def test_a_table_of_the_user_may_be_called_warnings(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 1)
    table = warned(outcomes([0]), [("y", "kept as text", "it is too large")])
    write_part(storage, run, "a", table.append_column("frame:warnings", pa.array([[{"v": 7}]])))
    result = gather(storage, run)
    assert pl.read_parquet(result.tables["warnings"])["v"].to_list() == [7]
    assert (result.n_warnings, result.notices) == (0, [])


def test_columns_that_are_called_like_levels_get_other_names(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 2)
    cells = pa.array([[{"x": 1.0, "output_x": 2.0, "sort_subindex": 3.0, "e": 4.0}]] * 2)
    table = outcomes([0, 1]).append_column("frame:t", cells).append_column("out:label", pa.array(["p", "q"]))
    write_part(storage, run, "a", table)
    result = gather(storage, run)
    frame, scalars = (pl.read_parquet(result.tables[name]) for name in ("t", "scalars"))
    assert frame["output_output_x"].to_list() == [1.0, 1.0]
    assert (frame["output_x"].to_list(), frame["output_sort_subindex"].to_list()) == ([2.0, 2.0], [3.0, 3.0])
    assert (frame["x"].to_list(), scalars["label"].to_list()) == ([0.0, 1.0], ["q", "q"])
    assert scalars["output_label"].to_list() == ["p", "q"]
    assert sorted(result.notices) == [
        "the column label of scalars is called output_label: label is a level of its index",
        "the column sort_subindex of t is called output_sort_subindex: sort_subindex is a level of its index",
        "the column x of t is called output_output_x: x is a level of its index",
    ]


def test_tables_of_an_earlier_gather_go_and_others_are_told_where_they_are(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 3)
    write_part(storage, run, "a", outcomes([0], frame_rows=1))
    for name in ("old.pq", "notes.txt", "scalars.pq"):
        storage.write_bytes(run.key("final", name), b"")
    gathered: list[int] = []
    result = gather(storage, run, on_rows=gathered.append)
    assert [file.name for file in storage.list_files(run.final)] == [f"{name}.pq" for name in sorted(result.tables)]
    assert result.tables == {name: storage.uri(run.table(name)) for name in result.tables}
    assert sorted(result.tables) == ["errors", "monthly", "result_file_refs", "scalars"]
    assert gathered == [3]
    summary = read_summary(storage, run)
    assert summary is not None
    assert (summary.counts, summary.tables) == (StateCounts(succeeded=1, pending=2), sorted(result.tables))


def test_tables_can_be_made_elsewhere_and_the_run_stays_as_it_is(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 2)
    write_part(storage, run, "a", outcomes([0, 1]))
    before = {key: storage.read_bytes(key) for key in storage.list_tree("")}
    (tmp_path / "into").mkdir()
    result = gather(storage, run, tmp_path / "into")
    assert result.tables["scalars"] == str(tmp_path / "into" / "scalars.pq")
    assert pl.read_parquet(result.tables["scalars"])["y"].to_list() == [0.0, 1.0]
    assert {key: storage.read_bytes(key) for key in storage.list_tree("")} == before


def test_scalars_are_the_last_table_to_appear(tmp_path: Path) -> None:
    put: list[str] = []

    class Noting(ServedStorage):
        __slots__ = ()

        def take_file(self, local_path: Path, key: str) -> None:
            put.append(Path(key).stem)
            super().take_file(local_path, key)

    storage = Noting(tmp_path / "served")
    run = make_run(storage, tmp_path, 1)
    write_part(storage, run, "a", outcomes([0], frame_rows=1).append_column("frame:z", pa.array([[{"v": 1}]])))
    gather(storage, run)
    assert len(put) == 5
    assert put[-1] == "scalars"


class TestMissing:
    """A storage that lists late, or that has lost something."""

    @pytest.fixture
    def storage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServedStorage:
        monkeypatch.setattr(gather_module, "LISTS_LAG_S", 0)
        return ServedStorage(tmp_path / "served")

    def run_of(self, storage: ServedStorage, tmp_path: Path) -> Any:
        run = make_run(storage, tmp_path, 1_500)
        write_part(storage, run, "a", outcomes([0, 1]))
        return run

    @pytest.mark.parametrize(
        ("known", "message"),
        [
            (Known(3), "1 outcome was written to {}, and cannot be found there"),
            (Known(1_402), "1,400 outcomes were written to {}, and cannot be found there"),
            (Known(2, ["a.pq", "c.pq", "b.pq"]), "part b.pq was written to {}, and cannot be found there"),
        ],
    )
    def test_no_table_is_made_of_less_than_there_is(
        self, storage: ServedStorage, tmp_path: Path, known: Known, message: str
    ) -> None:
        run = self.run_of(storage, tmp_path)
        with pytest.raises(OutcomesMissingError) as missing:
            gather(storage, run, known=known)
        assert missing.value.message == message.format(storage.uri(run.outcomes))
        assert missing.value.hint == (
            "No table was made. The storage lists late what it has taken, or has lost it: `scythe retry` looks again, "
            "and runs what is missing."
        )
        assert storage.list_files(run.final) == []

    def test_as_much_as_is_known_is_enough(self, storage: ServedStorage, tmp_path: Path) -> None:
        run = self.run_of(storage, tmp_path)
        write_part(storage, run, "b", outcomes([2], "failed"))
        storage.late.add(run.outcome_part("b"))
        assert gather(storage, run).counts == StateCounts(succeeded=2, pending=1_498)
        # by its name it is found, whatever is listed
        assert gather(storage, run, known=Known(3, ["b.pq"])).counts == StateCounts(
            succeeded=2, failed=1, pending=1_497
        )

    def test_a_part_that_is_damaged_is_told_as_that(self, storage: ServedStorage, tmp_path: Path) -> None:
        run = self.run_of(storage, tmp_path)
        storage.write_bytes(run.outcome_part("b"), b"")
        assert gather(storage, run, known=Known(5, ["b.pq"])).damaged == ["b.pq"]

    def test_the_ledger_is_read_again_until_all_is_there(
        self, storage: ServedStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = self.run_of(storage, tmp_path)
        write_part(storage, run, "b", outcomes([2]))
        storage.late.add(run.outcome_part("b"))
        waited: list[float] = []

        def wait(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 7:
                storage.late.clear()

        monkeypatch.setattr(gather_module, "LISTS_LAG_S", 60)
        monkeypatch.setattr("tenacity.nap.time.sleep", wait)
        assert gather(storage, run, known=Known(3)).counts.succeeded == 3
        assert waited == [0.25, 0.5, 1, 2, 4, 5, 5]

    def test_who_wrote_is_forgotten_when_the_run_has_ended(self, storage: ServedStorage, tmp_path: Path) -> None:
        run = make_run(storage, tmp_path, 2)
        note_writer(storage, run, "w")
        write_part(storage, run, "w-000001", outcomes([0]))
        gather(storage, run)
        assert storage.exists(run.writers)
        write_part(storage, run, "w-000002", outcomes([1]))
        storage.late.add(run.outcome_part("w-000002"))
        gather(storage, run)
        assert storage.exists(run.writers)
        storage.late.clear()
        result = gather(storage, run)
        assert not storage.exists(run.writers)
        scalars = pl.read_parquet(io.BytesIO(storage.read_bytes(run.table("scalars"))))
        assert (result.counts.succeeded, scalars.height) == (2, 2)


def test_outcomes_that_are_known_to_be_too_many_are_not_missed(tmp_path: Path) -> None:
    """What is known is the least that there must be."""
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 3)
    write_part(storage, run, "a", outcomes([0, 1, 2]))
    assert gather(storage, run, known=Known(1, ["a.pq"])).counts == StateCounts(succeeded=3)


def test_of_several_outcomes_of_a_spec_the_first_success_is_in_the_tables(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 3)
    write_part(storage, run, "a", outcomes([0, 1], shift=0.1))
    write_part(storage, run, "b", outcomes([0, 2], "failed", attempt=2))
    write_part(storage, run, "c", outcomes([0, 1], attempt=3, shift=0.3))
    write_part(storage, run, "d", outcomes([2], "timeout", attempt=3))
    tables = gather(storage, run).tables
    assert pl.read_parquet(tables["scalars"]).select("sort_index", "y").rows() == [(0, 0.1), (1, 1.1)]
    assert pl.read_parquet(tables["errors"]).select("sort_index", "state", "attempt").rows() == [(2, "timeout", 3)]


def test_of_two_outcomes_that_count_as_much_the_first_in_the_ledger_does(tmp_path: Path) -> None:
    """Whichever part is read first: that of the first spec is."""
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 2)
    write_part(storage, run, "a", outcomes([1], "failed", error_type="first"))
    write_part(storage, run, "b", outcomes([0, 1], "failed", error_type="second"))
    errors = pl.read_parquet(gather(storage, run).tables["errors"])
    assert errors.select("sort_index", "error_type").rows() == [(0, "second"), (1, "first")]
