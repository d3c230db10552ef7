"""Two at work on one run: who reads it gets what was true at one moment, or a short error, whatever the other does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.analysis.results import fetching
from scythe_cli.analysis.run import Run
from scythe_cli.errors import ScytheError
from scythe_cli.run.catalog import find_run
from scythe_cli.run.final.gather import gather
from scythe_cli.run.stored_run import StoredRun
from scythe_cli.services.runs.listing import run_records, version_records
from scythe_cli.storage.base import Storage
from scythe_cli.storage.local import LocalStorage
from tests.fuzzing import cases, check_message
from tests.lockstep import Lockstep
from tests.made_runs import LAYOUT, make_run, outcomes, write_part

N_SPECS = 6
GOOD, BAD = [0, 1, 2, 4], [3, 5]

orders = st.lists(st.integers(0, 3), max_size=40)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose specs 3 and 5 have failed."""
    folder = tmp_path_factory.mktemp("template")
    storage = LocalStorage(folder / "runs")
    make_run(storage, folder / "scratch", N_SPECS)
    write_part(storage, LAYOUT, "first", outcomes(GOOD, frame_rows=2))
    write_part(storage, LAYOUT, "bad", outcomes(BAD, "failed"))
    gather(storage, LAYOUT)
    return folder / "runs"


def copied(template: Path, folder: Path) -> LocalStorage:
    shutil.copytree(template, folder / "runs")
    return LocalStorage(folder / "runs")


def retry(storage: Storage) -> None:
    """What a retry does to the run: spec 3 succeeds, then spec 5, and the tables are made anew."""
    write_part(storage, LAYOUT, "again-3", outcomes([3], attempt=2, frame_rows=2))
    write_part(storage, LAYOUT, "again-5", outcomes([5], attempt=2, frame_rows=2))
    gather(storage, LAYOUT)


def check_whole(folder: Path) -> None:
    """Each spec is in the tables once, and all tables are of one moment."""
    good = pl.read_parquet(folder / "scalars.pq")["sort_index"].to_list()
    bad = pl.read_parquet(folder / "errors.pq")["sort_index"].to_list()
    frames = pl.read_parquet(folder / "monthly.pq")["sort_index"].unique().sort().to_list()
    assert sorted([*good, *bad]) == list(range(N_SPECS))
    assert frames == good
    assert pl.read_parquet(folder / "result_file_refs.pq")["sort_index"].to_list() == good


@cases(30)
@given(order=orders)
def test_tables_that_are_fetched_beside_a_retry_belong_together(template: Path, order: list[int]) -> None:
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patched:
        folder = Path(scratch)
        storage = copied(template, folder)
        with Lockstep(storage, retry, order) as both:
            # the time between two tries is enough for the other to end
            patched.setattr(fetching, "sleep", lambda seconds: both.finish() if seconds else None)
            run = Run(both.storage, LAYOUT)
            run.fetch(folder / "out")
            check_whole(folder / "out")
        run = Run(storage, LAYOUT)
        run.fetch(folder / "out", overwrite=True)  # and what is fetched later is what is there then
        check_whole(folder / "out")
        assert not pl.read_parquet(folder / "out" / "errors.pq").height


def test_tables_of_two_gathers_are_not_taken_for_those_of_one(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gather that was killed between two tables leaves some of before, and some of after."""
    monkeypatch.setattr(fetching, "sleep", lambda _: None)
    storage = copied(template, tmp_path)
    old = tmp_path / "runs" / LAYOUT.table("scalars")
    shutil.copy2(old, tmp_path / "old.pq")
    retry(storage)
    shutil.copy2(tmp_path / "old.pq", old)

    with pytest.raises(ScytheError, match="do not belong together") as error:
        Run(storage, LAYOUT).fetch(tmp_path / "out")

    check_message(error.value)
    assert "scythe retry" in (error.value.hint or "")
    assert not StoredRun(storage, LAYOUT).tables_are_current(), "a retry would leave them as they are"
    Run(storage, LAYOUT).fetch(tmp_path / "one", tables=["scalars"])
    Run(storage, LAYOUT).fetch(tmp_path / "now", partial=True)
    check_whole(tmp_path / "now")


@cases(20)
@given(order=orders)
def test_a_gather_beside_a_retry_is_of_one_moment(template: Path, order: list[int]) -> None:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        storage = copied(template, folder)
        (folder / "into").mkdir()
        with Lockstep(storage, retry, order) as both:
            result = gather(both.storage, LAYOUT, into=folder / "into")
        check_whole(folder / "into")
        assert result.counts.total == N_SPECS
        assert not result.damaged


READERS: dict[str, Callable[[Run, Path], Any]] = {
    "status": lambda run, _: run.status(),
    "errors": lambda run, _: run.errors(),
    "scalars": lambda run, _: run.scalars(),
    "pandas": lambda run, _: run.to_pandas("monthly"),
    "show": lambda run, _: run.show("scalars"),
    "tables": lambda run, _: run.tables(),
    "query": lambda run, _: run.query("select count(*) from scalars"),
    "tidy": lambda run, _: run.tidy("monthly").collect(),
    "diff": lambda run, _: run.diff(run),
    "fetch": lambda run, out: run.fetch(out),
    "fetch files": lambda run, out: run.fetch(out, files=True),
    "fetch partial": lambda run, out: run.fetch(out, partial=True, format="csv"),
    "runs": lambda run, _: run_records(run.storage),
    "versions": lambda run, _: version_records(run.storage),
    "find": lambda run, _: find_run(run.storage, "latest"),
    "record": lambda run, _: run.record(),
}


def removal(order: Sequence[int]) -> Callable[[Storage], None]:
    """Remove the files of the run one by one, in an order of its own, and then its folders."""

    def remove(storage: Storage) -> None:
        keys = sorted(storage.list_tree(LAYOUT.experiment_id))
        for n in order:
            storage.delete(keys.pop(n % len(keys)))
            if not keys:
                break
        storage.delete_tree(LAYOUT.experiment_id)

    return remove


@pytest.mark.parametrize("reader", READERS)
@cases(8, at_night=1_000)
@given(order=orders, removed=st.lists(st.integers(0, 30), max_size=20))
def test_a_run_that_is_deleted_while_it_is_read(
    template: Path, reader: str, order: list[int], removed: list[int]
) -> None:
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patched:
        folder = Path(scratch)
        patched.setattr(fetching, "sleep", lambda _: None)
        storage = copied(template, folder)
        out = folder / "out"
        try:
            with Lockstep(storage, removal(removed), order) as both:
                READERS[reader](Run(both.storage, LAYOUT), out)
        except ScytheError as error:
            check_message(error)
        unfinished = [path.name for path in out.glob("*") if path.name not in _WHOLE] if out.exists() else []
        assert not unfinished
        assert not storage.list_tree(LAYOUT.experiment_id)


_WHOLE = {f"{name}.{end}" for name in ("scalars", "errors", "monthly", "result_file_refs") for end in ("pq", "csv")} | {
    ".scythe-fetched"
}
