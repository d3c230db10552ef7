"""From an empty folder to results, through the command line."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl
import pytest

from .conftest import Run


def test_init_to_results(scythe: Run, scaffolded: Path) -> None:
    allocated = scythe("allocate", "cases.csv", "--workers", "2")
    assert allocated.code == 0, allocated.err
    assert allocated.out.startswith("heating v1.0.0: 36 cases in ")
    assert "36 succeeded" in allocated.out
    assert "folder  runs/heating/v1.0.0/" in allocated.out
    assert "tables  " in allocated.out
    assert "monthly" in allocated.out
    assert allocated.out.endswith("Next: scythe results show\n")
    assert "running 36 cases" in allocated.err

    status = scythe("status", "--json")
    assert status.code == 0
    assert status.json["counts"]["succeeded"] == 36
    assert status.json["gathered"]
    assert "succeeded  36" in scythe("status").out

    errors = scythe("errors")
    assert errors.code == 0
    assert "No errors." in errors.out

    assert [run["version"] for run in scythe("runs", "--json").json] == ["v1.0.0"]
    assert "heating     v1.0.0      1" in scythe("versions", "heating").out
    assert {table["name"] for table in scythe("results", "ls", "--json").json} >= {"scalars", "monthly", "errors"}

    shown = scythe("results", "show", "--rows", "3")
    assert "36 rows, the first 3" in shown.out
    assert "heating_per_area" in shown.out
    monthly = scythe("results", "show", "heating", "--table", "monthly", "--json").json
    assert monthly["n_rows"] == 36 * 12
    assert len(monthly["head"]) == 10

    fetched = scythe("results", "fetch", "--dest", "out", "--format", "csv", "--table", "scalars", "--json")
    assert fetched.code == 0
    assert pl.read_csv(fetched.json[0]["path"]).height == 36


def test_versions_of_results(scythe: Run, with_runs: Path) -> None:
    assert scythe("allocate", "good.csv", "--bump", "keep", "--quiet").code == 0

    assert (
        scythe("results", "show", "--version", "v1.0.0", "--json").json["experiment_id"].startswith("squares/v1.0.0/")
    )
    assert scythe("results", "show", "squares", "--version", "1.0.0", "--json").code == 0
    assert scythe("results", "ls", "squares", "--latest", "--json").json[0]["uri"].count("/v1.1.0/") == 1
    assert [version["n_runs"] for version in scythe("versions", "--json").json] == [2, 1]

    for wrong in (
        ["squares/v1.0.0", "--version", "v1.0.0"],
        ["--latest", "--version", "v1.0.0"],
        ["squares", "--version", "v9.0.0"],
        ["squares/v1.0.0/2026-01-01_00-00-00", "--latest"],
        ["cubes"],
        ["--table", "nosuch"],
    ):
        ran = scythe("results", "show", *wrong)
        assert ran.code == 2, wrong
        assert ran.err.startswith("error: ")


def test_failures_are_grouped_and_exit_with_1(scythe: Run, project: Path) -> None:
    ran = scythe("allocate", "bad.csv")

    assert ran.code == 1
    assert "2 succeeded · 2 failed" in ran.out
    assert "2 cases did not succeed\n2 × ValueError  failed\n    [red]bad[/] case 2.0 \\x1b[31m\n" in ran.out
    assert "work.py:" in ran.out
    assert "rows 1, 3" in ran.out
    assert ran.out.endswith("Next: scythe errors\n")

    errors = scythe("errors")
    assert errors.code == 0
    assert errors.out.splitlines()[-1].startswith("Next: scythe errors ")
    one = scythe("errors", "--row", "3")
    assert one.out.startswith("row 3  failed")
    assert "Traceback (most recent call last):" in one.out
    assert "\x1b" not in one.out
    assert scythe("errors", "--row", "3", "--json").json["sort_index"] == 3
    listed = scythe("errors", "--limit", "1", "--json").json
    assert (listed["groups"][0]["count"], len(listed["errors"])) == (2, 1)

    for row, message in (("0", "row 0 of squares/"), ("9", "has no row 9: it has rows 0 to 3")):
        ran = scythe("errors", "--row", row)
        assert ran.code == 2
        assert message in ran.err


def test_json_of_an_allocation_is_the_record_alone(scythe: Run, project: Path) -> None:
    ran = scythe("--json", "allocate", "bad.csv")

    assert ran.code == 1
    assert ran.json["counts"] == {
        "succeeded": 2, "failed": 2, "timeout": 0, "crashed": 0, "cancelled": 0, "pending": 0
    }  # fmt: skip
    assert ran.json["ok"] is False
    assert ran.json["errors"][0]["rows"] == [1, 3]


def test_nan_is_null_in_json(scythe: Run, project: Path) -> None:
    assert scythe("allocate", "nan.csv", "--quiet").code == 0

    assert scythe("results", "show", "--json").json["head"][0]["square"] is None


def test_quiet_prints_the_run_alone(scythe: Run, project: Path) -> None:
    ran = scythe("allocate", "good.csv", "-q")

    assert ran.err == ""
    assert ran.out.startswith("squares/v1.0.0/")
    assert ran.out.count("\n") == 1
    assert scythe("status", ran.out.strip()).code == 0


def test_mistakes_in_a_sampling_file_are_told_and_nothing_is_written(scythe: Run, project: Path) -> None:
    (project / "wrong.csv").write_text("x\n1\n-5\nabc\n")

    for command in ("validate", "allocate"):
        ran = scythe(command, "wrong.csv")
        assert ran.code == 3
        assert "line 3, x: -5" in ran.err
        assert "line 4, x: " in ran.err
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["allocate", "none.csv"], 2, "none.csv"),
        (["allocate", "good.csv", "-e", "sqares"], 2, "Did you mean `scythe allocate good.csv -e squares`?"),
        (["experiments", "sqares"], 2, "Did you mean `scythe experiments squares`?"),
        (["allocate", "good.csv", "--no-wait"], 2, "--no-wait"),
        (["status"], 2, "there are no runs"),
        (["results", "show"], 2, "there are no runs"),
    ],
)
def test_what_is_not_there(scythe: Run, project: Path, arguments: list[str], code: int, message: str) -> None:
    ran = scythe(*arguments)

    assert ran.code == code
    assert message in ran.err
    assert ran.out == ""


def test_experiments_show_fields_and_problems(scythe: Run, project: Path) -> None:
    one = scythe("experiments", "squares")
    assert one.code == 0
    assert "float, 0 ≤ x ≤ 100 [m] · required" in one.out
    assert scythe("experiments", "squares", "--json").json["inputs"][0]["unit"] == "m"

    with (project / "experiments.toml").open("a") as file:
        file.write('[experiments.lost]\nentrypoint = "nowhere:simulate"\n')
    every = scythe("experiments")
    assert every.code == 3
    assert "squares" in every.out
    assert every.err.startswith("error: lost: ")
    assert [bool(record["problem"]) for record in scythe("experiments", "--json").json] == [False, True]


def test_doctor_exits_with_the_worst_code(
    scythe: Run, shell: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = scythe("doctor")
    assert well.code == 0, well.out
    assert "✗" not in well.out
    assert all(check["ok"] for check in scythe("doctor", "--json").json)
    monkeypatch.setenv("NSLOTS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (cores,) = (check["detail"] for check in scythe("doctor", "--json").json if check["name"] == "cores")
    assert re.fullmatch(r"1( of \d+, by NSLOTS)?; 1 thread in each process \(.*OMP_NUM_THREADS=3.* set\)", cores)

    (project / "work.py").write_text("import nosuchmodule\n")
    (project / "file").write_text("")
    ill = shell("doctor", "--storage", "file")
    assert ill.code == 4
    assert "✗ experiment squares" in ill.out
    assert "→ " in ill.out


def test_a_reader_that_goes_away_is_no_error(project: Path) -> None:
    for n in range(400):
        (project / f"runs/squares/v1.0.{n}/2026-01-01_00-00-00").mkdir(parents=True)
    with started("versions", pipe_bytes=4096) as (process, out, err):
        assert os.read(out.fileno(), 10)
        out.close()  # while it waits for somebody to read the rest

        assert err.read() == b""
        assert process.wait(60) == 0


@contextmanager
def started(*args: str, pipe_bytes: int = -1) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    """Start a command line; yields the process with its stdout and stderr, and ends it in any case."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scythe_cli.cli", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pipesize=pipe_bytes,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    too_long = threading.Timer(60, process.kill)
    too_long.start()
    try:
        with process.stdout, process.stderr:
            yield process, process.stdout, process.stderr
    finally:
        too_long.cancel()
        process.kill()
        process.wait()


SLOW = """
import time
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float

class Answer(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register()
def simulate(case: Case) -> Answer:
    time.sleep(case.x)
    return Answer(y=1.0)
"""


@pytest.mark.parametrize(("n_interrupts", "each_s"), [(1, 0.5), (2, 600.0)])
def test_ctrl_c_keeps_what_is_finished(scythe: Run, project: Path, n_interrupts: int, each_s: float) -> None:
    (project / "work.py").write_text(SLOW)
    (project / "slow.csv").write_text("x\n0\n" + f"{each_s}\n" * 200)
    with started("allocate", "slow.csv", "--workers", "2", "--json") as (process, out, err):
        while not re.match(rb"running: [1-9]", line := err.readline()):
            assert line, "it ended before anything had finished"
        told = b""
        for _ in range(n_interrupts):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the processes of the pool get it as well
            while b"Ctrl-C again" not in told:  # two at once would be one
                told += (line := err.readline())
                assert line, told

        told += err.read()
        assert process.wait(60) == 130, told
        record = json.loads(out.read())

    assert b"finishing the running cases; Ctrl-C again stops at once" in told
    counts = scythe("status", "--json").json["counts"]
    assert record["counts"] == counts
    assert counts["succeeded"] >= 1
    assert counts["failed"] == counts["crashed"] == counts["timeout"] == 0
    assert sum(counts.values()) == 201
    assert counts["pending"] + counts["cancelled"] > 100


def test_a_terminal_that_goes_away_ends_a_run_in_good_order(scythe: Run, project: Path) -> None:
    (project / "work.py").write_text(SLOW)
    (project / "slow.csv").write_text("x\n0\n" + "600\n" * 20)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "scythe_cli.cli", "allocate", "slow.csv", "--workers", "2"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        shown = b""
        while b"1/21" not in shown:
            shown += os.read(ours, 10_000)
        os.close(ours)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()

    status = scythe("status", "--json").json
    assert status["counts"] | {"pending": 0, "cancelled": 0} == dict.fromkeys(status["counts"], 0) | {"succeeded": 1}
    assert scythe("results", "show", "--json").json["n_rows"] == 1


def test_a_retry_with_other_code_says_so(scythe: Run, with_runs: Path) -> None:
    code = with_runs / "work.py"
    code.write_text(code.read_text().replace('if case.mode == "raise":', 'if case.mode == "raises":'))

    refused = scythe("retry")
    ran = scythe("retry", "--accept-new-code")

    assert refused.code == 3
    assert "error: the code has changed since the run was allocated: work.py\n" in refused.err
    assert "--accept-new-code` marks what it runs" in refused.err
    assert ran.code == 0, ran.err
    assert "note: the code has changed since the run was allocated: work.py; outcomes of the new code" in ran.err
    assert scythe("retry").err.count("changed since") == 0
