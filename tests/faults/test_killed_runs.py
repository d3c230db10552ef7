"""Runs that are killed at any moment go on, and end as if nothing had happened."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import psutil
import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.manifest import read_manifest
from scythe_cli.services.project import open_project
from scythe_cli.storage.opening import open_storage
from tests.made_runs import make_run

from .comparing import assert_same_tables, final_tables, strangers
from .conftest import Inside, nightly, rounds, told_seed

ROUNDS = rounds(50)
N_KILLS = 3 if nightly() else 2
N_SPECS = 5000 if nightly() else 1000
N_BAD = N_SPECS // 97
COUNTS = StateCounts(succeeded=N_SPECS - N_BAD, failed=N_BAD)


def runs_of(project: Path) -> list[RunLayout]:
    """The runs whose allocation is complete, oldest first."""
    storage = open_storage(project / "runs")
    found: list[RunLayout] = []
    for path in sorted((project / "runs").glob("energy/v*/*")):
        run = RunLayout.from_experiment_id(str(path.relative_to(project / "runs")))
        manifest = read_manifest(storage, run) if run else None
        if run and manifest and manifest.state == "allocated":
            found.append(run)
    return sorted(found)


def with_outcome(project: Path, run: RunLayout) -> set[int]:
    with Ledger.open(open_storage(project / "runs"), run) as ledger:
        assert ledger.damaged == []
        return set(ledger.outcomes()["sort_index"])


def calls(project: Path) -> list[int]:
    path = project / "calls"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def kill_after(arguments: list[str], project: Path, delay_s: float) -> int | None:
    """Run a command, and kill it after a while with all that it started; its exit code if it was done before."""
    command = [sys.executable, "-m", "scythe_cli.cli", *arguments]
    with (
        (project / "stderr").open("wb") as stderr,
        subprocess.Popen(
            command, cwd=project, start_new_session=True, stdout=subprocess.DEVNULL, stderr=stderr
        ) as process,
    ):
        try:
            return process.wait(delay_s)
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGKILL)
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, f"{len(alive)} of {len(alive) + len(gone)} children outlived the command"
    return None


def write_cases(project: Path, n: int, pause_s: float) -> None:
    pl.DataFrame({"x": [float(i) for i in range(n)], "pause_s": [pause_s] * n}).write_csv(project / "cases.csv")


def test_killed_again_and_again_it_ends_as_if_undisturbed(
    recorded: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = recorded / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))  # of the commands that are processes of their own
    seed = told_seed()
    dice = random.Random(seed)
    write_cases(recorded, N_SPECS, 0.0003)
    started = time.monotonic()
    assert inside(recorded, "allocate", "cases.csv", "--quiet").code == 1
    # a process of its own takes some time to start
    duration_s = time.monotonic() - started + 1.0
    undisturbed = final_tables(recorded / "runs" / runs_of(recorded)[-1].experiment_id)

    for _ in range(ROUNDS):
        known = len(runs_of(recorded))
        began = len(calls(recorded))
        kills: list[tuple[set[int], int]] = []
        code: int | None = None
        run: RunLayout | None = None
        while code is None:
            arguments = ["retry", run.experiment_id, "--only", "pending"] if run else ["allocate", "cases.csv"]
            # after some kills it is left alone: a run must also end
            delay_s = dice.uniform(0.3, 1.05) * duration_s if len(kills) < N_KILLS else 300.0
            code = kill_after(arguments, recorded, delay_s)
            runs = runs_of(recorded)
            run = runs[-1] if len(runs) > known else None
            if code is None and run is not None:
                kills.append((with_outcome(recorded, run), len(calls(recorded))))
            elif code is None:
                began = len(calls(recorded))
        assert run is not None
        assert code == 1, "the bad cases fail"
        made = calls(recorded)
        print((recorded / "stderr").read_text())
        print(f"killed with {[len(done) for done, _ in kills]} outcomes; {len(made) - began} calls")
        for done, at in kills:
            assert not done & set(made[at:]), "a spec with an outcome was run again"
        assert open_project(start=recorded).run(run.experiment_id).status().counts == COUNTS
        assert_same_tables(recorded / "runs" / run.experiment_id, undisturbed)
        assert strangers(recorded / "runs" / run.experiment_id) == []
        assert list(temporary.iterdir()) == [], "what killed commands leave is removed by the next one"


KILLED_IN_GATHER = """
import os, signal, sys
from pathlib import Path
from scythe_cli.storage.local import LocalStorage

take_file, at, tables = LocalStorage.take_file, int(sys.argv.pop(1)), []

def deadly(self, local_path, key):
    if "/final/" in key:
        tables.append(key)
        if len(tables) == at:
            # in the middle of a copy, as between file systems
            target = self.local_path(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_name(".scythe-tmp-0123456789abcdef").write_bytes(Path(local_path).read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)
    take_file(self, local_path, key)

LocalStorage.take_file = deadly
from scythe_cli.cli import main
sys.argv[0] = "scythe"
main()
"""


@pytest.mark.parametrize("at", [1, 2, 3] if nightly() else [2])
def test_killed_while_gathering(recorded: Path, inside: Inside, at: int) -> None:
    write_cases(recorded, 300, 0.0)
    assert inside(recorded, "allocate", "cases.csv").code == 1
    undisturbed = final_tables(recorded / "runs" / runs_of(recorded)[-1].experiment_id)
    script = recorded / "killed.py"
    script.write_text(KILLED_IN_GATHER)
    command = [sys.executable, str(script), str(at), "allocate", "cases.csv"]
    done = subprocess.run(command, cwd=recorded, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = runs_of(recorded)[-1]
    folder = recorded / "runs" / run.experiment_id
    assert strangers(folder) == [".lease", "final/.scythe-tmp-0123456789abcdef"]
    status = open_project(start=recorded).run().status()
    assert not status.gathered
    assert "`scythe retry` writes them" in (status.notice or "")
    n_calls = len(calls(recorded))

    retried = inside(recorded, "retry", run.experiment_id, "--only", "pending")

    assert retried.code == 1
    assert "nothing to run: no case of" in retried.err
    assert len(calls(recorded)) == n_calls
    assert_same_tables(folder, undisturbed)
    assert strangers(folder) == []
    assert open_project(start=recorded).run().status().gathered


def test_tables_that_are_older_than_the_ledger_are_made_anew(recorded: Path, inside: Inside) -> None:
    """A retry that was killed after its last spec leaves tables of the time before it."""
    write_cases(recorded, 100, 0.0)
    inside(recorded, "allocate", "cases.csv")
    folder = recorded / "runs" / runs_of(recorded)[-1].experiment_id
    before = {path: path.stat().st_mtime_ns for path in (folder / "final").iterdir()}
    for part in (folder / "outcomes").iterdir():
        os.utime(part)

    assert not open_project(start=recorded).run().status().gathered
    assert inside(recorded, "retry", "--only", "pending").code == 1
    made = {path: path.stat().st_mtime_ns for path in (folder / "final").iterdir()}
    assert all(made[path] > before[path] for path in before)
    # and then they are left alone
    assert inside(recorded, "retry", "--only", "pending").code == 1
    assert made == {path: path.stat().st_mtime_ns for path in (folder / "final").iterdir()}


def spoil(part: Path, how: str) -> None:
    data = part.read_bytes()
    if how == "cut":
        part.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        part.write_bytes(b"")
    else:
        middle = data.index(b"\x28\xb5\x2f\xfd") + 8  # inside the first compressed page
        part.write_bytes(data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :])


def test_damaged_part_is_told_and_its_specs_run_again(
    recorded: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scythe_cli.run.ledger._MAX_PART_ROWS", 100)
    write_cases(recorded, 600, 0.0005)
    assert inside(recorded, "allocate", "cases.csv").code == 1
    run = runs_of(recorded)[-1]
    folder = recorded / "runs" / run.experiment_id
    undisturbed = final_tables(folder)
    for how in ("cut", "empty", "flipped") if nightly() else ("flipped",):
        parts = sorted((folder / "outcomes").iterdir())
        assert len(parts) > 1
        kept = with_outcome(recorded, run) - set(pl.read_parquet(parts[0], glob=False)["sort_index"])
        assert len(kept) < 600
        spoil(parts[0], how)
        n_calls = len(calls(recorded))

        status = open_project(start=recorded).run().status()
        retried = inside(recorded, "retry", "--only", "pending")

        assert status.damaged_parts == [parts[0].name], how
        assert re.search(r"1 part of the ledger cannot be read.*`scythe retry`", status.notice or "")
        assert status.counts is not None
        assert status.counts.pending == 600 - len(kept)
        assert f"note: part {parts[0].name} of the ledger is damaged" in retried.err
        assert sorted(calls(recorded)[n_calls:]) == sorted(set(range(600)) - kept)
        assert_same_tables(folder, undisturbed)
        assert strangers(folder) == []
        assert open_project(start=recorded).run().status().damaged_parts == []


def test_an_allocation_that_was_killed_early_is_not_taken_for_a_run(recorded: Path, inside: Inside) -> None:
    run = make_run(open_storage(recorded / "runs"), recorded / "scratch", 10)
    manifest = recorded / "runs" / run.experiment_id / "manifest.yml"
    manifest.write_text(manifest.read_text().replace("state: allocated", "state: allocating"))

    retried = inside(recorded, "retry")

    assert retried.code == 4
    assert "did not finish" in retried.err
    assert "Allocate the sampling file again" in retried.err
