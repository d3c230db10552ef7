from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.core.records import StateCounts
from scythe_cli.core.semver import SemVer
from scythe_cli.errors import NotFoundError, StorageError, UsageError
from scythe_cli.run.catalog import find_run, list_experiments
from scythe_cli.run.final.gather import gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.outcomes.standings import Standings
from scythe_cli.run.status import notice_of, pace
from scythe_cli.run.versions import list_versions
from scythe_cli.services.runs.listing import run_records, version_records
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.made_runs import make_run, outcomes, write_part


def layout(experiment: str, version: str, second: int = 0) -> RunLayout:
    return RunLayout(experiment, SemVer.FromString(version), datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


@pytest.fixture
def store(storage: Storage, tmp_path: Path) -> Storage:
    """Three experiments; foreign folders at every level."""
    for run in (
        layout("energy", "v1.0.0", 1),
        layout("energy", "v1.10.0", 2),
        layout("energy", "v1.10.0", 3),
        layout("energy", "v1.9.0", 50),
        layout("engine", "v1.0.0", 4),
        layout("solar", "v2.0.0", 9),
    ):
        make_run(storage, tmp_path / "scratch", 4, run)
    for key in ("readme.txt", "notes/a/b.txt", "energy/tmp/x", "energy/v1.2.3.9/x", "energy/v1.0.0/latest/x"):
        storage.write_bytes(key, b"")
    return storage


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("latest", "solar/v2.0.0/2026-01-01_00-00-09"),
        ("energy", "energy/v1.10.0/2026-01-01_00-00-03"),
        ("ener", "energy/v1.10.0/2026-01-01_00-00-03"),
        ("energy/v1.9.0", "energy/v1.9.0/2026-01-01_00-00-50"),
        ("energy/v1.0", "energy/v1.0.0/2026-01-01_00-00-01"),
        ("energy/v1.10.0/2026-01-01_00-00-02", "energy/v1.10.0/2026-01-01_00-00-02"),
        ("energy/v1.0.0/2026", "energy/v1.0.0/2026-01-01_00-00-01"),
        ("solar/", "solar/v2.0.0/2026-01-01_00-00-09"),
    ],
)
def test_references(store: Storage, reference: str, expected: str) -> None:
    assert find_run(store, reference).experiment_id == expected


def test_whole_uri_is_a_reference(store: Storage) -> None:
    run = layout("energy", "v1.0.0", 1)
    assert find_run(store, store.uri(run.experiment_id)) == run


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("en", "matches more than one experiment: energy, engine"),
        ("energy/v1.", "matches more than one version of energy"),
        ("energy/v1.10.0/2026", "matches more than one run of energy/v1.10.0"),
        ("enrgy", "no experiment is called 'enrgy'(.|\n)*Did you mean 'energy'"),
        ("energy/v3.0.0", "no version of energy is called 'v3.0.0'"),
        ("a/b/c/d", "is not a run"),
        ("v1.0.0", "is a version, not a run\nA version comes after its experiment, as in"),
        ("../energy", "no experiment is called"),
    ],
)
def test_references_that_fit_nothing(store: Storage, reference: str, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        find_run(store, reference)


def test_empty_store(storage: Storage) -> None:
    with pytest.raises(NotFoundError, match="there are no runs in"):
        find_run(storage, "latest")
    assert run_records(storage) == []
    assert version_records(storage) == []


def test_listings_are_newest_first_and_ignore_foreign_folders(store: Storage) -> None:
    assert list_experiments(store) == ["energy", "engine", "solar"]
    assert [str(v) for v in list_versions(store, "energy")] == ["v1.0.0", "v1.9.0", "v1.10.0"]
    assert [(r.version, r.n_runs) for r in version_records(store, "energy")] == [
        ("v1.10.0", 2),
        ("v1.9.0", 1),
        ("v1.0.0", 1),
    ]
    stamps = [r.timestamp for r in run_records(store)]
    assert stamps == sorted(stamps, reverse=True)
    with pytest.raises(NotFoundError, match="has no runs of 'wind'"):
        run_records(store, "wind")


def test_status_counts_and_notices(store: Storage) -> None:
    run = Run(store, layout("solar", "v2.0.0", 9))
    assert run.status().counts == StateCounts(pending=4)
    write_part(store, run.layout, "a", outcomes([0, 1]))
    write_part(store, run.layout, "b", outcomes([2], "crashed"))

    status = run.status()

    assert status.counts == StateCounts(succeeded=2, crashed=1, pending=1)
    assert not status.gathered
    assert status.rate_per_s is not None
    assert status.eta_s is not None
    write_part(store, run.layout, "c", outcomes([3], "failed"))
    assert "being written" in (run.status().notice or "")
    gather(store, run.layout)
    status = run.status()
    assert status.gathered
    assert status.notice is None
    assert set(status.tables) == {"errors", "result_file_refs", "scalars"}


def test_what_failed_and_is_to_be_tried_again_is_pending_and_failing(store: Storage) -> None:
    run = Run(store, layout("solar", "v2.0.0", 9))
    write_part(store, run.layout, "a", outcomes([0, 1, 2], "failed", final=False))
    write_part(store, run.layout, "b", outcomes([0], attempt=2))
    write_part(store, run.layout, "c", outcomes([1], "crashed", attempt=2, final=False))

    status, errors = run.status(), run.errors(limit=1)

    assert (status.counts, status.failing) == (StateCounts(succeeded=1, pending=3), 2)
    assert (errors.groups, errors.errors) == ([], [])
    assert [(g.state, g.rows) for g in errors.failing] == [("crashed", [1]), ("failed", [2])]
    assert [(e.sort_index, e.attempt) for e in errors.failing_errors] == [(1, 2)]


def test_errors_are_grouped(store: Storage) -> None:
    run = Run(store, layout("solar", "v2.0.0", 9))
    write_part(store, run.layout, "a", outcomes([0, 2], "failed"))
    write_part(store, run.layout, "b", outcomes([1], "failed", error_type="ValueError"))

    errors = run.errors(limit=1)

    assert [(g.error_type, g.count, g.rows, g.place) for g in errors.groups] == [
        ("KeyError", 2, [0, 2], "m.py:7 in f"),
        ("ValueError", 1, [1], "m.py:7 in f"),
    ]
    assert [e.sort_index for e in errors.errors] == [0]
    assert errors.counts.pending == 1


def test_tables_are_shown_and_fetched(store: Storage, tmp_path: Path) -> None:
    run = Run(store, layout("solar", "v2.0.0", 9))
    write_part(store, run.layout, "a", outcomes(range(4), frame_rows=2))
    gather(store, run.layout)

    assert {t.name: t.n_rows for t in run.tables()} == {
        "errors": 0,
        "monthly": 8,
        "result_file_refs": 4,
        "scalars": 4,
    }
    summary = run.show("scalars", rows=2)
    assert summary.n_rows == 4
    assert [row["y"] for row in summary.head] == [0.0, 1.0]
    y = next(column for column in summary.columns if column.name == "y")
    assert (y.min, y.max, y.is_index, y.n_null) == (0.0, 9.0, False, 0)
    assert run.scalars()["y"].to_list() == [0.0, 1.0, 4.0, 9.0]
    stored, plain = run.to_pandas("monthly", ids=True), run.to_pandas("monthly")
    assert stored.index.names[-1] == "sort_subindex"
    assert plain.index.names == ["sort_index", "month", "sort_subindex"]
    ids = ["experiment_id", "workflow_run_id", "root_workflow_run_id"]
    inputs = [name for name in stored.index.names if name not in (*ids, *plain.index.names)]
    pd.testing.assert_frame_equal(plain, stored.droplevel(ids).reset_index(inputs))
    assert run.to_pandas().index.names == ["sort_index"]
    dest = tmp_path / "out"
    fetched = run.fetch(dest, tables=["scalars", "monthly"], format="csv")
    assert [Path(f.path).name for f in fetched] == ["scalars.csv", "monthly.csv"]
    assert pl.read_csv(dest / "monthly.csv")["e"].sum() == 6.0
    run.fetch(dest)
    pd.testing.assert_frame_equal(pd.read_parquet(dest / "scalars.pq"), run.to_pandas(ids=True))
    assert sorted(p.name for p in dest.iterdir() if not p.name.startswith(".")) == [
        "errors.pq",
        "monthly.csv",
        "monthly.pq",
        "result_file_refs.pq",
        "scalars.csv",
        "scalars.pq",
    ]
    assert all(file.skipped for file in run.fetch(dest))
    (dest / "errors.pq").write_bytes(b"")
    with pytest.raises(UsageError, match=r"already has errors\.pq"):
        run.fetch(dest)
    run.fetch(dest, overwrite=True)
    with pytest.raises(NotFoundError, match="has no table 'hourly'"):
        run.fetch(tmp_path / "other", tables=["hourly"])
    assert not (tmp_path / "other").exists()
    with pytest.raises(UsageError, match="is not a folder"):
        run.fetch(dest / "scalars.pq")


def test_run_that_died_is_fetched_in_part(store: Storage, tmp_path: Path) -> None:
    run = Run(store, layout("solar", "v2.0.0", 9))
    write_part(store, run.layout, "a", outcomes([1, 3]))
    with pytest.raises(NotFoundError, match="no final tables yet"):
        run.fetch(tmp_path / "out")

    run.fetch(tmp_path / "out", partial=True)

    assert pl.read_parquet(tmp_path / "out" / "scalars.pq")["sort_index"].to_list() == [1, 3]
    assert not run.status().gathered


def test_spreadsheet_formulas_are_disarmed_in_csv(storage: Storage, tmp_path: Path) -> None:
    run = make_run(storage, tmp_path, 4)
    texts = ["=1+1", "-5", "@x", "plain"]
    import pyarrow as pa

    write_part(storage, run, "a", outcomes(range(4)).append_column("feature:note", pa.array(texts)))
    gather(storage, run)

    Run(storage, run).fetch(tmp_path / "out", tables=["scalars"], format="csv")

    notes = pl.read_csv(tmp_path / "out" / "scalars.csv", infer_schema=False)["note"].to_list()
    assert notes == ["'=1+1", "-5", "'@x", "plain"]


def test_older_run_without_a_ledger(storage: Storage, tmp_path: Path) -> None:
    run = layout("scythe_experiment_simulate", "v1.0.0")
    index = pd.MultiIndex.from_tuples([(0, 1.5)], names=["sort_index", "x"])
    (tmp_path / "a").mkdir()
    pd.DataFrame({"y": [2.0]}, index=index).to_parquet(tmp_path / "a" / "scalars.pq")
    storage.put_file(tmp_path / "a" / "scalars.pq", run.table("scalars"))
    storage.write_bytes(
        run.manifest,
        b"workflow_run_id: abc\nexperiment_id: e\nexperiment_name: n\nspecs_uri: s3://b/k\nio_spec: s3://b/i\n",
    )

    older = Run(storage, find_run(storage, "latest"))

    assert older.record().n_specs is None
    assert older.record().complete
    status = older.status()
    assert status.counts is None
    assert "older run" in (status.notice or "")
    assert older.show().n_rows == 1
    older.fetch(tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out" / "scalars.pq").index.names == ["sort_index", "x"]
    with pytest.raises(UsageError, match="kept no errors"):
        older.errors()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not readable as YAML"),
        (b"- a\n- b\n", "not a YAML mapping"),
        (b"a: !!python/object:os.system x\n", "not readable as YAML"),
        (b"experiment_id: e\n", "workflow_run_id: Field required"),
    ],
)
def test_broken_manifest_is_told(storage: Storage, content: bytes, message: str) -> None:
    run = layout("energy", "v1.0.0")
    storage.write_bytes(run.manifest, content)

    with pytest.raises(StorageError, match=message):
        Run(storage, run).status()


@pytest.mark.parametrize(
    ("rows", "rate", "last_s"),
    [
        ([], None, None),
        ([("succeeded", None, None)], None, None),  # taken over: it was not run
        ([("succeeded", 0, 2.0), ("failed", 1, 3.0)], 0.5, 4),
        ([("succeeded", 0, 2.0), ("cancelled", 1, 3.0), ("succeeded", None, 9.0)], 0.25, 4),
        ([("succeeded", 0, 0.0)], None, 0),
        ([("timeout", 0, None), ("succeeded", 2, 2.0)], 0.5, 4),
    ],
)
def test_the_pace_is_what_ran_over_the_time_at_work(
    rows: list[tuple[str, int | None, float | None]], rate: float | None, last_s: int | None
) -> None:
    moments = [None if second is None else datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for _, second, _ in rows]
    frame = pl.DataFrame(
        {"state": [row[0] for row in rows], "started_at": moments, "duration_s": [row[2] for row in rows]},
        schema={"state": pl.String, "started_at": pl.Datetime("us", "UTC"), "duration_s": pl.Float64},
    ).with_columns(sort_index=pl.int_range(pl.len()), attempt=pl.lit(1, pl.Int32), final=pl.lit(value=True))
    standings = Standings(len(rows))
    standings.add(frame)
    last = None if last_s is None else datetime(2026, 1, 1, 0, 0, last_s, tzinfo=UTC)
    assert pace(standings) == (rate, last)


def _manifest(**values: object) -> RunManifest:
    fixed = {"experiment_name": "energy", "experiment_id": "energy/v1.0.0/2026-01-01_00-00-00"}
    return RunManifest.model_construct(**{**fixed, "state": "allocated", "engine": "local", **values})


@pytest.mark.parametrize(
    ("manifest", "pending", "damaged", "gathered", "has_owner", "expected"),
    [
        (_manifest(), 0, [], True, False, None),
        (_manifest(), 3, [], False, True, None),
        (_manifest(engine="hatchet"), 3, [], False, False, None),
        (_manifest(state="allocating"), 3, ["a.pq"], False, False, "it is still being allocated"),
        (_manifest(), 3, ["a.pq"], False, False, "1 part of the ledger cannot be read"),
        (_manifest(), 0, ["a.pq", "b.pq"], True, True, "2 parts of the ledger cannot be read"),
        (_manifest(), 3, [], False, False, "`scythe retry energy/v1.0.0/2026-01-01_00-00-00` resumes it"),
        (_manifest(), 0, [], False, True, "the final tables are being written"),
        (_manifest(), 0, [], False, False, "`scythe retry` writes them"),
        (None, 3, [], False, False, None),
    ],
)
def test_what_has_to_be_said_of_a_run(
    manifest: RunManifest | None,
    pending: int,
    damaged: list[str],
    gathered: bool,
    has_owner: bool,
    expected: str | None,
) -> None:
    counts = StateCounts(succeeded=2, pending=pending)
    notice = notice_of(manifest, counts, damaged, gathered=gathered, has_owner=has_owner)
    assert notice is None if expected is None else notice is not None and expected in notice
