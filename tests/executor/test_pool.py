"""The executor with real processes: whatever a spec does, it costs that spec and no other."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scythe_cli.core.cores import THREAD_VARIABLES
from scythe_cli.core.states import Isolation
from scythe_cli.errors import EngineError, EntrypointError
from scythe_cli.executor.ipc import unpack
from scythe_cli.executor.limits import Limits, StopSignal, descendants
from scythe_cli.executor.loop import RunLoop
from scythe_cli.executor.pool import Executor
from scythe_cli.executor.process import ChildProcess
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.model.functions.reference import ExperimentTarget, target_of
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import with_meta
from scythe_cli.registry import experiment_from_function
from tests.executor.module_targets import target_of_text
from tests.fuzzing import NIGHTLY
from tests.waiting import is_running, wait_for

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "executor_cases"
RUN = "sim/v1.0.0/2025-01-01_00-00-00"


@pytest.fixture(scope="module")
def target() -> Iterator[ExperimentTarget]:
    sys.path.insert(0, str(CASES))
    try:
        import executor_sims

        yield target_of(experiment_from_function(executor_sims.simulate), root=None)
    finally:
        sys.path.remove(str(CASES))


Make = Callable[..., Executor]


@pytest.fixture(scope="module")
def make(target: ExperimentTarget) -> Iterator[Make]:
    """Makes executors; the same one for the same arguments, since a process takes a while to start."""
    made: dict[tuple[Any, ...], Executor] = {}

    def build(
        *,
        timeout_s: float = 60.0,
        memory: int | None = None,
        retries: int = 0,
        workers: int = 1,
        what: ExperimentTarget | None = None,
        directory: str = "row",
        isolation: Isolation = "auto",
    ) -> Executor:
        key = (timeout_s, memory, retries, workers, what, directory, isolation)
        if key not in made:
            limits = Limits(timeout_s, memory, retries, working_directory=directory, isolation=isolation)
            made[key] = Executor(what or target, RunContext("runs", RUN, "root", "here"), limits, workers=workers)
        return made[key]

    yield build
    for executor in made.values():
        pids = [child.pid for child in executor.children]
        executor.close()
        assert not any(is_running(pid) for pid in pids)


def _rows(kinds: Sequence[str | tuple[str, float, str]]) -> pa.RecordBatch:
    cells = [(kind, float(i), "") if isinstance(kind, str) else kind for i, kind in enumerate(kinds)]
    inputs = pa.table(
        {
            "kind": pa.array([c[0] for c in cells], pa.string()),
            "value": pa.array([c[1] for c in cells], pa.float64()),
            "note": pa.array([c[2] for c in cells], pa.string()),
        }
    )
    return with_meta(inputs, RUN, None).combine_chunks().to_batches()[0]


def _run(executor: Executor, *kinds: str | tuple[str, float, str]) -> list[dict[str, Any]]:
    """The outcomes of specs, in order."""
    tables = [t for t in executor.run([_rows(kinds)], stop=StopSignal()) if t.num_rows]
    for table in tables:
        assert table.schema.names[: len(OUTCOME_SCHEMA)] == OUTCOME_SCHEMA.names
    outcomes = [row for table in tables for row in table.to_pylist()]
    return sorted(outcomes, key=lambda row: (row["sort_index"], row["attempt"]))


def test_every_row_has_one_outcome_with_its_value(make: Make) -> None:
    executor = make(workers=2, timeout_s=90.0)  # its own: where rows were slow before, each has a process of its own
    outcomes = _run(executor, *["fine"] * 5_000)
    assert [row["sort_index"] for row in outcomes] == list(range(5_000))
    assert [row["out:double"] for row in outcomes] == [2.0 * i for i in range(5_000)]
    assert {row["state"] for row in outcomes} == {"succeeded"}
    assert {row["attempt"] for row in outcomes} == {1}
    assert all(row["final"] for row in outcomes)
    assert outcomes[7]["workflow_run_id"] == "root-00000007"
    assert outcomes[7]["worker"] == "here"
    assert outcomes[7]["log"] is None
    assert abs(outcomes[7]["started_at"].timestamp() - time.time()) < 60
    # on a busy machine one process may have run all, and one that was ready in place of another some
    assert {row["out:count"] for row in outcomes} <= {child.pid for child in executor.children}


def test_rows_of_several_batches_and_a_second_run(make: Make) -> None:
    executor = make()
    batch = _rows(["fine"] * 10)
    first = executor.run([batch.slice(0, 3), batch.slice(3, 0), batch.slice(3)], stop=StopSignal())
    assert sum(table.num_rows for table in first) == 10
    pids = [child.pid for child in executor.children]
    assert len(_run(executor, "fine", "fine")) == 2
    assert [child.pid for child in executor.children] == pids


def test_a_large_frame_arrives_whole(make: Make) -> None:
    executor = make()
    tables = [t for t in executor.run([_rows([("large-frame", 5.0, "")])], stop=StopSignal()) if t.num_rows]
    assert [table.column("state").to_pylist() for table in tables] == [["succeeded"]]
    steps: Any = tables[0].column("frame:steps").chunk(0).values.field("x")
    assert steps.equals(pa.array(np.arange(3_000_000.0) + 5.0))
    assert not any(path.is_file() for child in executor.children for path in child.scratch.rglob("*"))


def test_a_large_frame_whose_file_was_removed_costs_its_row_alone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(files: Sequence[str], blobs: Any, folder: Path) -> list[pa.Table] | None:
        for name in files:
            (folder / name).unlink()
        return unpack(files, blobs, folder)

    monkeypatch.setattr("scythe_cli.executor.loop.unpack", lose)
    outcomes = _run(make(), *["fine"] * 20, ("large-frame", 5.0, ""), *["fine"] * 20)
    assert [row["sort_index"] for row in outcomes] == list(range(41))
    assert [row["sort_index"] for row in outcomes if row["state"] != "succeeded"] == [20]
    assert (outcomes[20]["state"], outcomes[20]["error_type"]) == ("crashed", "FileDescriptors")
    assert "temporary files were removed" in outcomes[20]["message"]


def test_a_spare_goes_on_before_it_is_found_out_what_ended_another(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = make(timeout_s=300.0)  # its own: where rows were quick before, several are sent at once
    handle = RunLoop._handle_death
    others: list[list[int]] = []

    def note(loop: RunLoop, child: ChildProcess) -> None:
        others.append([each.n_remaining for each in executor.children if each is not child and each.is_ready])
        handle(loop, child)

    monkeypatch.setattr(RunLoop, "_handle_death", note)
    go = tmp_path / "go"
    states: dict[int, str] = {}
    for table in executor.run([_rows(["abort", ("abort-after", 0.0, str(go)), "fine"])], stop=StopSignal()):
        states |= {row["sort_index"]: row["state"] for row in table.select(["sort_index", "state"]).to_pylist()}
        # one runs the row that waits, and another is ready to take its place
        if states and sorted(child.n_remaining for child in executor.children if child.is_ready) == [0, 1]:
            go.touch()
    assert states == {0: "crashed", 1: "crashed", 2: "succeeded"}
    assert others[-1] == [1]


def test_no_rows_start_no_process(make: Make) -> None:
    executor = make(workers=3)
    assert list(executor.run([], stop=StopSignal())) == []
    assert executor.children == []


def test_the_number_of_the_attempt_is_taken_from_the_rows(make: Make) -> None:
    batch = _rows(["raise"]).append_column("__attempt__", pa.array([4], pa.int32()))
    tables = list(make(retries=1).run([batch], stop=StopSignal()))
    rows = [row for table in tables for row in table.to_pylist()]
    assert [(row["attempt"], row["final"]) for row in rows] == [(4, False), (5, True)]


def test_libraries_are_told_how_many_threads_to_start(target: ExperimentTarget, monkeypatch: Any) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NSLOTS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    limits = Limits(60.0, None, 0)
    with Executor(target, RunContext("runs", RUN, "root", "here"), limits, workers=1) as executor:
        (outcome,) = _run(executor, "threads")
    told = dict(word.split("=") for word in outcome["log"].split())
    assert told == dict.fromkeys(THREAD_VARIABLES, "1") | {"MKL_NUM_THREADS": "3"}


def test_errors_of_the_function(make: Make) -> None:
    kinds = ["raise", "unspeakable", "unpicklable", "system-exit", "interrupt", "surrogate", "long", "deep", "fine"]
    kinds += ["wrong-type", "nothing", "overflow", "nan", "inf", "validator-exit"]
    executor = make()
    _run(executor, "fine")
    pids = [child.pid for child in executor.children]
    rows = dict(zip(kinds, _run(executor, *kinds), strict=True))
    failed = {kind for kind, row in rows.items() if row["state"] == "failed"}
    assert failed == set(kinds) - {"fine", "nan", "inf", "overflow"}
    assert (rows["raise"]["error_type"], rows["raise"]["message"]) == ("ValueError", "it is bad")
    assert rows["raise"]["traceback"].startswith('Traceback (most recent call last):\n  File "' + str(CASES))
    assert rows["raise"]["traceback"].endswith("ValueError: it is bad")
    assert rows["unspeakable"]["error_type"] == "executor_sims.Unspeakable"
    assert "__str__ raised RuntimeError" in rows["unspeakable"]["message"]
    assert rows["unpicklable"]["message"] == "cannot be pickled"
    assert (rows["system-exit"]["error_type"], rows["system-exit"]["message"]) == ("SystemExit", "3")
    assert rows["interrupt"]["error_type"] == "KeyboardInterrupt"
    assert rows["surrogate"]["message"] == "bad \\udcff text"
    assert len(rows["long"]["message"]) < 2_100
    assert "characters left out" in rows["long"]["traceback"]
    assert rows["deep"]["error_type"] == "RecursionError"
    assert rows["wrong-type"]["message"] == "simulate returned a dict; it must return a Result"
    assert rows["nothing"]["message"] == "simulate returned nothing; it must return a Result"
    assert (rows["overflow"]["state"], rows["overflow"]["out:count"]) == ("succeeded", None)
    assert "1180591620717411303424" in str(rows["overflow"]["frame::warnings"])
    assert rows["nan"]["out:double"] != rows["nan"]["out:double"]
    assert rows["inf"]["out:double"] == float("-inf")
    assert [child.pid for child in executor.children] == pids


def test_the_end_of_a_process_costs_one_row(make: Make) -> None:
    ends = {
        "abort": ("SIGABRT", "the process died from SIGABRT"),
        "segfault": ("SIGSEGV", "the process died from SIGSEGV"),
        "stack": ("SIGSEGV", "the process died from SIGSEGV"),
        "exit-0": ("ProcessExit", "the process exited with code 0 by itself"),
        "exit-3": ("ProcessExit", "the process exited with code 3 by itself"),
        "kill-self": ("SIGKILL", "the process was killed by SIGKILL (from outside, or out of memory)"),
        "term-self": ("SIGTERM", "the process was killed by SIGTERM"),
        "validator-crash": ("SIGABRT", "the process died from SIGABRT"),
    }
    rows = _run(make(), "fine", *ends, "fine")
    assert [row["state"] for row in rows] == ["succeeded", *["crashed"] * len(ends), "succeeded"]
    assert [(row["error_type"], row["message"]) for row in rows[1:-1]] == list(ends.values())
    segfault = rows[2]
    assert segfault["log"] == "before the end\n"
    lines = segfault["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert f'File "{CASES}/executor_sims.py"' in lines[1]
    assert lines[-1] == "Fatal Python error: Segmentation fault"
    assert "/scythe_cli/" not in segfault["traceback"]


def test_a_crash_among_fast_rows_leaves_the_others_succeeded_once(make: Make) -> None:
    kinds = ["fine"] * 3_000
    for position in (700, 2_999):
        kinds[position] = "abort"
    rows = _run(make(workers=2), *kinds)
    assert [row["sort_index"] for row in rows] == list(range(3_000))
    assert {row["sort_index"] for row in rows if row["state"] == "crashed"} == {700, 2_999}
    assert sum(row["state"] == "succeeded" for row in rows) == 2_998


def test_a_crash_while_specs_are_made_is_found_among_many(make: Make) -> None:
    kinds = ["fine"] * 600
    kinds[400] = "validator-crash"
    rows = _run(make(), *kinds)
    assert [row["sort_index"] for row in rows] == list(range(600))
    assert [row["sort_index"] for row in rows if row["state"] != "succeeded"] == [400]


def test_an_endless_spec_is_ended(make: Make) -> None:
    rows = _run(make(timeout_s=0.6), "fine", "loop", "sleep", "regex", "fine")
    assert [row["state"] for row in rows] == ["succeeded", "timeout", "timeout", "timeout", "succeeded"]
    for row in rows[1:4]:
        assert row["message"] == "still running after 600 ms"
        assert row["duration_s"] >= 0.6
        assert f'File "{CASES}/executor_sims.py"' in row["traceback"]


def test_what_a_spec_started_ends_with_it(make: Make, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    rows = _run(make(timeout_s=0.6), ("start-and-hang", 0.0, str(note)))
    assert rows[0]["state"] == "timeout"
    pids = [int(pid) for pid in note.read_text().split()]
    wait_for(lambda: not any(is_running(pid) for pid in pids), 60.0)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a single request is Linux only")
def test_a_memory_limit(make: Make) -> None:
    rows = _run(make(memory=500_000_000), "fine", "bytearray", "fine", "grow", "fine")
    assert [row["state"] for row in rows] == ["succeeded", "crashed", "succeeded", "crashed", "succeeded"]
    assert (rows[1]["error_type"], rows[1]["message"]) == ("MemoryError", "out of memory")
    assert rows[3]["error_type"] in ("MemoryLimit", "MemoryError")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a single request is Linux only")
def test_memory_that_specs_leave_behind_ends_none(make: Make) -> None:
    rows = _run(make(memory=500_000_000), *[("leak", 100_000_000.0, "")] * 5)
    assert {row["state"] for row in rows} == {"succeeded"}
    assert len({row["out:count"] for row in rows}) > 1


def test_memory_that_many_quick_specs_leave_behind_ends_none(make: Make) -> None:
    rows = _run(make(memory=500_000_000), *[("leak-quickly", 2_000_000.0, "")] * 600)
    assert {row["state"] for row in rows} == {"succeeded"}
    assert len(rows) == 600


def test_a_spec_that_is_cut_short_by_the_signal_for_its_stack_has_timed_out(make: Make) -> None:
    rows = _run(make(timeout_s=1.0), "fine", "sleep-in-c", "fine")
    assert [row["state"] for row in rows] == ["succeeded", "timeout", "succeeded"]
    assert (rows[1]["error_type"], rows[1]["message"]) == ("Timeout", "still running after 1.0 s")


def test_a_run_of_specs_that_take_about_as_long_as_they_may_comes_to_its_end(make: Make) -> None:
    n = 60 if NIGHTLY else 15
    rows = _run(make(timeout_s=0.2, workers=2), *[("sleep-for", 0.185 + 0.03 / n * i, "") for i in range(n)])
    assert [row["sort_index"] for row in rows] == list(range(n))
    assert {row["state"] for row in rows} <= {"succeeded", "timeout"}


def test_time_in_which_the_machine_stood_still_is_not_that_of_a_spec(make: Make) -> None:
    executor = make(timeout_s=3.0, workers=2)
    _run(executor, "fine", "fine")  # both processes are there
    parent, children = os.getpid(), [child.pid for child in executor.children]
    # this process is stopped as well: another lets all go on
    script = (
        "import os, signal, sys, time\nparent, *children = map(int, sys.argv[1:])\ntime.sleep(0.5)\n"
        "for pid in (*children, parent): os.kill(pid, signal.SIGSTOP)\ntime.sleep(4)\n"
        "for pid in (*children, parent): os.kill(pid, signal.SIGCONT)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, *map(str, (parent, *children))]) as stopping:
        rows = _run(executor, *[("sleep-for", 1.0, "")] * 2)
        stopping.wait(60)
    assert [row["state"] for row in rows] == ["succeeded", "succeeded"]


def test_a_run_in_which_nothing_would_happen_ends_with_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scythe_cli.executor.loop.next_to_feed", lambda *_, **__: None)
    with pytest.raises(EngineError, match="cases are waiting, but no process is running"):
        _run(make(), "fine")


def test_memory_that_grows_is_seen_from_outside(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scythe_cli.executor.process.tree_memory_bytes", lambda pid, limit: 1_234_000_000)
    (row,) = _run(make(memory=1_000_000_000), "sleep")
    assert (row["state"], row["error_type"]) == ("crashed", "MemoryLimit")
    assert row["message"] == "used 1.2 GB, the limit is 1.0 GB"


def test_a_process_killed_from_outside_loses_its_running_row(make: Make, tmp_path: Path) -> None:
    executor = make()

    def kill() -> None:
        wait_for((tmp_path / "asleep").exists, 120.0)
        busy = next(child for child in executor.children if child.chunks)
        os.kill(busy.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    rows = _run(executor, ("touch-and-sleep", 0.0, str(tmp_path / "asleep")), "fine")
    thread.join()
    assert [row["state"] for row in rows] == ["crashed", "succeeded"]
    assert rows[0]["error_type"] == "SIGKILL"


def test_a_process_killed_between_rows_costs_none(make: Make) -> None:
    executor = make()
    assert len(_run(executor, "fine")) == 1
    for child in executor.children:
        os.kill(child.pid, signal.SIGKILL)
    assert [row["state"] for row in _run(executor, "fine")] == ["succeeded"]


def test_a_spec_that_closes_all_descriptors(make: Make) -> None:
    rows = _run(make(), "fine", "close-all", "fine")
    assert [row["sort_index"] for row in rows] == [0, 1, 2]
    assert rows[2]["state"] == "succeeded"


def test_a_process_that_a_spec_forked_does_not_answer(make: Make) -> None:
    rows = _run(make(), "fork", "fork", "fine")
    assert [row["state"] for row in rows] == ["succeeded"] * 3


def test_retries(make: Make, tmp_path: Path) -> None:
    notes = [str(tmp_path / f"n{i}") for i in range(3)]
    rows = _run(
        make(retries=2, workers=2),
        ("attempts", 3.0, notes[0]),
        ("attempts", 9.0, notes[1]),
        ("attempts", 1.0, notes[2]),
    )
    # by itself: what a process had not sent before it died is called again
    crashed = _run(make(retries=2, workers=2), "abort")
    seen = [(row["sort_index"], row["attempt"], row["state"], row["final"]) for row in [*rows, *crashed]]
    assert seen == [
        (0, 1, "failed", False),
        (0, 2, "failed", False),
        (0, 3, "succeeded", True),
        (1, 1, "failed", False),
        (1, 2, "failed", False),
        (1, 3, "failed", True),
        (2, 1, "succeeded", True),
        (0, 1, "crashed", False),
        (0, 2, "crashed", False),
        (0, 3, "crashed", True),
    ]


def test_output_is_kept_with_its_spec(make: Make) -> None:
    rows = _run(make(), "log", "fine", "print-much", "fine")
    assert rows[0]["log"] == (
        "printed\nlogged by the spec\nINFO sim: logged by logging\nwritten to the descriptor\nto stderr, no newline"
    )
    assert rows[1]["log"] is None
    assert rows[2]["log"].startswith("head\nx")
    assert rows[2]["log"].endswith("x\ntail\n")
    assert "bytes left out" in rows[2]["log"]
    assert len(rows[2]["log"]) < 66_000
    assert rows[3]["log"] is None


def test_frames_do_not_load_pandas(make: Make) -> None:
    """It takes longer to import than all else of a process."""
    executor = make()
    _run(executor, "raise", "frame", "fine")
    assert {row["log"] for row in _run(executor, "frame", "pandas")} == {None, "False\n"}


def test_each_spec_starts_in_the_same_folder(make: Make, target: ExperimentTarget, tmp_path: Path) -> None:
    rows = _run(make(directory="project"), *[("move", 0.0, str(tmp_path))] * 3)
    assert {row["log"] for row in rows} == {f"{target.cwd}\n"}
    rows = _run(make(), *[("move", 0.0, str(tmp_path))] * 3)
    assert len({row["log"] for row in rows}) == 1


def test_slow_rows_are_spread_over_the_processes(make: Make) -> None:
    # the fast ones at first make the chunks large
    kinds: list[Any] = ["fine"] * 2_000 + [("nap", 0.2, "")] * 8
    # slow ones might have a process each otherwise, once it is known that they are
    rows = _run(make(workers=2, isolation="process"), *kinds)
    slow = [row["out:count"] for row in rows[2_000:]]
    assert len(rows) == 2_008
    assert 2 <= slow.count(slow[0]) <= 6


def test_drain_finishes_what_runs(make: Make) -> None:
    executor, stop = make(workers=2), StopSignal()
    tables = executor.run([_rows([("nap", 0.3, "")] * 20)], stop=stop)
    first = next(table for table in tables if table.num_rows)
    stop.drain()
    rest = list(tables)
    n = first.num_rows + sum(table.num_rows for table in rest)
    assert 1 <= n <= 4
    assert len(_run(executor, "fine")) == 1


def test_drain_inside_a_large_chunk(make: Make) -> None:
    executor, stop = make(), StopSignal()
    n = 0
    for table in executor.run((_rows(["fine"] * 50_000) for _ in range(200)), stop=stop):
        n += table.num_rows
        if n > 1_000:
            stop.drain()
    assert 1_000 < n < 100_000


def test_kill_ends_at_once(make: Make) -> None:
    executor, stop = make(workers=2), StopSignal()
    threading.Timer(0.3, stop.kill).start()
    began = time.monotonic()
    tables = list(executor.run([_rows(["sleep"] * 4)], stop=stop))
    assert time.monotonic() - began < 300, "and not after the 1000 s of a row"
    assert sum(table.num_rows for table in tables) == 0


def test_kill_from_a_signal_handler(make: Make) -> None:
    executor, stop = make(), StopSignal()
    before = signal.signal(signal.SIGUSR1, lambda *_: stop.kill())
    try:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        assert sum(t.num_rows for t in executor.run([_rows(["sleep"])], stop=stop)) == 0
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_abandoned_run_ends_its_processes(make: Make) -> None:
    executor = make()
    tables = executor.run([_rows(["fine", "sleep"])], stop=StopSignal())
    next(tables)
    tables.close()  # type: ignore[attr-defined]
    assert [row["state"] for row in _run(executor, "fine")] == ["succeeded"]


def test_the_source_is_read_as_it_is_needed(make: Make) -> None:
    asked = 0

    def source() -> Iterator[pa.RecordBatch]:
        nonlocal asked
        for _ in range(500):
            asked += 1
            yield _rows([("nap", 0.05, "") if asked == 1 else "sleep"])

    # with processes of its own: where rows were quick before, many are sent at once, the first with one that sleeps
    with contextlib.closing(make(workers=2, timeout_s=600.0).run(source(), stop=StopSignal())) as tables:  # type: ignore[type-var]
        next(table for table in tables if table.num_rows)
    assert asked < 50  # where the second process is ready late, it gets more than one as well


def test_a_heartbeat_while_nothing_finishes(make: Make) -> None:
    tables = list(make().run([_rows([("nap", 1.5, "")])], stop=StopSignal()))
    assert sum(table.num_rows == 0 for table in tables) >= 2


PARENT = """
import sys
sys.path.insert(0, {cases!r})
import executor_sims, test_pool as t
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.pool import Executor
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.registry import experiment_from_function
from scythe_cli.model.functions.reference import target_of
target = target_of(experiment_from_function(executor_sims.simulate), root=None)
executor = Executor(target, RunContext({runs!r}, t.RUN, "root", "w"), Limits(600, None, 0), workers=2)
rows = t._rows([("touch-and-regex", 0.0, {note!r}), "sleep", "sleep"])
list(executor.run([rows], stop=StopSignal()))
"""


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    note = tmp_path / "hangs"
    script = PARENT.format(cases=str(CASES), runs=str(tmp_path / "runs"), note=str(note))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, ROOT))),
        "TMPDIR": str(tmp_path),
    }
    children: list[int] = []
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as parent:

        def both_are_there() -> bool:
            children[:] = descendants(parent.pid)
            return len(children) >= 3 and note.exists()

        try:
            wait_for(both_are_there, 120.0)
        finally:
            # also where it has not come to that: a process that nobody waits for is told in another test
            parent.kill()
    wait_for(lambda: not any(is_running(pid) for pid in children), 60.0)


def test_a_module_that_cannot_be_imported(make: Make, tmp_path: Path) -> None:
    what = target_of_text("import math\n\nmath.no_such_thing\n", tmp_path, "broken_module")
    with pytest.raises(EntrypointError, match=r"broken_module.*(\n.*)*line 3, in <module>(\n.*)*no_such_thing"):
        _run(make(what=what), "fine")


def test_a_module_that_ends_its_process(make: Make, tmp_path: Path) -> None:
    what = target_of_text("import os\nprint('loading')\nos._exit(7)\n", tmp_path, "exiting_module")
    with pytest.raises(EntrypointError, match=r"exited with code 7 by itself\nloading"):
        _run(make(what=what, workers=2), "fine", "fine")


def test_a_module_without_the_function(make: Make, tmp_path: Path) -> None:
    what = target_of_text("x = 1\n", tmp_path, "empty_module")
    with pytest.raises(EntrypointError, match="has no experiment 'simulate'"):
        _run(make(what=what), "fine")


def test_the_scratch_folder_is_removed(
    target: ExperimentTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Executor(target, RunContext("runs", RUN, "root", "w"), Limits(9.0, None, 0), workers=1) as executor:
        _run(executor, "fine")
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="closed"):
        _run(executor, "fine")
