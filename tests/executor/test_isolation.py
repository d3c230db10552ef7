"""What specs share, and what not: processes, their state, their files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.errors import EntrypointError
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.pool import Executor
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.model.functions.reference import ExperimentTarget, target_of
from scythe_cli.model.spec_rows import with_meta
from scythe_cli.registry import experiment_from_function
from tests.executor.test_pool import CASES, RUN
from tests.fuzzing import cases
from tests.waiting import is_running, wait_for

pytestmark = pytest.mark.processes

Kind = str | tuple[str, float]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentTarget]:
    project = tmp_path_factory.mktemp("project")
    (project / "weather").mkdir()
    (project / "weather" / "a.epw").write_text("sunny")
    (project / "case.txt").write_text("as it was")
    sys.path.insert(0, str(CASES))
    try:
        import leaky_sims

        yield replace(target_of(experiment_from_function(leaky_sims.simulate), root=None), cwd=str(project))
    finally:
        sys.path.remove(str(CASES))


def _limits(**options: Any) -> Limits:
    return replace(Limits(30.0, None, 0), **options)


def _run(target: ExperimentTarget, limits: Limits, *kinds: Kind, workers: int = 1, storage: str = "runs") -> Any:
    context = RunContext(storage, RUN, "root", "here")
    with Executor(target, context, limits, workers=workers) as executor:
        rows = _outcomes(executor, *kinds)
        return rows, executor.notices


def _outcomes(executor: Executor, *kinds: Kind) -> list[dict[str, Any]]:
    tables = [table for table in executor.run([_batch(*kinds)], stop=StopSignal()) if table.num_rows]
    rows = [row for table in tables for row in table.to_pylist()]
    assert len(rows) == len(kinds)
    return sorted(rows, key=lambda row: row["sort_index"])


def _batch(*kinds: Kind) -> pa.RecordBatch:
    cells = [(kind, 0.0) if isinstance(kind, str) else kind for kind in kinds]
    inputs = pa.table({"kind": [c[0] for c in cells], "value": pa.array([c[1] for c in cells], pa.float64())})
    return with_meta(inputs, RUN, None).combine_chunks().to_batches()[0]


def test_each_row_has_a_process_as_fresh_as_the_first(target: ExperimentTarget) -> None:
    rows, notices = _run(target, _limits(isolation="row"), *["quick"] * 40, workers=2)
    assert [row["out:calls"] for row in rows] == [1] * 40
    assert len({row["out:pid"] for row in rows}) == 40
    assert notices == []


def test_rows_share_processes_when_that_is_asked_for(target: ExperimentTarget) -> None:
    rows, _ = _run(target, _limits(isolation="process"), *["quick"] * 40, *[("nap", 0.4)] * 3)
    assert max(row["out:calls"] for row in rows) == 43
    assert len({row["out:pid"] for row in rows}) == 1


def test_a_process_runs_so_many_rows_at_most(target: ExperimentTarget) -> None:
    for method in ("fork", "spawn"):
        rows, _ = _run(target, _limits(rows_per_process=3, start_method=method), *["quick"] * 8)
        assert max(row["out:calls"] for row in rows) <= 3
        assert all(row["state"] == "succeeded" for row in rows)


def test_slow_rows_have_their_own_processes_and_quick_ones_share_them(target: ExperimentTarget) -> None:
    rows, _ = _run(target, _limits(), *[("nap", 0.8)] * 4)
    assert [row["out:calls"] for row in rows] == [1] * 4
    rows, _ = _run(target, _limits(), *["quick"] * 400)
    assert len({row["out:pid"] for row in rows}) <= 2


def test_slow_rows_share_processes_where_each_would_import_for_long(target: ExperimentTarget) -> None:
    rows, _ = _run(target, _limits(), "import-nap", "import-nap", "import-nap")
    assert [row["out:calls"] for row in rows] == [1, 2, 3]


def test_a_row_that_ends_its_own_process_costs_itself_alone(target: ExperimentTarget) -> None:
    kinds: list[Kind] = ["quick", "die", "quick", ("exit", 0), "quick", ("exit", 85.5), ("exit", 3), "quick", "hang"]
    rows, _ = _run(target, _limits(isolation="row", execution_timeout_s=2.0), *kinds)
    assert [(row["state"], row["error_type"]) for row in rows] == [
        ("succeeded", None),
        ("crashed", "SIGABRT"),
        ("succeeded", None),
        ("crashed", "ProcessExit"),
        ("succeeded", None),
        ("crashed", "ProcessExit"),
        ("crashed", "ProcessExit"),
        ("succeeded", None),
        ("timeout", "Timeout"),
    ]
    assert "with code 3" in rows[6]["message"]
    assert "leaky_sims.py" in rows[1]["traceback"]
    assert "leaky_sims.py" in rows[8]["traceback"]


_ROWS = st.sampled_from(
    [("quick", 0.0)] * 12 + [("print", 1.0), ("file", 2.0), ("nap", 0.03), ("nap", 0.3), ("fail", 0.0), ("die", 0.0)]
    + [("cut", 0.0), ("exit", 0.0), ("exit", 3.0)]
)  # fmt: skip
_STATES = {"fail": "failed", "die": "crashed", "cut": "crashed", "exit": "crashed"}
_CHOICES = {"isolation": ("auto", "row", "process"), "rows_per_process": (None, 1, 2, 3, 7), "workers": (1, 2)}


@pytest.mark.timeout(300)
@cases(6, 60)
@given(kinds=st.lists(_ROWS, min_size=1, max_size=90), data=st.data())
def test_every_row_has_one_outcome_whatever_others_in_its_processes_do(
    target: ExperimentTarget, kinds: list[Kind], data: st.DataObject
) -> None:
    chosen: dict[str, Any] = {name: data.draw(st.sampled_from(values), name) for name, values in _CHOICES.items()}
    workers = chosen.pop("workers")
    rows, _ = _run(target, _limits(**chosen), *kinds, workers=workers)
    assert [row["sort_index"] for row in rows] == list(range(len(kinds)))
    assert [row["state"] for row in rows] == [_STATES.get(kind[0], "succeeded") for kind in kinds]
    for row, (kind, value) in zip(rows, kinds, strict=True):
        assert row["log"] == (f"row {value}\n" if kind == "print" else None)
        if kind == "file":
            assert row["out:text"] == "2.0 sunny as it was"
        if kind == "die":
            assert row["error_type"] == "SIGABRT"
            assert "leaky_sims.py" in row["traceback"]


@pytest.mark.parametrize("place", range(3))
def test_outcomes_that_a_fork_has_sent_are_not_sent_again(target: ExperimentTarget, place: int) -> None:
    # one that takes long sends what was at hand before; then some more are left to the process that has forked it
    kinds: list[Kind] = [*["quick"] * (27 + place), ("nap", 0.3), *["quick"] * 16]
    _run(target, _limits(rows_per_process=3), *kinds)


def test_a_row_that_ends_its_process_does_not_end_the_one_that_was_forked(target: ExperimentTarget) -> None:
    kinds: list[Kind] = ["quick" if i % 4 else "die" for i in range(120)]
    with Executor(target, RunContext("runs", RUN, "root", "here"), _limits(), workers=1) as executor:
        rows = _outcomes(executor, *kinds)
        n_started = max(child.number for child in executor.children)
    assert [row["state"] for row in rows] == ["crashed" if kind == "die" else "succeeded" for kind in kinds]
    assert n_started <= 6


@pytest.mark.parametrize("isolation", ["row", "process"])
def test_rows_do_not_overwrite_each_others_files(target: ExperimentTarget, isolation: str) -> None:
    kinds: list[Kind] = [("file", float(i)) for i in range(20)]
    rows, _ = _run(target, _limits(isolation=isolation), *kinds, "list", workers=2)
    assert [row["out:text"] for row in rows[:20]] == [f"{float(i)} sunny as it was" for i in range(20)]
    assert rows[20]["out:text"] == "case.txt weather"
    assert sorted(path.name for path in Path(target.cwd).iterdir()) == ["case.txt", "weather"]
    assert Path(target.cwd, "case.txt").read_text() == "as it was"


def test_rows_run_where_it_is_asked_for(target: ExperimentTarget, tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    rows, _ = _run(target, _limits(working_directory=str(tmp_path)), "list")
    assert rows[0]["out:text"] == "mark"
    rows, _ = _run(target, _limits(working_directory="project"), "list")
    assert rows[0]["out:text"] == "case.txt weather"


@pytest.mark.parametrize("isolation", ["row", "process"])
def test_that_files_were_removed_is_said_once(target: ExperimentTarget, tmp_path: Path, isolation: str) -> None:
    _, notices = _run(target, _limits(isolation=isolation), ("file", 1.0), ("file", 2.0), "quick")
    assert len(notices) == 1
    assert "such as temp.inp" in notices[0]
    _, notices = _run(target, _limits(isolation=isolation), "list", "quick")
    assert notices == []
    _, notices = _run(target, _limits(isolation=isolation, keep_files="failed"), ("file", 1.0), storage=str(tmp_path))
    assert notices == []


@pytest.mark.parametrize("isolation", ["row", "process"])
def test_what_failed_rows_wrote_is_kept(target: ExperimentTarget, tmp_path: Path, isolation: str) -> None:
    limits = _limits(isolation=isolation, keep_files="failed")
    _run(target, limits, ("file", 1.0), "fail", "die", "quick", storage=str(tmp_path))
    kept = {str(path.relative_to(tmp_path / RUN)) for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {"files/00000001/sub/out.log", "files/00000002/died.log"}
    assert (tmp_path / RUN / "files/00000001/sub/out.log").read_text() == "why"


def test_what_a_row_has_started_ends_with_its_process(target: ExperimentTarget) -> None:
    rows, _ = _run(target, _limits(isolation="row"), "daemon", "orphan", "quick")
    for row in rows[:2]:
        wait_for(lambda pid=int(row["out:text"]): not is_running(pid), 60.0)


def test_a_module_with_threads_is_loaded_by_each_process(
    target: ExperimentTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKY_THREAD", "1")
    rows, notices = _run(target, _limits(), *["quick"] * 5)
    assert all(row["state"] == "succeeded" for row in rows)
    assert len(notices) == 1
    assert "ticker" in notices[0]
    rows, notices = _run(target, _limits(start_method="fork", isolation="row"), *["quick"] * 5)
    assert [row["out:calls"] for row in rows] == [1] * 5
    assert notices == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loading_has_a_limit_of_its_own(target: ExperimentTarget, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setenv("LEAKY_LOAD_S", "1000")
    with pytest.raises(EntrypointError, match=r"was not loaded within 1(\.0)? s") as caught:
        _run(target, _limits(startup_timeout_s=1.0, start_method=method), "quick")
    assert "startup_timeout" in (caught.value.hint or "")
    # and is not the time of a row
    monkeypatch.setenv("LEAKY_LOAD_S", "1.5")
    rows, _ = _run(target, _limits(execution_timeout_s=1.0, start_method=method), "quick")
    assert rows[0]["state"] == "succeeded"


@pytest.mark.parametrize("isolation", ["row", "process"])
def test_what_a_row_imports_is_loading_and_not_its_time(target: ExperimentTarget, isolation: str) -> None:
    limits = _limits(isolation=isolation, execution_timeout_s=1.0)
    rows, _ = _run(target, limits, "import", "quick", "hang")
    assert [row["state"] for row in rows] == ["succeeded", "succeeded", "timeout"]


def test_what_rows_have_started_is_ended_though_no_template_is_there(target: ExperimentTarget) -> None:
    context = RunContext("runs", RUN, "root", "here")
    with Executor(target, context, _limits(isolation="process"), workers=1) as executor:
        row = _outcomes(executor, "daemon")[0]
        template = executor._templates.current()
        assert template is not None
        template._interpreter._process.kill()
        template._interpreter._process.wait()
        executor.children[0].kill()
        _outcomes(executor, "quick")
    wait_for(lambda: not is_running(int(row["out:text"])), 60.0)


def test_a_template_that_is_lost_is_started_again(target: ExperimentTarget) -> None:
    context = RunContext("runs", RUN, "root", "here")
    with Executor(target, context, _limits(isolation="row"), workers=1) as executor:
        for _ in range(5):
            rows = _outcomes(executor, "quick", "kill-parent", "quick")
            assert rows[0]["state"] == rows[2]["state"] == "succeeded"
        template = executor._templates.current()
        assert template is not None
        template._interpreter._process.kill()
        template._interpreter._process.wait()
        for kind in ("die", "quick", "die", "quick"):
            state = _outcomes(executor, kind)[0]["state"]
            assert state == ("crashed" if kind == "die" else "succeeded")


def test_nothing_is_left_behind(target: ExperimentTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = RunContext("runs", RUN, "root", "here")
    executor = Executor(target, context, _limits(), workers=2)
    _outcomes(executor, *[("file", 1.0)] * 10, "die", "orphan")
    template = executor._templates.current()
    assert template is not None
    pids = [child.pid for child in executor.children] + [template._interpreter._process.pid]
    executor.close()
    assert not any(is_running(pid) for pid in pids)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("scythe-")] == []


def test_a_template_ends_with_the_process_that_started_it(target: ExperimentTarget, tmp_path: Path) -> None:
    import os
    import signal

    pid = os.fork()
    if not pid:
        context = RunContext("runs", RUN, "root", "here")
        executor = Executor(target, context, _limits(isolation="row"), workers=1)
        for table in executor.run([_batch("quick", "hang")], stop=StopSignal()):
            if table.num_rows:
                template = executor._templates.current()
                assert template is not None
                own = [template._interpreter._process.pid, *(child.pid for child in executor.children)]
                (tmp_path / "pids").write_text(" ".join(map(str, own)))
                time.sleep(1000)
        os._exit(1)
    try:
        wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text(), 60)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for own in map(int, (tmp_path / "pids").read_text().split()):
        wait_for(lambda own=own: not is_running(own), 60.0)
