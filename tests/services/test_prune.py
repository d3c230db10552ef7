"""Removing old runs: exactly those that nobody wants to keep, each as a whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.records import StateCounts
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.run import manifest
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.lease import hold_lease
from scythe_cli.run.manifest import read_manifest
from scythe_cli.run.outcomes.summary import RunSummary, put_summary
from scythe_cli.services.runs.listing import run_records
from scythe_cli.services.runs.prune import old_runs, prune_runs
from scythe_cli.storage.local import LocalStorage
from scythe_cli.storage.opening import open_storage
from tests.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalStorage, list[RunLayout]]:
    """Two experiments of three versions with two runs each, a minute apart."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "_git_state", lambda folder: (None, None))  # git would be a process
        runs = make_store(folder, 3, runs_each=2, experiments=2)
    return LocalStorage(folder), runs


@given(
    keep=st.none() | st.integers(0, 8),
    older=st.none() | st.integers(0, 14),
    experiment=st.sampled_from([None, "energy0", "energy1"]),
)
def test_what_neither_rule_keeps_is_removed(
    store: tuple[LocalStorage, list[RunLayout]], keep: int | None, older: int | None, experiment: str | None
) -> None:
    storage, runs = store
    before = None if older is None else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=older)
    if keep is None and before is None:
        with pytest.raises(UsageError, match="not said which runs to keep"):
            old_runs(storage, experiment, keep=keep, before=before)
        return

    plan = old_runs(storage, experiment, keep=keep, before=before)

    mine = [run for run in runs if experiment in {None, run.experiment}]
    kept = {run for run in mine if before is not None and run.timestamp >= before}
    for name in ("energy0", "energy1"):
        newest = [run for run in mine if run.experiment == name][::-1]
        kept |= set(newest[: 0 if keep is None else keep])
    assert plan.removed == [run.experiment_id for run in reversed(mine) if run not in kept]
    assert plan.n_kept == len(kept)
    assert plan.dry_run


def test_a_run_is_removed_as_a_whole_and_no_other(tmp_path: Path) -> None:
    make_store(tmp_path, 3)
    storage = open_storage(tmp_path)
    newest = run_records(storage)[0].experiment_id
    files = storage.list_tree(newest)
    assert len(files) > 5

    result = prune_runs(storage, old_runs(storage, keep=1))

    assert (len(result.removed), result.n_kept, result.dry_run) == (2, 1, False)
    records = run_records(storage)
    assert [record.experiment_id for record in records] == [newest]
    assert [key for record in records for key in storage.list_tree(record.experiment_id)] == files
    assert not list(tmp_path.rglob("v1.0.0/*"))


@pytest.mark.parametrize(
    ("needs_lease", "counts", "force", "is_removed"),
    [
        (True, {"failed": 1, "pending": 4}, False, True),
        (False, {"failed": 1, "pending": 4}, False, False),
        (False, {"failed": 1, "pending": 4}, True, True),
        (False, {"failed": 1, "succeeded": 4}, False, True),
        (True, None, False, True),
        (False, None, False, False),
        (False, None, True, True),
    ],
)
def test_what_a_fleet_may_be_at_work_on_is_kept(
    tmp_path: Path, needs_lease: bool, counts: dict[str, int] | None, force: bool, is_removed: bool
) -> None:
    (run,) = make_store(tmp_path, 1, summaries=False)
    storage = open_storage(tmp_path)
    storage.delete(run.table("scalars"))
    stored = read_manifest(storage, run)
    assert stored is not None
    storage.write_bytes(run.manifest, stored.model_copy(update={"n_specs": 5, "leased": needs_lease}).to_yaml())
    if counts is not None:
        put_summary(storage, run, RunSummary(counts=StateCounts(**counts)))

    plan = old_runs(storage, keep=0, force=force)

    assert (plan.removed, plan.at_work) == (([run.experiment_id], []) if is_removed else ([], [run.experiment_id]))


@pytest.mark.parametrize("when", ["chosen", "removed"])
def test_a_run_that_somebody_works_on_is_kept(tmp_path: Path, when: str) -> None:
    run, _ = make_store(tmp_path, 2)
    storage = open_storage(tmp_path)
    plan = old_runs(storage, keep=0)
    with hold_lease(storage, run):
        result = prune_runs(storage, plan if when == "removed" else old_runs(storage, keep=0))
        assert result.at_work == [run.experiment_id]
        assert len(result.removed) == 1
        assert storage.exists(run.manifest)


def test_a_removal_that_is_cut_short_is_told_and_done_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, middle, _ = make_store(tmp_path, 3)
    storage = LocalStorage(tmp_path)
    delete_tree = LocalStorage.delete_tree

    def broken(self: LocalStorage, prefix: str) -> None:
        if prefix == old.experiment_id:
            raise StorageError("locked")
        delete_tree(self, prefix)

    monkeypatch.setattr(LocalStorage, "delete_tree", broken)

    with pytest.raises(StorageError, match=r"cannot be removed: locked\n1 of 2 runs were removed before"):
        prune_runs(storage, old_runs(storage, keep=1))

    records = {record.experiment_id: record.state for record in run_records(storage)}
    assert middle.experiment_id not in records
    assert records[old.experiment_id] == "unknown"
    monkeypatch.undo()
    assert prune_runs(storage, old_runs(storage, keep=1)).removed == [old.experiment_id]
