"""Retrying with an engine that does as it is told: which specs, which attempts, what is kept, what is cleaned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.base import ExperimentOutputSpec
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.errors import (
    EngineError,
    InvalidInputError,
    StoppedError,
    StorageError,
    UsageError,
)
from scythe_cli.executor.limits import StopSignal
from scythe_cli.registry import ExperimentRegistry, RegisteredExperiment
from scythe_cli.run.final.gather import gather
from scythe_cli.run.lease import hold_lease
from scythe_cli.services.runs.retry import retry_job, retry_run
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, Answer, Case, make_run, outcomes, write_part

PART = "local-20260101T000000-0a1b2c3d-000001"


class Other(ExperimentOutputSpec):
    z: float


@dataclass
class ToldEngine(Engine):
    """Gives every spec of a job a state, and remembers the jobs."""

    state: str = "succeeded"
    name: str = "local"
    fail: Callable[[], None] = lambda: None
    jobs: list[dict[int, int]] = field(default_factory=list)

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        assert job.todo is not None
        todo = dict(zip(job.todo["sort_index"].to_pylist(), job.todo["attempt"].to_pylist(), strict=True))
        self.jobs.append(todo)
        for row, attempt in todo.items():
            write_part(job.storage, job.run, uuid4().hex, outcomes([row], self.state, attempt=attempt))
        self.fail()
        return Execution()


class ToldFleet(ToldEngine):
    """The same as a fleet, which gives each spec to one worker itself."""

    needs_lease = False


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin outside of the repository, which would be the project: all that the function imports would be read."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def experiment() -> RegisteredExperiment[Case, Answer]:
    @ExperimentRegistry.Register(name="energy")
    def energy(spec: Case) -> Answer:
        """Square."""
        return Answer(y=spec.x**2)

    return energy


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


@pytest.fixture
def run(storage: Storage, tmp_path: Path) -> Run:
    """Ten specs: 0–3 succeeded, 4 failed twice, 5 timed out, 6 was cancelled, 7 is to be run again, 8–9 pending."""
    layout = make_run(storage, tmp_path / "scratch", 10)
    write_part(storage, layout, PART, outcomes(range(4)))
    write_part(storage, layout, "b", outcomes([4, 7], "failed", final=False))
    write_part(storage, layout, "c", outcomes([4], "failed", attempt=2))
    write_part(storage, layout, "d", outcomes([5], "timeout"))
    write_part(storage, layout, "e", outcomes([6], "cancelled", attempt=0))
    return Run(storage, layout)


def test_all_that_did_not_succeed_is_run_again_with_attempts_counted_on(
    run: Run, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    engine = ToldEngine()

    result = retry_run(run, experiment, engine)

    assert engine.jobs == [{4: 3, 5: 2, 6: 1, 7: 2, 8: 1, 9: 1}]
    assert result.ok
    assert result.counts == StateCounts(succeeded=10)
    assert pl.read_parquet(result.tables["scalars"])["sort_index"].to_list() == list(range(10))
    assert pl.read_parquet(result.tables["errors"]).height == 0


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ({State.PENDING}, [7, 8, 9]),
        ({State.FAILED, State.TIMEOUT}, [4, 5]),
        ({State.CANCELLED}, [6]),
        ({State.CRASHED}, []),
    ],
)
def test_only_chosen_states(
    run: Run, experiment: RegisteredExperiment[Case, Answer], only: set[State], expected: list[int]
) -> None:
    job = retry_job(run, experiment, only=only)
    assert job.todo is not None
    assert job.todo["sort_index"].to_pylist() == expected
    assert job.counts.total == 10
    assert job.counts.succeeded == 4


def test_failures_of_a_retry_replace_those_before_and_history_is_kept(
    run: Run, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    from scythe_cli.services.runs.history import spec_history

    result = retry_run(run, experiment, ToldEngine("crashed"), only={State.FAILED})

    assert result.counts == StateCounts(succeeded=4, crashed=1, timeout=1, cancelled=1, pending=3)
    history = spec_history(run, 4)
    assert [(a.attempt, a.state.value, a.counts) for a in history.attempts] == [
        (1, "failed", False),
        (2, "failed", False),
        (3, "crashed", True),
    ]
    assert spec_history(run, 9).state is State.PENDING
    with pytest.raises(UsageError, match="has no row 10: it has rows 0 to 9"):
        spec_history(run, 10)


def test_nothing_to_do_is_said_and_nothing_is_written(
    storage: Storage, tmp_path: Path, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    run = Run(storage, make_run(storage, tmp_path / "scratch", 3))
    write_part(storage, run.layout, "a", outcomes(range(3)))
    engine = ToldEngine()

    made = retry_run(run, experiment, engine)
    assert set(made.tables) >= {"scalars", "errors"}
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.pq")}
    again = retry_run(run, experiment, engine)

    assert engine.jobs == []
    assert again.ok
    assert again.notices == [f"nothing to run: all cases of {LAYOUT.experiment_id} have succeeded"]
    assert again.tables.keys() == made.tables.keys()
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.pq")} == before


def test_run_that_another_process_works_on_is_refused_before_anything_is_touched(
    run: Run, storage: Storage, tmp_path: Path, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    folder = tmp_path / "runs" / LAYOUT.experiment_id
    unfinished = folder / "outcomes" / ".scythe-tmp-00"
    unfinished.write_bytes(b"the other process writes this")
    engine = ToldEngine()
    with hold_lease(storage, run.layout), pytest.raises(UsageError, match="another process is working on"):
        retry_run(run, experiment, engine)
    assert unfinished.exists()
    assert engine.jobs == []
    retry_run(run, experiment, engine)
    assert not unfinished.exists()


def test_fleet_needs_no_lease(run: Run, storage: Storage, experiment: RegisteredExperiment[Case, Answer]) -> None:
    engine = ToldFleet()
    with hold_lease(storage, run.layout):
        assert retry_run(run, experiment, engine).ok


def test_damaged_part_is_kept_until_its_specs_have_an_outcome_again(
    run: Run, storage: Storage, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    key = run.layout.outcome_part(PART)
    content = storage.read_bytes(key)[:-9]
    storage.write_bytes(key, content)

    partly = retry_run(run, experiment, ToldEngine(), only={State.TIMEOUT})

    assert partly.notices == [f"part {PART}.pq of the ledger is damaged: the cases that were in it are run again"]
    assert partly.counts.pending == 7
    assert storage.read_bytes(f"{key}.damaged") == content
    assert run.status().damaged_parts == []
    assert retry_run(run, experiment, ToldEngine()).ok
    assert not any(key.endswith(".damaged") for key in storage.list_tree(run.experiment_id))


def test_damage_inside_a_part_stops_the_gather_and_names_the_remedy(run: Run, storage: Storage) -> None:
    key = run.layout.outcome_part(PART)
    content = bytearray(storage.read_bytes(key))
    # the outputs come after the columns that the counting reads
    metadata = pq.read_metadata(pa.BufferReader(bytes(content))).row_group(0)
    columns = [metadata.column(i) for i in range(metadata.num_columns)]
    output = next(c for c in columns if c.path_in_schema == "out:y")
    content[output.dictionary_page_offset or output.data_page_offset] ^= 0xFF
    storage.write_bytes(key, bytes(content))
    assert run.status().counts is not None
    with pytest.raises(StorageError, match=rf"part {PART}\.pq of the ledger is damaged(.|\n)*`scythe retry`"):
        gather(storage, run.layout)


def test_what_cannot_be_retried(run: Run, storage: Storage, experiment: RegisteredExperiment[Case, Answer]) -> None:
    with pytest.raises(UsageError, match="cases that succeeded are not run again"):
        retry_run(run, experiment, ToldEngine(), only={State.SUCCEEDED})

    @ExperimentRegistry.Register(name="other")
    def other(spec: Case) -> Other:
        """Differ."""
        return Other(z=spec.x)

    with pytest.raises(InvalidInputError, match="the output model of 'other' has changed since"):
        retry_run(run, other, ToldEngine())
    manifest = storage.read_bytes(run.layout.manifest)
    storage.write_bytes(run.layout.manifest, manifest.replace(b"n_specs: 10\n", b""))
    with pytest.raises(UsageError, match="older run"):
        retry_run(Run(storage, run.layout), experiment, ToldEngine())
    storage.write_bytes(run.layout.manifest, manifest.replace(b"state: allocated", b"state: allocating"))
    with pytest.raises(StorageError, match=r"did not finish(.|\n)*Allocate the sampling file again"):
        retry_run(Run(storage, run.layout), experiment, ToldEngine())
    assert not storage.exists(run.layout.key(".lease"))


def test_errors_and_interrupts_say_how_the_run_goes_on(
    run: Run, storage: Storage, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    def broken() -> None:
        raise EngineError("no process can be started", hint="Free some memory.")

    def interrupted() -> None:
        raise KeyboardInterrupt

    how = f"Finished cases are kept: `scythe retry {LAYOUT.experiment_id}` resumes it."
    with pytest.raises(EngineError) as caught:
        retry_run(run, experiment, ToldEngine("failed", fail=broken))
    assert caught.value.hint == f"Free some memory. {how}"
    with pytest.raises(StoppedError, match="interrupted") as stopped:
        retry_run(run, experiment, ToldEngine("failed", fail=interrupted))
    assert stopped.value.hint == how
    assert not storage.exists(run.layout.key(".lease"))


def test_tables_of_an_equal_second_are_taken_for_current_in_status_only(run: Run, tmp_path: Path) -> None:
    """S3 tells when an object was written in whole seconds."""
    import os

    gather(run.storage, run.layout)
    when = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    for path in (tmp_path / "runs").rglob("*.pq"):
        os.utime(path, (when, when))
    assert run.tables_are_current(surely=False)
    assert not run.tables_are_current()
