"""A run that is extended: killed at any storage operation, or extended by two at once, it loses and doubles nothing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.analysis.run import Run
from scythe_cli.errors import ScytheError, UsageError
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.run import lease
from scythe_cli.run.manifest import RunManifest, read_manifest
from scythe_cli.run.stored_run import StoredRun
from scythe_cli.services.project import Project
from scythe_cli.storage import opening
from scythe_cli.storage.base import Storage
from scythe_cli.storage.local import LocalStorage
from tests import servers
from tests.fuzzing import cases
from tests.growing import AnsweringEngine, AnsweringFleet, Deadly, Killed, growing_project, write_csv
from tests.lockstep import Lockstep

from .comparing import assert_same_tables, final_tables, strangers

CHANGING = {"create", "write_bytes", "put_file", "take_file", "delete", "rename"}
BEFORE, AFTER = [1.0, 2.0], [2.0, 3.0, 4.0]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished run of two cases, and a file with two more, which have an input file."""
    project = growing_project(tmp_path_factory.mktemp("template") / "project", AnsweringEngine())
    (project.root / "w.epw").write_text("weather")
    write_csv(project.root / "b.csv", AFTER, lambda x: "w.epw" if x > 2 else "")
    project.allocate(write_csv(project.root / "a.csv", BEFORE))
    return project.root


def copied(template: Path, folder: Path) -> Project:
    _forget()
    shutil.copytree(template, folder)
    return growing_project(folder, AnsweringEngine())


def _forget() -> None:
    sys.modules.pop("growing_model", None)
    ExperimentRegistry.clear()


def with_storage(monkeypatch: pytest.MonkeyPatch, storage: object) -> None:
    monkeypatch.setattr(opening, "open_storage", lambda *_, **__: storage)


def grow(project: Project) -> None:
    assert project.allocate(project.root / "b.csv", into="latest").ok


def check_readable(project: Project) -> int:
    """What a reader sees is a run of 2 or of 4 cases, with nothing damaged; how many."""
    run = project.run()
    status = run.status()
    assert status.damaged_parts == []
    assert status.counts is not None
    assert status.n_specs in (2, 4)
    assert status.counts.total == status.n_specs
    assert status.counts.succeeded >= 2
    return status.n_specs


def check_finished(project: Project, expected: dict[str, pl.DataFrame]) -> None:
    run = project.run()
    assert check_readable(project) == 4
    assert_same_tables(Path(run.uri), expected)
    assert strangers(Path(run.uri)) == []
    assert run.manifest is not None
    assert [each.rows for each in run.manifest.extensions or []] == [2]


def moments(names: list[str], step: int) -> list[int]:
    """Before which operations it is killed: those that change something until the run is longer, and some others."""
    changing = [at for at, name in enumerate(names) if name in CHANGING]
    longer = names.index("take_file")
    near = [at for at in changing if at <= longer + 4] + [longer + 1, longer + 2]
    later = [at for at in changing if at > longer + 4]
    return sorted({*near[::step], *later[:: 4 * step]})


@pytest.mark.parametrize("finish", [grow, lambda project: project.retry()], ids=["allocate", "retry"])
def test_killed_at_any_operation_it_is_the_old_run_or_the_longer_one(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finish: Callable[[Project], object]
) -> None:
    undisturbed = copied(template, tmp_path / "undisturbed")
    counting = Deadly(LocalStorage(undisturbed.root / "runs"), sys.maxsize)
    with monkeypatch.context() as patched:
        with_storage(patched, counting)
        grow(undisturbed)
    expected = final_tables(Path(undisturbed.run().uri))
    seen: set[int] = set()
    for at in moments(counting.names, 1 if finish is grow else 3):
        project = copied(template, tmp_path / str(at))
        vars(project)["engine_named"] = lambda _, engine=project.engine: engine
        with monkeypatch.context() as patched:
            with_storage(patched, Deadly(LocalStorage(project.root / "runs"), at))
            with pytest.raises(Killed):
                grow(project)
        seen.add(n := check_readable(project))
        finish(project)
        if finish is not grow:
            assert check_readable(project) == n or n == 2  # the specs may be longer than the manifest was
            grow(project)
        check_finished(project, expected)
        shutil.rmtree(project.root)
    assert seen == {2, 4}


def manifest_of(run: StoredRun) -> RunManifest | None:
    """The manifest, read once, as `cached_property` does, whose lock in Python 3.11 is one for all runs."""
    if "read" not in vars(run):
        vars(run)["read"] = read_manifest(run.storage, run.layout)
    read: RunManifest | None = vars(run)["read"]
    return read


@pytest.mark.parametrize("fleet", [False, True])
@cases(4)
@given(order=st.lists(st.integers(0, 3), max_size=60))
def test_two_extensions_at_once(
    template: Path, tmp_path_factory: pytest.TempPathFactory, fleet: bool, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("race")
    project = copied(template, folder / "p")
    engines = [AnsweringFleet() if fleet else AnsweringEngine() for _ in range(2)]
    projects = [growing_project(project.root, engine) for engine in engines]
    write_csv(project.root / "c.csv", [2.0, 5.0, 6.0])
    refused: list[ScytheError] = []

    def extend(number: int, file: str, storage: Storage) -> None:
        extending = projects[number]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(type(extending), "storage", property(lambda self: storages[id(self)]))
            storages[id(extending)] = storage
            try:
                extending.allocate(project.root / file, into="latest")
            except UsageError as error:
                refused.append(error)

    storages: dict[int, Storage] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StoredRun, "manifest", property(manifest_of))
        patched.setattr(lease, "_SETTLE_S", 0.0)
        patched.setattr(lease, "RENEW_S", 1e6)  # the thread that renews would be a third actor
        patched.setattr("scythe_cli.services.allocation.growing._PATIENCE_S", 0.0)
        patched.setattr("scythe_cli.services.allocation.growing._PAUSE_S", 0.0)
        with Lockstep(LocalStorage(project.root / "runs"), lambda other: extend(1, "c.csv", other), order) as both:
            extend(0, "b.csv", both.storage)
    run = Run(LocalStorage(project.root / "runs"), project.run().layout)
    status = run.status()
    assert status.damaged_parts == []
    for error in refused:
        assert "is working on" in error.message or "just been extended" in error.message
    xs = pl.read_parquet(Path(run.uri) / "specs.pq", glob=False)["x"].to_list()
    assert len(refused) < 2
    assert xs[:2] == BEFORE
    assert sorted(xs[2:]) in ([3.0, 4.0], [5.0, 6.0], [3.0, 4.0, 5.0, 6.0])
    assert len(xs) == 6 - 2 * len(refused)
    assert status.n_specs == len(xs)
    assert status.counts is not None
    assert status.counts.succeeded == len(xs)


def test_two_processes_extend_a_run_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.moto() as server:
        server.use(monkeypatch)
        monkeypatch.setenv("SCYTHE_STORAGE_URI", f"s3://{server.new_bucket('growing')}/runs")
        _forget()
        first = growing_project(tmp_path / "p", AnsweringFleet())
        first.allocate(write_csv(first.root / "a.csv", BEFORE))
        run_name = first.run().experiment_id
        files = [write_csv(first.root / "b.csv", [2.0, 3.0, 4.0]), write_csv(first.root / "c.csv", [5.0, 6.0])]
        projects = [growing_project(first.root, AnsweringFleet()) for _ in files]

        def extend(project: Project, file: Path) -> int:
            return project.allocate(file, into=run_name).n_added

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(extend, projects, files)) == [2, 2]
        run = first.run()
        assert run.status().damaged_parts == []
        assert sorted(run.scalars()["x"].to_list()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        names = [key.removeprefix(f"{run_name}/") for key in run.storage.list_tree(run_name)]
        assert not [name for name in names if name.startswith(".")]
