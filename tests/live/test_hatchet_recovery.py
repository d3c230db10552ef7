"""Runs during which a worker or the engine is killed."""

from __future__ import annotations

import signal
import time
import urllib.request

import pytest

from scythe_cli.core.records import StateCounts
from tests.hatchet_servers import HatchetServers
from tests.live.fleet import Allocation, LiveProject
from tests.servers import free_port
from tests.waiting import wait_for


def test_worker_is_killed(live: LiveProject) -> None:
    live.configure(factor=3, max_depth=1, specs_per_task=1)
    n = 120
    cases = live.write_cases(n, sleep_s=lambda _: 0.1)
    first = live.start_worker("--slots", "2")
    allocation = Allocation(live, cases)
    # the nodes are with the first worker by then
    wait_for(lambda: len(live.calls()) >= 10, 60)
    live.start_worker("--slots", "2")
    wait_for(lambda: len(live.calls()) >= 30, 60)
    first.kill()
    result = allocation.result(150)
    assert result.counts == StateCounts(succeeded=n)
    scalars = live.open().run().scalars()
    assert scalars["sort_index"].to_list() == list(range(n))
    # only what the killed worker had in its hands, or had not reported yet, was run again
    assert len(live.calls()) - n <= 12


@pytest.mark.nightly
def test_engine_is_killed_and_started_again(live: LiveProject, servers: HatchetServers) -> None:
    live.configure("survives", factor=3, max_depth=1, specs_per_task=2)
    n = 120
    cases = live.write_cases(n, sleep_s=lambda _: 0.1)
    live.start_worker("--slots", "2")
    allocation = Allocation(live, cases)
    wait_for(lambda: len(live.calls()) >= 20, 60)
    servers.kill_engine()
    servers.start_engine()
    result = allocation.result(200)
    assert result.counts == StateCounts(succeeded=n)
    assert live.open().run().scalars()["sort_index"].to_list() == list(range(n))
    assert len(live.calls()) - n <= 8


@pytest.mark.nightly
def test_database_is_restarted(live: LiveProject, servers: HatchetServers) -> None:
    live.configure("restarted", factor=3, max_depth=1, specs_per_task=2)
    n = 120
    cases = live.write_cases(n, sleep_s=lambda _: 0.1)
    live.start_worker("--slots", "2")
    allocation = Allocation(live, cases)
    wait_for(lambda: len(live.calls()) >= 20, 60)
    servers.kill_postgres()
    time.sleep(2)
    servers.start_postgres()
    if servers.engine_pid is None:
        servers.start_engine()  # it gives up when it loses its database at the wrong moment
    result = allocation.result(300)
    assert result.counts == StateCounts(succeeded=n)
    assert live.open().run().scalars()["sort_index"].to_list() == list(range(n))
    assert len(live.calls()) - n <= 12


def test_second_signal_ends_a_worker_at_once(live: LiveProject) -> None:
    live.configure("signalled", max_depth=0, specs_per_task=1)
    cases = live.write_cases(2, sleep_s=lambda _: 100.0)
    first = live.start_worker("--slots", "2")
    allocation = Allocation(live, cases)
    wait_for(lambda: len(live.calls()) >= 2, 60)
    first.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert first.process.poll() is None, "the first signal lets what runs come to its end"
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(15) != 0
    log = first.log.read_text()
    assert "another worker runs again what was running" in log, log[-2000:]
    assert "Traceback" not in log
    # another worker takes over what was running
    live.hurry()
    live.start_worker("--slots", "2")
    assert allocation.result(90).counts == StateCounts(succeeded=2)


def test_worker_drains_when_it_is_told_to_end_and_is_well_meanwhile(live: LiveProject) -> None:
    live.configure(max_depth=0, specs_per_task=1)
    cases = live.write_cases(8, sleep_s=lambda _: 3000.0)
    port = free_port()
    first = live.start_worker("--slots", "2", "--health-port", str(port))
    allocation = Allocation(live, cases)
    wait_for(lambda: len(live.calls()) >= 2, 60)
    first.process.send_signal(signal.SIGTERM)
    for _ in range(3):
        time.sleep(0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.status == 200
    live.hurry()
    assert first.process.wait(40) == 0
    # what it had begun is finished, and nothing new was
    assert len(live.calls()) <= 6
    live.start_worker("--slots", "2")
    assert allocation.result(90).counts == StateCounts(succeeded=8)
    assert sorted(live.calls()) == list(range(8))


def test_specs_that_no_worker_takes_in_time_stay_pending(live: LiveProject) -> None:
    live.configure("late", max_depth=0, specs_per_task=1, schedule_timeout="3s")
    cases = live.write_cases(4)
    live.start_worker("--no-leaf")
    result = Allocation(live, cases).result(90)
    assert result.counts == StateCounts(pending=4)
    assert any("not picked up by a worker in time" in notice for notice in result.notices), result.notices
