"""What the Slurm engine decides and reads, without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.config.slurm import SlurmConfig
from scythe_cli.core.progress import Progress
from scythe_cli.engines.follow import AS_IT_GOES_ON
from scythe_cli.engines.slurm.assignment import Assignment
from scythe_cli.engines.slurm.commands import Ran, Slurm, is_unreachable, refusal, run_command
from scythe_cli.engines.slurm.engine import SlurmEngine
from scythe_cli.engines.slurm.probe import answered
from scythe_cli.engines.slurm.progress import MAX_IDLE, MAX_WAVES, Step, next_step, remaining, row_seconds
from scythe_cli.engines.slurm.queue import QueuedTask, in_words, parse_queue, seconds_of, told_reasons
from scythe_cli.engines.slurm.scripts import array_options, batch_script, closing_options
from scythe_cli.engines.slurm.sizing import Wave, first_wave, rows_of_task, wave_of, with_memory_of
from scythe_cli.engines.slurm.submitting import patiently
from scythe_cli.engines.slurm.task import Clock, Place
from scythe_cli.engines.slurm.waiting import SlurmRunRef, judged, queue_line
from scythe_cli.errors import ConfigError, EngineError, InvalidInputError, UsageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.needs import Needs
from scythe_cli.model.spec_rows import table_from_specs
from tests.hatchet_jobs import make_job

SQUEUE = """\
12_0|RUNNING|None|sim-v1.0.0-ab
12_1|PENDING|Resources|sim-v1.0.0-ab
12_2|PENDING|(JobArrayTaskLimit)|sim-v1.0.0-ab
12_3|COMPLETED|None|sim-v1.0.0-ab
13|PENDING|Dependency|sim-v1.0.0-ab-end
slurm_load_jobs error: what is no line
"""


def test_lines_of_squeue() -> None:
    tasks = parse_queue(SQUEUE)
    assert [(task.job, task.task, task.is_active) for task in tasks] == [
        ("12", 0, True),
        ("12", 1, True),
        ("12", 2, True),
        ("12", 3, False),
        ("13", None, True),
    ]
    assert told_reasons(tasks[1:3]) == [
        "waiting for free nodes (Resources)",
        "as many tasks run as [slurm] array_limit allows (JobArrayTaskLimit)",
    ]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("None", None),
        ("", None),
        ("Priority", "jobs of a higher priority come first (Priority)"),
        ("ReqNodeNotAvail, UnavailableNodes:d1", "the nodes that it needs are down or reserved"),
        ("QOSSomethingNew", "a limit of your account or qos is reached (QOSSomethingNew)"),
        ("AssocSomethingNew", "a limit of your account or qos is reached (AssocSomethingNew)"),
        ("SomethingElse", "SomethingElse"),
    ],
)
def test_reasons_in_plain_words(reason: str, words: str | None) -> None:
    told = in_words(reason)
    assert told == words or (words is not None and told is not None and told.startswith(words))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("59:31", 3571.0),
        ("1:00:00", 3600.0),
        ("2-03:04:05", 183845.0),
        ("1-00", 86400.0),
        ("30", 1800.0),
        ("0:07", 7.0),
        ("UNLIMITED", None),
        ("infinite", None),
        ("INVALID", None),
        ("NOT_SET", None),
        ("", None),
    ],
)
def test_times_as_slurm_writes_them(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("n", "cpus", "limit", "wave"),
    [
        (10_000, 1, None, Wave(625, 16, 60.0)),
        (10_000, 8, 4, Wave(2500, 4, 60.0)),
        (3, 1, None, Wave(1, 3, 60.0)),
        (20, 8, None, Wave(7, 3, 60.0)),
        (1, 64, 1, Wave(1, 1, 60.0)),
    ],
)
def test_a_first_wave_has_few_tasks(n: int, cpus: int, limit: int | None, wave: Wave) -> None:
    assert first_wave(n, cpus=cpus, max_tasks=1001, array_limit=limit) == wave


@pytest.mark.parametrize(
    ("n", "row_s", "cpus", "time_s", "max_tasks", "wave"),
    [
        (10_000, 0.01, 1, None, 1001, Wave(6000, 2)),  # a minute at least
        (10_000, 10.0, 1, None, 1001, Wave(90, 112)),  # 15 minutes
        (10_000, 10.0, 1, 300.0, 1001, Wave(24, 417)),  # 4 of 5 minutes
        (100_000, 3600.0, 4, None, 1001, Wave(100, 1000)),  # as many as an array may have
        (5, 7200.0, 8, None, 1001, Wave(5, 1)),  # a case on each core
        (100, 0.0, 1, None, 1001, Wave(100, 1)),
    ],
)
def test_tasks_take_a_quarter_of_an_hour(
    n: int, row_s: float, cpus: int, time_s: float | None, max_tasks: int, wave: Wave
) -> None:
    found = wave_of(n, row_s, cpus=cpus, task_s=900.0, time_limit_s=time_s, max_tasks=max_tasks)
    assert found == wave


@given(
    n=st.integers(1, 10**6),
    row_s=st.floats(0, 1e5),
    cpus=st.integers(1, 128),
    max_tasks=st.integers(1, 5000),
    time_s=st.none() | st.floats(60, 1e6),
    is_first=st.booleans(),
)
def test_each_row_is_in_one_task(
    n: int, row_s: float, cpus: int, max_tasks: int, time_s: float | None, is_first: bool
) -> None:
    if is_first:
        wave = first_wave(n, cpus=cpus, max_tasks=max_tasks, array_limit=None)
    else:
        wave = wave_of(n, row_s, cpus=cpus, task_s=900, time_limit_s=time_s, max_tasks=max_tasks)
    assert 1 <= wave.n_tasks <= max_tasks
    ranges = [rows_of_task(task, wave.rows_per_task, n) for task in range(wave.n_tasks)]
    assert all(ranges)
    assert (ranges[0].start, ranges[-1].stop) == (0, n)
    assert all(one.stop == other.start for one, other in pairwise(ranges))


def outcomes(*rows: tuple[int, int, bool]) -> pl.DataFrame:
    schema = {"sort_index": pl.Int64, "attempt": pl.Int32, "final": pl.Boolean}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def todo(*rows: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={"sort_index": pl.Int64, "attempt": pl.Int32}, orient="row")


@pytest.mark.parametrize(
    ("known", "left"),
    [
        ([], [(0, 1), (1, 2)]),
        ([(0, 1, True)], [(1, 2)]),
        ([(0, 1, False)], [(0, 2), (1, 2)]),  # it failed, and its task was lost before the next attempt
        ([(0, 1, False), (0, 2, True)], [(1, 2)]),
        ([(1, 1, True)], [(0, 1), (1, 2)]),  # an earlier attempt, which is retried
        ([(1, 1, True), (1, 2, True)], [(0, 1)]),
        ([(0, 1, True), (0, 1, True), (1, 2, True)], []),  # twice the same
        ([(7, 1, True)], [(0, 1), (1, 2)]),
    ],
)
def test_what_is_left_of_a_wave(known: list[tuple[int, int, bool]], left: list[tuple[int, int]]) -> None:
    assert remaining(outcomes(*known), todo((0, 1), (1, 2))).rows() == left


@pytest.mark.parametrize(
    ("n_left", "n_before", "wave", "idle", "stopped", "error", "step"),
    [
        (0, 10, 1, 0, None, None, Step("gather")),
        (4, 10, 1, 0, None, None, Step("submit")),
        (4, 10, 3, 1, None, None, Step("submit")),
        (10, 10, 1, 0, None, None, Step("submit", 1)),
        (10, 10, 1, 0, None, "no module x", Step("gather", 1, "10 cases are pending: no module x")),
        (9, 10, 1, 0, None, "no module x", Step("submit")),
        (4, 10, 1, 0, "the run was cancelled", None, Step("gather", notice="the run was cancelled")),
        (0, 10, 1, 0, "the run was cancelled", None, Step("gather")),
        (1, 2, MAX_WAVES, 0, None, None, Step("gather", 0, f"1 case is pending after {MAX_WAVES} submissions")),
    ],
)
def test_what_a_closing_job_does(
    n_left: int, n_before: int, wave: int, idle: int, stopped: str | None, error: str | None, step: Step
) -> None:
    found = next_step(n_left=n_left, n_before=n_before, wave=wave, idle=idle, stopped=stopped, error=error)
    assert found == step


def test_a_closing_job_gives_up_without_progress() -> None:
    step = next_step(n_left=3, n_before=3, wave=5, idle=MAX_IDLE - 1, stopped=None)
    assert (step.does, step.idle) == ("gather", MAX_IDLE)
    assert "3 cases are pending" in (step.notice or "")


def test_how_long_a_row_takes() -> None:
    frame = pl.DataFrame(
        {"sort_index": [0, 0, 1, 2], "duration_s": [1.0, 2.0, 3.0, None], "started_at": [1, 2, 3, None]}
    )
    assert row_seconds(frame) == 3.0
    assert row_seconds(frame.slice(3)) is None


@pytest.mark.parametrize(
    ("err", "kind", "said"),
    [
        (
            "sbatch: error: invalid partition specified: x\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            ConfigError,
            "no such partition",
        ),
        (
            "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            EngineError,
            "your limit of submitted jobs is reached",
        ),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            EngineError,
            "more than your account or qos allows",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            ConfigError,
            "the account may not be used here",
        ),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", ConfigError, "quality of service"),
        (
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            EngineError,
            "controller does not answer",
        ),
        ("sbatch: error: Batch job submission failed: Something new", EngineError, "Slurm refuses: Something new"),
        ("", EngineError, "it does not say why"),
    ],
)
def test_refusals_in_a_few_words(err: str, kind: type[Exception], said: str) -> None:
    error = refusal(err)
    assert type(error) is kind
    assert said in error.message
    assert len(error.message.splitlines()) == 1


def test_sbatch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_command(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("subprocess.run", no_such_command)
    with pytest.raises(EngineError, match="sbatch is not installed here"):
        run_command(["sbatch", "--version"])


def answers(**told: str) -> Slurm:
    """Commands that say what a test wants, by the name of the command."""

    def run(command: Sequence[str], text: str | None) -> Ran:
        del text
        return Ran(0, told[command[0]], "")

    return Slurm(run)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"partition": "main"}, None),
        ({"partition": "main,short"}, None),
        ({}, None),
        ({"partition": "short", "time": "1h"}, None),
        ({"partition": "short", "time": "2h", "qos": "long"}, None),
        ({"partition": "short", "time": "2h"}, "is longer than partition 'short' allows"),
        ({"partition": "nosuch"}, "there is no 'nosuch' on this cluster"),
    ],
)
def test_a_check_before_anything_is_written(settings: dict[str, str], said: str | None) -> None:
    engine = SlurmEngine(settings)
    engine.slurm = answers(sbatch="slurm-wlm 22.05.8\n", sinfo="main|infinite\nshort|1:00:00\n")
    if said is None:
        assert engine.check().startswith("Slurm 22.05.8, partition ")
    else:
        with pytest.raises(ConfigError, match=said):
            engine.check()


def test_settings_of_an_experiment() -> None:
    engine = SlurmEngine({"partition": "main", "cpus": 2, "experiments": {"a": {"cpus": 8}}})
    assert engine.for_experiment("a").config == SlurmConfig(partition="main", cpus=8)
    assert engine.for_experiment("b") is engine
    with pytest.raises(UsageError, match=r"\[slurm\]: cpus"):
        SlurmEngine({"cpus": 0})


def test_options_of_sbatch() -> None:
    settings = SlurmConfig.model_validate(
        {
            "partition": "main", "account": "lab", "time": "90m", "cpus": 4, "memory": "2GB", "gpus": 1,
            "array_limit": 10, "extra": ["--nice=5"],
        }
    )  # fmt: skip
    assert array_options(settings, n_tasks=3, name="sim", log="/x/%A_%a.log") == [
        "--array=0-2%10", "--job-name=sim", "--output=/x/%A_%a.log", "--open-mode=append", "--requeue", "--nodes=1",
        "--ntasks=1", "--cpus-per-task=4", "--partition=main", "--account=lab", "--mem=1908M", "--gpus=1", "--time=90",
        "--signal=B:USR1@120", "--nice=5",
    ]  # fmt: skip
    options = closing_options(settings, after="12", name="sim-end", log="/x/%j.log")
    assert options[0] == "--dependency=afterany:12"
    assert "--gpus=1" not in options
    short = SlurmConfig(time=timedelta(minutes=1))
    assert not [each for each in array_options(short, n_tasks=1, name="s", log="l") if each.startswith("--signal")]


def test_a_batch_script() -> None:
    script = batch_script("some.module", "e30=", ["module load energyplus"], python="/a folder/python")
    assert script == (
        "#!/bin/bash\nmodule load energyplus\nexec '/a folder/python' -m some.module <<'SCYTHE'\ne30=\nSCYTHE\n"
    )


def test_an_assignment_comes_out_as_it_went_in() -> None:
    told = Assignment(
        storage="/runs", experiment_id="sim/v1.0.0/2026-01-01_00-00-00", experiment="sim", workflow_run_id="ab",
        session="slurm-x", n_specs=5, n_rows=5, is_whole=True, target={}, limits={}, job_name="sim",
        log_folder="/logs", settings=SlurmConfig(time=timedelta(minutes=90), memory=10**9, setup=["it's \"so\""]),
    )  # fmt: skip
    assert Assignment.from_text(told.to_text()) == told
    assert "\n" not in told.to_text()


def test_where_a_task_runs() -> None:
    place = Place.of(
        {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "11", "SLURMD_NODENAME": "d1",
         "SLURM_RESTART_COUNT": "2", "SLURM_JOB_END_TIME": "99999999999"}
    )  # fmt: skip
    assert (place.task, place.restarts, place.job, place.shown, place.node, place.end_s) == (
        3,
        2,
        "11",
        "7_3",
        "d1",
        None,
    )
    assert Place.of({"SLURM_JOB_END_TIME": "1700000000"}).end_s == 1_700_000_000


@pytest.mark.parametrize(
    ("end_s", "budget_s", "longest_s", "drains_at", "over_at"),
    [
        (None, None, 5.0, None, None),
        (None, 60.0, 5.0, 60, None),
        (1000.0, None, 0.0, 990, 995),
        (1000.0, None, 100.0, 870, 995),  # such a row would not end in time
        (40.0, None, 0.0, 30, 35),
        (20.0, None, 0.0, 15, 15),  # of a short limit, a part at least is worked
    ],
)
def test_when_a_task_begins_no_more_rows(
    end_s: float | None, budget_s: float | None, longest_s: float, drains_at: int | None, over_at: int | None
) -> None:
    now = [0.0]
    clock = Clock(end_s, budget_s, now=lambda: now[0])
    clock.longest_s = longest_s
    drains: list[int] = []
    over: list[int] = []
    for second in range(1100):
        now[0] = float(second)
        drains += [second] if clock.drains else []
        over += [second] if clock.is_over else []
    assert (min(drains, default=None), min(over, default=None)) == (drains_at, over_at)


def tasks(*states: tuple[str, str, str]) -> list[QueuedTask]:
    return [QueuedTask(job, 0, state, "Resources", name) for job, state, name in states]


@pytest.mark.parametrize(
    ("states", "judgement"),
    [
        ([], "ended"),
        ([("1", "RUNNING", "sim"), ("2", "PENDING", "sim-end")], "goes on"),
        ([("1", "FAILED", "sim"), ("2", "PENDING", "sim-end")], "goes on"),
        ([("1", "COMPLETED", "sim"), ("2", "COMPLETED", "sim-end")], "ended"),
        ([("1", "FAILED", "sim"), ("2", "FAILED", "sim-end")], "failed"),
        ([("2", "FAILED", "sim-end"), ("10", "COMPLETED", "sim-end")], "ended"),
        ([("2", "COMPLETED", "sim-end"), ("10", "CANCELLED", "sim-end")], "failed"),
    ],
)
def test_whether_a_run_goes_on(states: list[tuple[str, str, str]], judgement: str) -> None:
    assert judged(tasks(*states), "sim-end") == judgement


class Plain(ExperimentInputSpec):
    x: float


class Doubled(ExperimentOutputSpec):
    y: float


def double(spec: Plain) -> Doubled:
    return Doubled(y=2 * spec.x)


def test_who_no_longer_waits_is_told_that_the_run_goes_on(tmp_path: Path) -> None:
    """And so is the command line, which would say otherwise how to resume it."""
    inputs = table_from_specs([Plain(x=1.0)], Plain)
    job = make_job(tmp_path, double, inputs, factor=10, depth=0, per_task=1)
    stop, moments = StopSignal(), list[Progress]()
    stop.drain()
    ref = SlurmRunRef(job, "12", "slurm-20260101T000000-0a1b2c3d", "sim", str(tmp_path), Slurm())
    assert ref.wait(stop=stop, progress=moments.append).notices == [AS_IT_GOES_ON]
    assert [moment.goes_on for moment in moments] == [True]


def test_why_nothing_happens() -> None:
    waiting = tasks(("1", "PENDING", "sim"), ("1", "PENDING", "sim"), ("2", "PENDING", "sim-end"))
    assert queue_line(waiting, "sim-end") == "2 tasks queued: waiting for free nodes (Resources)"
    assert queue_line([*waiting, *tasks(("1", "RUNNING", "sim"))], "sim-end") is None


def test_a_controller_that_starts_anew_is_waited_for() -> None:
    said = ["Unable to contact slurm controller (connect failure)", "connection refused", "well"]
    pauses: list[float] = []

    def call() -> str:
        text = said.pop(0)
        if text != "well":
            raise EngineError(text)
        return text

    assert patiently(call, sleep=pauses.append) == "well"
    assert len(pauses) == 2
    assert not is_unreachable("Invalid qos specification")
    with pytest.raises(EngineError, match="no such qos"):
        patiently(lambda: refuse("no such qos"))


def refuse(text: str) -> None:
    raise EngineError(text)


def test_a_node_with_other_versions() -> None:
    check = answered({"python": "3.8.1", "scythe": "0.0.1", "host": "n17", "cores": 1})
    assert not check.ok
    assert "n17 sees the storage; Python 3.8.1, scythe 0.0.1; here Python" in check.detail


@pytest.mark.parametrize(
    ("settings", "needs", "message"),
    [
        ({"cpus": 4}, Needs(cpus=4), None),
        ({"cpus": 4}, Needs(cpus=5), "row 0 takes 5 cores, and there are 4"),
        ({"cpus": 4}, Needs(memory=10**9), "cases say what memory they take, and tasks do not"),
        ({"memory": "2GB"}, Needs(memory=3 * 10**9), "row 0 takes 3.0 GB of memory"),
        ({}, Needs(tokens={"licence": 1}, totals={"licence": 3}), "tokens are licences of the cluster"),
        ({}, Needs(gpus=1), "cases take GPUs, and tasks do not"),
        ({"gpus": 1}, Needs(gpus=1), None),
        ({"gpus": "a100"}, Needs(gpus=1), None),
        ({"gpus": "a100:2"}, Needs(gpus=2), None),
        ({"gpus": "a100:2"}, Needs(gpus="cards"), "row 1 takes 3 GPUs, and there are 2"),
    ],
)
def test_a_case_fits_into_a_task(settings: dict[str, Any], needs: Needs, message: str | None) -> None:
    inputs = pa.table({"cards": [1, 3]})
    engine = SlurmEngine(settings)
    if message is None:
        assert engine.check_needs(needs, inputs, workers=1, row_label="row {}".format) == []
    else:
        with pytest.raises((ConfigError, InvalidInputError), match=message):
            engine.check_needs(needs, inputs, workers=1, row_label="row {}".format)


@pytest.mark.parametrize(
    ("config", "needs", "memory"),
    [
        (SlurmConfig(cpus=8), Needs(learns_memory=True, memory=10**9), 8 * 10**9 + 2**29),
        (SlurmConfig(cpus=8), Needs(cpus=4, learns_memory=True, memory=10**9), 2 * 10**9 + 2**29),
        (SlurmConfig(cpus=2), Needs(cpus=4, learns_memory=True, memory=10**9), 10**9 + 2**29),
        (SlurmConfig(cpus=8, memory=3 * 10**9), Needs(learns_memory=True, memory=10**9), 3 * 10**9),
        (SlurmConfig(cpus=8), Needs(learns_memory=True), None),
        (SlurmConfig(cpus=8), Needs(), None),
    ],
)
def test_a_task_asks_for_the_memory_that_was_learned(config: SlurmConfig, needs: Needs, memory: int | None) -> None:
    assert with_memory_of(config, needs).memory == memory
