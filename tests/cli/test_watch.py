"""Following a run from outside: what is read, what is shown, and when it ends."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from scythe_cli.analysis.run import Run as StoredRun
from scythe_cli.cli.output import Output
from scythe_cli.cli.watch import PlainWatch, show_moments, watch_frame
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.errors import WaitTimeoutError
from scythe_cli.run.active import RunningFile, read_running
from scythe_cli.run.final.gather import gather
from scythe_cli.run.lease import hold_lease, read_owner
from scythe_cli.run.ledger import Ledger, write_part
from scythe_cli.run.outcomes.effective import counts_of, effective_outcomes
from scythe_cli.run.records import RunningSpec, RunStatus, SpecError
from scythe_cli.services.runs import watching
from scythe_cli.services.runs.watching import LedgerReader, RunWatch
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, make_run, outcomes
from tests.waiting import wait_for

from .conftest import Run


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    store = open_storage(str(tmp_path / "runs"))
    make_run(store, tmp_path / "scratch", 10)
    return store


def moment(**changes: object) -> RunStatus:
    counts = StateCounts(succeeded=38, failed=2, pending=60)
    fields = {
        "experiment_id": LAYOUT.experiment_id,
        "experiment": "energy",
        "version": "v1.0.0",
        "timestamp": LAYOUT.timestamp,
        "uri": "/runs",
        "engine": "local",
        "n_specs": 100,
        "counts": counts,
        "rate_per_s": 4.0,
        "eta_s": 15.0,
        "gathered": False,
        "tables": [],
        "last_outcome_at": datetime.now(UTC),
        "at_work": "host, process 7",
        "running": [RunningSpec(sort_index=7, elapsed_s=12.0), RunningSpec(sort_index=9, elapsed_s=2.0)],
        "last_failures": [
            SpecError(
                sort_index=3,
                state=State.FAILED,
                attempt=1,
                error_type="ValueError",
                message="[red]no\x1b[31m " + "w" * 100,
                traceback=None,
                duration_s=1.0,
            )
        ],
    }
    return RunStatus.model_validate({**fields, **changes})


# reading


def test_what_is_read_bit_by_bit_is_what_is_read_at_once(storage: Storage) -> None:
    reader = LedgerReader(storage, LAYOUT)
    steps: list[Callable[[], None]] = [
        lambda: None,
        lambda: write_part(storage, LAYOUT, "a", outcomes([0, 1, 2])),
        lambda: write_part(storage, LAYOUT, "b", outcomes([3, 4], "failed")),
        lambda: write_part(storage, LAYOUT, "c", outcomes([3], attempt=2)),
        lambda: write_part(storage, LAYOUT, "c", outcomes([3, 5, 6], attempt=2)),  # again, as a fleet may
        lambda: storage.delete(LAYOUT.key("outcomes", "a.pq")),
    ]
    for step in steps:
        step()
        with Ledger.open(storage, LAYOUT) as ledger:
            expected = counts_of(effective_outcomes(ledger.outcomes()), 10)
        standings = reader.standings(10)
        assert standings.counts() == expected
        assert standings is reader.standings(10)

    assert [error.sort_index for error in reader.failures] == [4]
    write_part(storage, LAYOUT, "d", outcomes([7, 8], "failed", final=False))
    assert reader.standings(10).n_failing() == 2
    assert {error.sort_index for error in reader.failures} == {4, 7, 8}
    write_part(storage, LAYOUT, "e", outcomes([7], attempt=2))
    assert reader.standings(10).n_failing() == 1
    assert {error.sort_index for error in reader.failures} == {4, 8}


def test_a_damaged_part_is_named_and_the_others_count(storage: Storage) -> None:
    write_part(storage, LAYOUT, "a", outcomes([0, 1]))
    storage.write_bytes(LAYOUT.key("outcomes", "b.pq"), b"PAR1 nothing PAR1")
    reader = LedgerReader(storage, LAYOUT)

    assert reader.standings(10).counts().succeeded == 2
    assert reader.damaged == ["b.pq"]


def test_what_runs_is_told_to_who_is_on_this_machine(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scythe_cli.run.active._EVERY_S", 0.0)
    with hold_lease(storage, LAYOUT), RunningFile(LAYOUT.experiment_id) as published:
        owner = read_owner(storage, LAYOUT)
        assert owner is not None
        assert read_running(owner, LAYOUT.experiment_id) == []
        published.write_if_due(lambda: [(3, 2.0), (5, 60.0), (8, 0.01)])
        specs = read_running(owner, LAYOUT.experiment_id)
        assert specs is not None
        assert [spec.sort_index for spec in specs] == [5, 3]
        assert specs[0].elapsed_s >= 60.0
        assert read_running(owner, "another/v1.0.0/run") is None

    assert read_running(owner, LAYOUT.experiment_id) is None
    assert read_owner(storage, LAYOUT) is None


# when it ends


class Clock:
    """A time in which something happens at each sleep."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.now = 0.0
        self.events = list(events)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.events:
            self.events.pop(0)()


def watch(storage: Storage, clock: Clock, timeout_s: float | None = None) -> RunWatch:
    return RunWatch(StoredRun(storage, LAYOUT), timeout_s, clock=clock, sleep=clock.sleep)


def test_it_ends_with_the_run(storage: Storage) -> None:
    with hold_lease(storage, LAYOUT) as lease:
        clock = Clock(
            lambda: write_part(storage, LAYOUT, "a", outcomes(range(9))),
            lambda: write_part(storage, LAYOUT, "b", outcomes([9], "failed")),
            lambda: gather(storage, LAYOUT),
            lease.release,
        )
        seen = list(watch(storage, clock).moments())

    assert [status.counts.pending for status in seen if status.counts] == [10, 1, 0, 0, 0]
    assert [status.gathered for status in seen] == [False, False, False, True, True]
    assert [bool(status.at_work) for status in seen] == [True, True, True, True, False]
    assert seen[-1].last_failures[0].sort_index == 9
    assert seen[1].rate_per_s is not None


def test_it_ends_when_nothing_is_at_work(storage: Storage) -> None:
    write_part(storage, LAYOUT, "a", outcomes([0]))
    following = watch(storage, Clock())
    seen = list(following.moments())

    assert following.dead
    assert len(seen) > 1  # one look can fall between two owners
    assert seen[-1].notice == f"no process is working on it; `scythe retry {LAYOUT.experiment_id}` resumes it"


def test_it_ends_when_time_is_up(storage: Storage) -> None:
    clock = Clock()
    with hold_lease(storage, LAYOUT), pytest.raises(WaitTimeoutError, match="10 pending"):
        list(watch(storage, clock, timeout_s=61.0).moments())
    assert clock.now == 61.0


# what is shown


def frame(status: RunStatus, width: int = 80) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, highlight=False, markup=False)
    console.print(watch_frame(status, width))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_a_frame_says_all_there_is_to_know_in_80_columns() -> None:
    lines = frame(moment(notice="[b]look"))
    text = "\n".join(lines)

    assert max(map(len, lines)) < 80
    for part in (
        "40/100  40 %",
        "38 succeeded · 2 failed · 60 pending",
        "rate       4/s",
        "time left  about 15 s",
        "at work    host, process 7",
        "running    row 7 for 12 s, row 9 for 2.0 s",
        "row 3  ValueError: [red]no\\x1b[31m www",
        "note: [b]look",
        "Ctrl-C stops watching",
    ):
        assert part in text
    assert "workers" not in text
    assert "workers    none" in "\n".join(frame(moment(workers=[])))


def test_a_bar_shows_failures_however_few() -> None:
    line = frame(moment(counts=StateCounts(succeeded=99_999, failed=1)), 60)[1]

    assert line.endswith("100,000/100,000  100 %")
    almost = frame(moment(counts=StateCounts(succeeded=99_999, pending=1)), 60)[1]
    assert almost.endswith("99,999/100,000  99 %")


def test_plain_lines_come_when_something_has_changed_and_not_too_often() -> None:
    now = 0.0
    lines: list[tuple[float, str]] = []
    show = PlainWatch(lambda line: lines.append((now, line)), lambda: now)
    for second in range(0, 61, 2):
        now = float(second)
        done = min(second, 20)
        show(moment(counts=StateCounts(succeeded=done, pending=100 - done), last_failures=[]))

    assert [at for at, _ in lines] == [0.0, 6.0, 12.0, 18.0, 24.0]
    assert lines[1][1] == f"{LAYOUT.experiment_id}: 6/100 · 4/s · 15 s left"


def test_a_plain_line_tells_new_failures_and_notices_once() -> None:
    now = 0.0
    lines: list[str] = []
    show = PlainWatch(lines.append, lambda: now)
    for succeeded in (1, 2):
        now += 10.0
        show(moment(counts=StateCounts(succeeded=succeeded, failed=1, pending=9), notice="look"))

    assert "last failure: row 3  ValueError: [red]no\\x1b[31m" in lines[0]
    assert lines[0].endswith("; look")
    assert lines[1] == f"{LAYOUT.experiment_id}: 3/12 · 1 failed · 4/s · 15 s left"


class Interrupted:
    """Shows as `PlainWatch` does, and then is interrupted before anything else is done."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.show = PlainWatch(write)

    def __call__(self, status: RunStatus) -> None:
        self.show(status)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("at_work", "said"), [("host, process 7", "no longer watching; the run goes on"), (None, "no longer watching")]
)
def test_an_interrupt_right_after_a_moment_is_shown_knows_of_it(
    at_work: str | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scythe_cli.cli.watch.PlainWatch", Interrupted)

    assert show_moments(Output(as_json=False, quiet=False), iter([moment(at_work=at_work)])) == 130
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0].startswith(f"{LAYOUT.experiment_id}: 40/100")
    assert shown.err.splitlines()[1:] == [f"note: {said}"]


def test_an_interrupt_before_anything_is_shown_says_nothing_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Iterator[RunStatus]:
        raise KeyboardInterrupt
        yield moment()

    assert show_moments(Output(as_json=False, quiet=False), interrupted()) == 130
    assert capsys.readouterr().err == "note: no longer watching\n"


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        (StateCounts(succeeded=3), 0),
        (StateCounts(succeeded=2, failed=1), 1),
        (StateCounts(succeeded=2, pending=1), 1),
        (None, 0),
    ],
)
def test_watching_ends_with_how_the_run_is(
    counts: StateCounts | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show_moments(Output(as_json=False, quiet=True), iter([moment(counts=counts, last_failures=[])])) == code
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith(f"{LAYOUT.experiment_id}\n")


def test_documents_of_moments_tell_what_changed_and_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    quicker, done = moment(rate_per_s=8.0), moment(counts=StateCounts(succeeded=100))
    at = moment().last_outcome_at
    moments = [status.model_copy(update={"last_outcome_at": at}) for status in (moment(), quicker, done)]

    assert show_moments(Output(as_json=True, quiet=True), iter(moments)) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["counts"]["succeeded"] for document in documents] == [38, 100]


# the command


WAIT = """
    if case.mode == "wait":
        import time
        from pathlib import Path
        while not Path(__file__).with_name("go").exists():
            time.sleep(0.05)
"""


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose second spec waits for a file."""
    code = (folder / "work.py").read_text()
    (folder / "work.py").write_text(code.replace('    if case.mode == "raise":', f'{WAIT}    if case.mode == "raise":'))
    (folder / "wait.csv").write_text("x,mode\n1,raise\n2,wait\n3,fine\n")
    arguments = [sys.executable, "-m", "scythe_cli.cli", "allocate", "wait.csv", "--quiet"]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: process.poll() is not None or any(folder.glob("runs/*/*/*/outcomes/*.pq")), 300)
            assert process.poll() is None
            yield process
        finally:
            (folder / "go").touch()
            try:
                process.wait(60)
            finally:
                process.kill()


def test_a_run_of_another_process_is_watched_to_its_end(
    scythe: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "scythe_cli.cli", "status", "--watch"]
    with running(project) as process:
        assert f"process {process.pid}, since" in scythe("status").out
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher:
            try:
                assert watcher.stderr is not None
                first = watcher.stderr.readline()
                watcher.send_signal(signal.SIGINT)
                out, err = watcher.communicate(timeout=60)
            finally:
                watcher.kill()  # no test waits for one that goes on watching
        assert "1/3 · 1 failed" in first
        assert "last failure: row 0  ValueError: [red]bad[/] case 1.0" in first
        assert (watcher.returncode, out) == (130, "")
        assert err == "note: no longer watching; the run goes on\n"

        (project / "go").touch()
        monkeypatch.setattr(watching, "INTERVAL_S", 0.1)
        ran = scythe("status", "--watch", "--json", "--quiet")
    documents = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, ran.err) == (1, "")
    assert documents[-1]["counts"]["succeeded"] == 2
    assert documents[-1]["counts"]["failed"] == 1
    assert documents[-1]["gathered"]


def test_a_run_that_is_done_is_one_document(scythe: Run, with_runs: Path) -> None:
    ran = scythe("status", "squares/v1.0.0", "--watch", "--json")
    assert ran.code == 0
    assert ran.json["counts"]["succeeded"] == 3
    assert scythe("status", "--timeout", "3s").code == 2
    assert scythe("status", "--watch", "--timeout", "x").code == 2


def test_a_dead_run_says_how_to_go_on(scythe: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(project) as process:
        process.kill()
        process.wait()
        status = scythe("status")
        assert "no process is working on it; `scythe retry squares/v1.0.0/" in status.err
    monkeypatch.setattr(watching, "INTERVAL_S", 0.1)
    monkeypatch.setattr(watching, "_DEAD_AFTER_S", 0.2)
    ran = scythe("status", "--watch")
    assert ran.code == 1
    assert "no process is working on it; `scythe retry squares/v1.0.0/" in ran.err
