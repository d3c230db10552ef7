"""What a submission asks the engine for, and how a run is stopped."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import grpc
import pyarrow as pa
import pytest

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.config.schema import ExperimentConfig
from scythe_cli.core import names as core_names
from scythe_cli.core.semver import SemVer
from scythe_cli.engines import cancelled
from scythe_cli.engines.base import Priority
from scythe_cli.engines.hatchet import engine
from scythe_cli.engines.hatchet.routing import WorkerRecord, place_label, place_of
from scythe_cli.engines.hatchet.sessions import (
    Submission,
    after_cancellations,
    claim_session,
    is_cancelled,
    new_session,
    note_submission,
    noted_submissions,
    submitted_at,
)
from scythe_cli.run.layout import RunLayout
from scythe_cli.services.allocation.intake import _depth
from scythe_cli.storage.local import LocalStorage
from tests.clocks import shifted
from tests.hatchet_jobs import make_job
from tests.made_runs import make_run

# the SDK uses what its own dependencies have deprecated
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:hatchet_sdk.*")


LAYOUT = RunLayout("energy", SemVer(major=1), datetime(2026, 1, 31, tzinfo=UTC))


class In(ExperimentInputSpec):
    x: float


class Out(ExperimentOutputSpec):
    y: float


def plain(spec: In) -> Out:
    return Out(y=spec.x)


@pytest.mark.parametrize(
    ("n", "priority", "number"), [(5, None, 3), (100, None, 3), (101, None, 2), (101, "high", 3), (5, "low", 1)]
)
def test_small_runs_go_first(tmp_path: Path, n: int, priority: Priority | None, number: int) -> None:
    job = make_job(tmp_path, plain, pa.table({"x": [0.5] * n}), factor=10, depth=0, per_task=1)
    object.__setattr__(job, "priority", priority)
    assert engine._node_input(job).run.priority == number


@pytest.mark.parametrize(
    ("per_task", "n", "depth"), [("auto", 100_000, 0), ("auto", 100_001, 1), (1, 1, 0), (1, 1000, 0), (1, 1001, 1)]
)
def test_few_tasks_are_the_work_of_one_node(per_task: int | str, n: int, depth: int) -> None:
    settings = ExperimentConfig.model_validate({"entrypoint": "module:function", "specs_per_task": per_task})
    assert _depth(settings, n) == depth
    if per_task == "auto":
        assert _depth(None, n) == depth


def test_only_workers_that_work_there_are_asked_for(tmp_path: Path) -> None:
    job = make_job(tmp_path, plain, pa.table({"x": [0.5]}), factor=10, depth=0, per_task=1)
    here = place_of(job.storage.location)
    workers = [
        WorkerRecord("a", {"plain"}, labels={place_label(here): here}),
        WorkerRecord("b", {"plain"}, labels={place_label("/b"): "/b"}),
    ]
    assert engine._node_input(job).run.place is None
    assert engine._node_input(job, workers).run.place == place_label(here)


class Engine:
    """An engine on which tasks are queued, or run until they are cancelled."""

    def __init__(self, *, runs: bool) -> None:
        self.open = True
        self.runs = runs
        self.asked: list[bool] = []
        self.now_s = 0.0

    def replace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be what `engine` waits for, with a clock of its own."""
        client = SimpleNamespace(wait_until_closed=self.wait)
        monkeypatch.setitem(sys.modules, "scythe_cli.engines.hatchet.client", client)
        monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def cancel(self, key: str, *, running: bool = False, submissions: object = ()) -> None:
        self.asked.append(running)
        self.open = self.open and self.runs and not running

    def wait(self, connection: object, key: str, timeout_s: float, submissions: object = ()) -> bool:
        self.now_s += timeout_s if self.open else 0.0
        return not self.open


@pytest.mark.parametrize(
    ("runs", "grace_s", "asked"),
    [(False, 30.0, [False]), (True, 0.0, [True]), (True, 7.0, [False, False, False, True])],
)
def test_what_runs_is_stopped_after_the_grace(
    monkeypatch: pytest.MonkeyPatch, runs: bool, grace_s: float, asked: list[bool]
) -> None:
    fake = Engine(runs=runs)
    fake.replace(monkeypatch)
    engine._cancel(fake, "key", grace_s)  # type: ignore[arg-type]
    assert fake.asked == asked


def test_what_never_ends_is_left_alone_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Engine(runs=True)
    monkeypatch.setattr(fake, "cancel", lambda key, running, submissions: None)
    fake.replace(monkeypatch)
    engine._cancel(fake, "key", 5.0)  # type: ignore[arg-type]
    assert 35 <= fake.now_s < 40


class Details:
    """An engine that lists nothing yet, and knows how far submissions are."""

    def __init__(self, over: dict[str, bool]) -> None:
        self.over = over

    def open_runs(self, key: str) -> int:
        return 0

    def is_over(self, submission: Submission) -> bool:
        return self.over[submission.workflow_run_id]


@pytest.mark.parametrize(
    ("over", "closed"),
    [({}, True), ({"a": True}, True), ({"a": False}, False), ({"a": True, "b": False}, False)],
)
def test_a_submission_that_the_engine_does_not_list_yet_is_open(
    monkeypatch: pytest.MonkeyPatch, over: dict[str, bool], closed: bool
) -> None:
    from scythe_cli.engines.hatchet.client import wait_until_closed

    monkeypatch.setattr("scythe_cli.engines.hatchet.client.time.sleep", lambda _: None)
    submissions = [Submission(each, datetime.now(UTC)) for each in over]
    assert wait_until_closed(Details(over), "key", 0.0, submissions) is closed  # type: ignore[arg-type]


def test_submissions_are_noted_in_the_folder(tmp_path: Path) -> None:
    storage, run = LocalStorage(tmp_path), LAYOUT
    assert noted_submissions(storage, run) == []
    sessions = [f"hatchet-20260131T1200{second:02}-0123abcd" for second in range(8)]
    for number, session in enumerate(sessions):
        note_submission(storage, run, session, f"id {number}")
    shutil.copytree(tmp_path, tmp_path.with_name("copied"))
    assert noted_submissions(LocalStorage(tmp_path.with_name("copied")), LAYOUT) == [], "they are of another run"
    # what a node has written down of its plans is beside them
    storage.create(run.hatchet(f"{sessions[0]}-root-w000000.json"), b"[]")
    newest = noted_submissions(storage, run)
    assert [each.workflow_run_id for each in newest] == [f"id {number}" for number in (7, 6, 5, 4, 3)]
    assert newest[0].made_at == datetime(2026, 1, 31, 12, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"1", b"\xff", b'{"workflow_run_id"'])
def test_a_note_that_is_damaged_is_none(tmp_path: Path, content: bytes) -> None:
    storage, run = LocalStorage(tmp_path), LAYOUT
    storage.create(run.hatchet("hatchet-20260131T120000-0123abcd-submitted.json"), content)
    storage.create(run.hatchet("hatchet-now-submitted.json"), b'{"workflow_run_id": "x"}')
    assert noted_submissions(storage, run) == []


def test_a_new_session_says_when_it_was_made(tmp_path: Path) -> None:
    storage, run = LocalStorage(tmp_path), LAYOUT
    note_submission(storage, run, new_session(), "id")
    (submission,) = noted_submissions(storage, run)
    assert abs(datetime.now(UTC) - submission.made_at) < timedelta(minutes=5)


@pytest.mark.parametrize("off", [timedelta(hours=1), timedelta(0), timedelta(hours=-1)])
def test_a_cancellation_is_of_what_was_submitted_before_it_whatever_clocks_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: timedelta
) -> None:
    storage = LocalStorage(tmp_path / "runs")
    run = make_run(storage, tmp_path / "scratch", 3)
    first = new_session()
    claim_session(storage, run, first)  # it is not queued yet
    with monkeypatch.context() as patch:
        patch.setattr(core_names, "datetime", shifted(off))
        assert cancelled.write_cancelled(storage, run, not_before=submitted_at(storage, run)) == 3
    names = [file.name for file in storage.list_files(run.outcomes)]
    assert is_cancelled(names, first)
    assert not is_cancelled(names, new_session(after_cancellations(storage, run)))


def test_a_submission_without_a_cancellation_before_it(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    assert after_cancellations(storage, LAYOUT) is None
    assert submitted_at(storage, LAYOUT) is None
    storage.write_bytes(LAYOUT.outcome_part("cancel-by-hand"), b"")
    assert after_cancellations(storage, LAYOUT) is None


def test_a_session_that_was_claimed_is_no_submission_yet(tmp_path: Path) -> None:
    storage, session = LocalStorage(tmp_path), new_session()
    claim_session(storage, LAYOUT, session)
    assert noted_submissions(storage, LAYOUT) == []
    note_submission(storage, LAYOUT, session, "id")
    assert [each.workflow_run_id for each in noted_submissions(storage, LAYOUT)] == ["id"]


class Unknown(grpc.RpcError, grpc.Call):
    """What gRPC raises where the engine does not know a run."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.NOT_FOUND


Unknown.__abstractmethods__ = frozenset()


@pytest.mark.parametrize(("age_s", "over"), [(0, False), (50, False), (70, True)])
def test_a_run_that_the_engine_does_not_know_may_be_new(age_s: float, over: bool) -> None:
    from scythe_cli.engines.hatchet.client import Connection

    def get_details(workflow_run_id: str) -> object:
        raise Unknown

    connection = object.__new__(Connection)
    connection.address = "here"
    connection._client = SimpleNamespace(admin=SimpleNamespace(get_details=get_details))  # type: ignore[assignment]
    assert connection.is_over(Submission("id", datetime.now(UTC) - timedelta(seconds=age_s))) is over
