"""The commands that deal with a fleet, as a user types them."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.fleet import LiveProject
from tests.projects import scythe
from tests.waiting import wait_for


def test_a_run_is_submitted_watched_cancelled_and_finished(live: LiveProject) -> None:
    live.configure(specs_per_task=1)
    n = 120
    live.write_cases(n, sleep_s=lambda _: 5.0)

    submitted = scythe("allocate", "cases.csv", "--json", cwd=live.root)

    assert submitted.returncode == 0, submitted.stderr
    run = json.loads(submitted.stdout)
    assert run["n_specs"] == n
    waiting = scythe("status", cwd=live.root)
    assert waiting.returncode == 0
    assert "no worker serves 'energy'" in waiting.stderr
    assert scythe("doctor", cwd=live.root).returncode == 0

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    live.start_worker("--slots", "2", "--health-port", str(port))
    wait_for(lambda: len(live.calls()) >= 2, 120)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
        assert answer.status == 200
    wait_for(lambda: _used_slots(port) == 2, 120)
    status = json.loads(scythe("status", "--json", cwd=live.root).stdout)
    assert len(status["workers"]) == 1
    workers = json.loads(scythe("workers", "--json", cwd=live.root).stdout)
    ours = [worker for worker in workers if worker["name"] == status["workers"][0]]
    assert [(worker["slots"], worker["code"][0]["same"]) for worker in ours] == [(2, True)]
    assert "energy (this code)" in scythe("workers", cwd=live.root).stdout
    cancelled = scythe("cancel", "--json", cwd=live.root)
    assert cancelled.returncode == 0, cancelled.stderr
    counts = json.loads(cancelled.stdout)["counts"]
    assert counts["cancelled"] > 5
    assert counts["pending"] == 0
    assert counts["succeeded"] + counts["cancelled"] == n

    live.hurry()
    done = scythe("retry", "--json", cwd=live.root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["experiment_id"] == run["experiment_id"]
    assert pl.read_parquet(Path(run["uri"]) / "final" / "scalars.pq").height == n


def _used_slots(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = {each.name: each for each in text_string_to_metric_families(answer.read().decode())}
    used = {each.labels["slot_pool"]: each.value for each in families["hatchet_worker_used_slots"].samples}
    return used["default"]


def test_waiting_has_an_end(live: LiveProject) -> None:
    live.write_cases(3)

    done = scythe("allocate", "cases.csv", "--wait", "--timeout", "3s", cwd=live.root)

    assert done.returncode == 5
    assert "scythe status" in done.stderr
    # else the workers of other tests get the run, and say that they do not take it
    assert scythe("cancel", cwd=live.root).returncode == 0


@pytest.mark.parametrize("token", ["", "not-a-token"])
def test_without_a_right_token_nothing_is_written(
    live: LiveProject, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.write_cases(3)
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", token)

    done = scythe("allocate", "cases.csv", cwd=live.root)

    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert not list(live.root.glob("runs/*/*/*/specs.pq"))
