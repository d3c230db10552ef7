"""`retry`, `logs`, `rerun` and `--max-failures` on the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scythe_cli.run.lease import hold_lease
from scythe_cli.services.project import open_project
from scythe_cli.storage.opening import open_storage
from tests.made_runs import make_run
from tests.projects import make_project, tree

from .comparing import strangers
from .conftest import CONFIG, Inside, nightly

CODE = """
import os
from pathlib import Path
import pyarrow as pa
from pydantic import Field
from scythe_cli.arrow.build import array_of
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float
    weather: FileReference | None = None

class Answer(ExperimentOutputSpec):
    y: float
    report: FileReference | None = None

@ExperimentRegistry.Register(retries=0)
def simulate(spec: Case, tempdir: Path) -> Answer:
    print(f"looking at {spec.x}")
    spec.log("a word")
    if spec.x >= float(os.environ.get("BAD_FROM", "1e9")):
        raise KeyError("lpd")
    report = tempdir / "r.txt"
    report.write_text(spec.weather.read_text() if spec.weather else "none")
    steps = pa.Table.from_arrays([array_of([1, 2], pa.int64())], ["a"])
    return Answer(y=spec.x**2, report=report, dataframes={"steps": steps})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = make_project(tmp_path / "p", code=CODE, config=CONFIG)
    (folder / "w.epw").write_text("sunny")
    (folder / "cases.csv").write_text("x,weather\n" + "".join(f"{i},w.epw\n" for i in range(30)))
    return folder


def only_run(project: Path) -> Path:
    (run,) = (project / "runs").glob("energy/*/*")
    return run


def test_doomed_run_stops_early_and_goes_on_once_the_cause_is_gone(
    project: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAD_FROM", "2")
    ran = inside(project, "allocate", "cases.csv", "--max-failures", "5")
    run = open_project(start=project).run()
    counts = run.status().counts
    assert ran.code == 1
    assert counts is not None
    assert counts.failed >= 5
    assert counts.total == 30
    done = counts.failed + counts.succeeded
    why = f"note: stopped: {counts.failed} of {done} failed in the same way: KeyError 'lpd'; the rest are pending"
    assert f"{why}, and `scythe retry {run.experiment_id}` runs them" in ran.err

    # attempts are counted on, in all ways to look at them
    again = inside(project, "retry", "--only", "failed,pending", "--max-failures", "1", "--json")
    assert again.code == 1
    assert "stopped: " in json.loads(again.out)["notices"][0]
    logs = inside(project, "logs", "--row", "2")
    assert logs.code == 0
    assert "row 2: failed" in logs.out
    assert re.search(
        r"attempt 1: failed, .*\nlooking at 2\.0\n(.*\n)*KeyError: 'lpd'(.|\n)*attempt 2: failed", logs.out
    )

    # one spec in this process: nothing is written
    before = tree(project / "runs")
    failed = inside(project, "rerun", "--row", "2")
    assert failed.code == 1
    monkeypatch.delenv("BAD_FROM")
    good = inside(project, "rerun", run.experiment_id, "--row", "2", "--json")
    assert good.code == 0
    assert json.loads(good.out)["y"] == 4.0
    assert "looking at 2.0" in good.err
    assert "steps" in inside(project, "rerun", "--row", "2").out
    assert inside(project, "rerun", "--row", "30").code == 2
    assert inside(project, "logs", "--row", "30").code == 2
    assert tree(project / "runs") == before

    retried = inside(project, "retry", "--workers", "1")
    assert retried.code == 0
    assert "30 succeeded" in retried.out
    nothing = inside(project, "retry")
    assert nothing.code == 0
    assert f"note: nothing to run: all cases of {run.experiment_id} have succeeded" in nothing.err
    history = json.loads(inside(project, "logs", "--row", "2", "--json").out)
    assert [attempt["state"] for attempt in history["attempts"]][-1] == "succeeded"
    assert history["attempts"][0]["log"].startswith("looking at 2.0\n")
    assert strangers(only_run(project)) == []


ALWAYS = CODE.replace("retries=0", "").replace(
    'print(f"looking',
    'os.write(os.open(os.environ["CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT), b"x")\n    print(f"looking',
)


def test_what_fails_is_seen_at_once_and_ends_a_run_that_may_not_fail(
    project: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "models" / "building.py").write_text(ALWAYS)
    (project / "cases.csv").write_text("x\n" + "".join(f"{i}\n" for i in range(150)))
    (project / "experiments.toml").write_text(CONFIG.replace("workers = 1", "workers = 2") + "retries = 1\n")
    calls = project / "calls"
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("BAD_FROM", "0")

    ran = inside(project, "allocate", "cases.csv", "--max-failures", "1")
    assert ran.code == 1
    assert 1 <= len(calls.read_text()) <= 1 + 2 * 4  # the chunks that two processes had by then
    assert "failed and can be retried" in ran.out
    status = json.loads(inside(project, "status", "--json").out)
    assert 1 <= status["failing"] <= status["counts"]["pending"]
    assert sum(status["counts"].values()) == 150
    listed = inside(project, "errors").out
    assert "to be retried" in listed
    assert "KeyError" in listed
    told = json.loads(inside(project, "errors", "--json").out)
    row = told["failing"][0]["rows"][0]
    assert "KeyError: 'lpd'" in inside(project, "errors", "--row", str(row)).out

    # where nobody has said how often, an exception is not tried again; that all fail alike is said, and once
    (project / "experiments.toml").write_text(CONFIG)
    calls.unlink()
    ran = inside(project, "retry")
    assert ran.code == 1
    assert len(calls.read_text()) == 150
    assert ran.err.count("note: the first 3 cases all failed in the same way: KeyError 'lpd', at ") == 1
    assert "building.py:" in ran.err
    assert json.loads(inside(project, "status", "--json").out)["failing"] == 0


def test_wrong_states_are_told_with_those_that_there_are(project: Path, inside: Inside) -> None:
    allowed = "hint: States are failed, timeout, crashed, cancelled, pending."
    for given, said in (
        ("failed,lost", "--only lost: not a state that can be retried"),
        ("succeeded", "cases that succeeded are not run again"),
        (",", "--only names no state"),
    ):
        ran = inside(project, "retry", "--only", given)
        assert ran.code == 2
        assert said in ran.err
        assert allowed in ran.err
    assert inside(project, "retry", "--max-failures", "0").code == 2
    assert inside(project, "retry", "nosuch").code == 2


def test_second_process_on_a_run_is_refused(project: Path, inside: Inside) -> None:
    make_run(open_storage(project / "runs"), project / "scratch", 10)
    run = open_project(start=project).run()
    with hold_lease(run.storage, run.layout):
        ran = inside(project, "retry")
    assert ran.code == 2
    assert f"error: another process is working on {run.experiment_id}: " in ran.err
    assert f"process {os.getpid()}, since 20" in ran.err


def test_debugger_is_opened_where_the_function_fails(
    project: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAD_FROM", "1")
    assert inside(project, "allocate", "cases.csv", "--max-failures", "1").code == 1
    command = [sys.executable, "-m", "scythe_cli.cli", "rerun", "--row", "2", "--pdb"]
    done = subprocess.run(
        command, cwd=project, input="p spec.x, tempdir.is_dir()\nq\n", capture_output=True, text=True, check=False
    )
    assert "(2.0, True)" in done.stdout, done.stderr
    assert done.stderr.count("KeyError: 'lpd'") == 1
    assert done.returncode == 1


SLOW = CODE.replace('spec.log("a word")', "import time; time.sleep(float(os.environ.get('PAUSE_S', 0.2)))")


def test_interrupted_run_says_how_it_goes_on(tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_project(tmp_path / "slow", code=SLOW, config=CONFIG)
    (folder / "cases.csv").write_text("x\n" + "".join(f"{i}\n" for i in range(30)))
    for command in (["allocate", "cases.csv"], *([["retry"]] if nightly() else [])):
        process = subprocess.Popen(
            [sys.executable, "-m", "scythe_cli.cli", *command],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            deadline = time.monotonic() + 60
            known = len(list((folder / "runs").rglob("outcomes/*.pq")))
            while len(list((folder / "runs").rglob("outcomes/*.pq"))) == known:
                assert time.monotonic() < deadline
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        run = open_project(start=folder).run()
        assert process.returncode == 130, err
        assert f"note: interrupted; finished cases are kept; `scythe retry {run.experiment_id}` resumes it" in err
        counts = run.status().counts
        assert counts is not None
        assert 0 < counts.pending < 30
    monkeypatch.setenv("PAUSE_S", "0")
    assert inside(folder, "retry").code == 0
