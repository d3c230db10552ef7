"""Runs on a real Slurm, as a user has them: submitted, looked at, cancelled, retried; tasks that are killed."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.engines.slurm.queue import parse_queue
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.services.project import open_project
from tests.commands import run_here
from tests.slurm_cluster import SlurmCluster, missing_accounting, slurm_cluster
from tests.waiting import wait_for

MODULE = '''
import time
from pathlib import Path
from scythe_cli import Input, Output

class Case(Input):
    x: float
    sleep_s: float = 0.0

class Result(Output):
    y: float

def simulate(case: Case) -> Result:
    """Computes next to nothing, or waits until it may go on."""
    awake_at = time.monotonic() + case.sleep_s
    while time.monotonic() < awake_at and not Path(__file__).with_name("hurry").exists():
        time.sleep(0.02)
    print(f"x is {case.x}")
    return Result(y=case.x * 2)
'''
_LIMIT_S = 240.0


def new_project(folder: Path, rows: list[dict[str, float]], settings: str = "", storage: str = "runs") -> Path:
    """A project whose engine is Slurm, with the file of its cases."""
    folder.mkdir(parents=True)
    (folder / "slurm_module.py").write_text(MODULE)
    pl.DataFrame(rows).write_csv(folder / "cases.csv")
    (folder / "experiments.toml").write_text(
        f'[scythe]\nengine = "slurm"\nstorage = "{storage}"\n\n[slurm]\n{settings or "array_limit = 2"}\n\n'
        '[experiments.sim]\nentrypoint = "slurm_module:simulate"\nretries = 0\n'
    )
    return folder


def run_of(root: Path) -> Run:
    """The newest run of a project."""
    return open_project(start=root).run("latest")


def counts(root: Path) -> dict[str, int]:
    """The cases of the newest run by state."""
    told = run_of(root).status().counts
    assert told is not None
    return told.model_dump()


def ended(root: Path) -> bool:
    """Whether the closing job of the newest run has said its last word."""
    return any((root / "runs").glob("sim/*/*/slurm/*.end"))


def names(root: Path) -> list[str]:
    """The names of the jobs of the newest run."""
    manifest = run_of(root).manifest
    assert manifest is not None
    name = f"sim-{manifest.version}-{manifest.workflow_run_id[:8]}"
    return [name, f"{name}-end"]


def test_a_run_is_submitted_looked_at_cancelled_and_retried(cluster: SlurmCluster, tmp_path: Path) -> None:
    """One array and one job behind it; what `cancel` has marked, `retry` runs."""
    del cluster
    root = new_project(tmp_path / "a project", [{"x": float(i), "sleep_s": 100.0} for i in range(6)])
    submitted = run_here("--json", "allocate", "cases.csv", cwd=root)
    assert submitted.code == 0, submitted.err
    assert submitted.json["look"].startswith("squeue --name=sim-v1.0.0-")
    status = run_here("--json", "status", cwd=root).json
    assert status["queue"]["jobs"][0] == submitted.json["workflow_run_id"]
    assert status["queue"]["closing"]
    assert status["queue"]["queued"] + status["queue"]["running"] == 2
    refused = run_here("retry", cwd=root)
    assert refused.code == 2
    assert "is still in Slurm's queue" in refused.err

    wait_for(lambda: run_here("--json", "status", cwd=root).json["queue"]["running"] == 2, _LIMIT_S, every_s=1)
    assert "2 running" in run_here("status", cwd=root).out
    cancelled = run_here("--json", "cancel", cwd=root).json
    assert cancelled["cancelled"] >= 4
    (root / "hurry").touch()
    wait_for(lambda: ended(root), _LIMIT_S, every_s=0.5)
    assert counts(root)["pending"] == 0
    assert counts(root)["cancelled"] >= 2

    retried = run_here("--json", "retry", cwd=root)
    assert retried.code == 0, retried.err
    assert retried.json["counts"]["succeeded"] == 6
    assert pl.read_parquet(retried.json["tables"]["scalars"])["y"].to_list() == [2.0 * i for i in range(6)]
    assert "x is 3.0" in run_here("logs", "--row", "3", cwd=root).out


def test_tasks_that_are_killed_cost_nothing(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Each row has exactly one outcome, and tables are those of the local engine."""
    rows = [{"x": float(i), "sleep_s": 0.2} for i in range(24)]
    kill_tasks(cluster, tmp_path, rows, n_kills=1, seed=1)


@pytest.mark.nightly
@pytest.mark.parametrize("round_", range(10))
def test_killed_tasks_lost_nodes_and_a_controller_that_starts_anew(
    cluster: SlurmCluster, tmp_path: Path, round_: int
) -> None:
    """The same for 2,000 rows in tasks of a minute."""
    del round_
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rows = [{"x": float(i), "sleep_s": 0.2} for i in range(2000)]
    kill_tasks(cluster, tmp_path, rows, n_kills=8, seed=seed, settings='time = "1m"', with_faults=True)


@pytest.mark.nightly
@pytest.mark.skipif(missing_accounting() is not None, reason=str(missing_accounting()))
def test_a_quota_that_is_reached_is_told_and_retry_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a real Slurm with accounting: nothing is submitted, and what was written is kept."""
    root = new_project(tmp_path / "project", [{"x": float(i)} for i in range(20)], 'qos = "small"\naccount = "lab"')
    with slurm_cluster() as cluster, cluster.accounting():
        monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
        refused = run_here("allocate", "cases.csv", cwd=root)
        assert refused.code == 4
        assert "your limit of submitted jobs is reached" in refused.err
        assert "scythe retry" in refused.err
        cluster.run("sacctmgr", "-i", "modify", "qos", "small", "set", "MaxSubmitJobsPerUser=100")
        retried = run_here("--json", "retry", cwd=root)
        assert retried.code == 0, retried.err
        assert retried.json["counts"]["succeeded"] == 20


def kill_tasks(
    cluster: SlurmCluster,
    folder: Path,
    rows: list[dict[str, float]],
    *,
    n_kills: int,
    seed: int,
    settings: str = "",
    with_faults: bool = False,
) -> None:
    """Run cases while tasks are cancelled at random, and compare with the local engine."""
    chosen = random.Random(seed)
    root = new_project(folder / "project", rows, settings)
    submitted = run_here("--json", "allocate", "cases.csv", cwd=root)
    assert submitted.code == 0, submitted.err
    name = names(root)[0]
    faults = ["node", "controller"] if with_faults else []
    done = 0
    while not ended(root) and done < n_kills + len(faults):
        running = [
            task
            for task in parse_queue(cluster.run("squeue", "-h", "-r", f"--name={name}", "--format=%i|%T|%r|%j"))
            if task.state == "RUNNING"
        ]
        finished = counts(root)["succeeded"]
        if not running or not finished:
            time.sleep(0.2)
            continue
        if done >= n_kills:
            break_something(cluster, faults.pop())
        else:
            victim = chosen.choice(running)
            cluster.run("scancel", f"{victim.job}_{victim.task}")
        done += 1
        # the next one comes when there is something new to lose
        wait_for(lambda before=finished: ended(root) or counts(root)["succeeded"] > before, _LIMIT_S, every_s=0.2)
    assert done
    wait_for(lambda: ended(root), 10 * _LIMIT_S, every_s=0.5)
    run = run_of(root)
    with Ledger.open(run.storage, run.layout) as ledger:
        effective = effective_outcomes(ledger.outcomes(len(rows)))
    assert effective["sort_index"].sort().to_list() == list(range(len(rows))), f"seed {seed}"
    assert counts(root)["succeeded"] == len(rows), f"seed {seed}"
    (root / "hurry").touch()
    local = run_here("--json", "allocate", "cases.csv", "--engine", "local", cwd=root)
    assert local.code == 0, local.err
    ours = pl.read_parquet(run.storage.uri(run.layout.table("scalars")))
    theirs = pl.read_parquet(local.json["tables"]["scalars"])
    ids = ["experiment_id", "workflow_run_id", "root_workflow_run_id"]
    assert ours.drop(ids).equals(theirs.drop(ids)), f"seed {seed}"


def break_something(cluster: SlurmCluster, what: str) -> None:
    """Take a node down and up, or end the controller and start it anew."""
    if what == "node":
        cluster.run("scontrol", "update", "nodename=d1", "state=down", "reason=test")
        cluster.run("scontrol", "update", "nodename=d1", "state=resume")
    else:
        cluster.do("stop-controller")
        cluster.do("start-controller")


def test_a_storage_that_no_node_sees(cluster: SlurmCluster, tmp_path: Path) -> None:
    """`doctor` says so, and a run that was submitted nevertheless ends with what to do."""
    storage = cluster.hidden / tmp_path.name
    root = new_project(tmp_path / "project", [{"x": 1.0}], 'partition = "blind"', storage=str(storage))
    doctor = run_here("--json", "doctor", cwd=root)
    node = next(check for check in doctor.json if check["name"] == "engine: node")
    assert doctor.code == 4
    assert "a node does not see" in node["detail"]
    ran = run_here("allocate", "cases.csv", "--wait", cwd=root)
    assert ran.code == 4
    assert "the nodes may not see" in ran.err
    assert "scythe doctor --engine slurm" in ran.err


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ('partition = "nosuch"', 3, "there is no 'nosuch' on this cluster"),
        ('partition = "blind"\ntime = "2h"', 3, "[slurm] time: 2h 00m is longer than partition 'blind' allows"),
        ('memory = "900GB"', 3, "no node has so much"),
        ('gpus = "a100:2"', 3, "there are no such GPUs"),
        ('extra = ["--nonsense"]', 3, "sbatch does not know an option"),
    ],
)
def test_what_the_cluster_does_not_have(
    cluster: SlurmCluster, tmp_path: Path, settings: str, code: int, said: str
) -> None:
    """A few words, and the exit code of what was wrong."""
    del cluster
    root = new_project(tmp_path / "project", [{"x": 1.0}], settings)
    ran = run_here("allocate", "cases.csv", cwd=root)
    assert ran.code == code, ran.err
    assert said in ran.err


def test_doctor_tries_a_node_out(cluster: SlurmCluster, tmp_path: Path) -> None:
    """By a job of a second, which leaves nothing behind."""
    del cluster
    root = new_project(tmp_path / "project", [{"x": 1.0}])
    told = run_here("--json", "doctor", cwd=root)
    checks = {check["name"]: check for check in told.json}
    assert "sees the storage" in checks["engine: node"]["detail"], json.dumps(told.json)
    assert "MaxArraySize" in checks["engine: limits"]["detail"]
    assert not [file for _, _, files in os.walk(root / "runs") for file in files]
