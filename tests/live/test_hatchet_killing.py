"""Whatever is killed, and whenever: a run ends, and each of its rows has one outcome."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.effective import effective_outcomes
from tests.hatchet_servers import HatchetServers
from tests.live.fleet import Allocation, LiveProject, Worker
from tests.live.lossy import LossyProxy, lossy_proxy
from tests.servers import versitygw
from tests.waiting import wait_for

_ROUNDS = 30
_ALL_BACK_S = 120.0
_SEED = os.environ.get("SCYTHE_SEED")
"""That of a round which is to be repeated."""


@dataclass
class Lab:
    """A fleet with all that it needs, each of which can fail.

    Attributes:
        live: The project.
        servers: The engine and its database.
        storage: The way to the object store.
        engine: The way to the engine.
        worker: The worker that is there.
    """

    live: LiveProject
    servers: HatchetServers
    storage: LossyProxy
    engine: LossyProxy
    worker: Worker

    def start_worker(self) -> None:
        self.worker = self.live.start_worker("--slots", "3", wait=False)

    def faults(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        """What can happen: how it begins, and how it ends."""
        return {
            "the engine is killed": (self.servers.kill_engine, self.servers.start_engine),
            "the database is killed": (self.servers.kill_postgres, self._start_database),
            "the worker is killed": (lambda: self.worker.kill(), self.start_worker),
            "the storage is away": (self.storage.refuse, self.storage.heal),
            "answers of the storage are lost": (self.storage.lose_answers, self.storage.heal),
            "the engine is away": (self.engine.refuse, self.engine.heal),
            "answers of the engine are lost": (self.engine.lose_answers, self.engine.heal),
        }

    def _start_database(self) -> None:
        self.servers.start_postgres()
        self.supervise_engine()

    def supervise_engine(self) -> None:
        """Start an engine again that has ended for want of its database, as any supervisor does."""
        if self.servers.engine_pid is None:
            self.servers.start_engine()


@pytest.fixture
def lab(live: LiveProject, servers: HatchetServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Lab]:
    with (
        versitygw(tmp_path / "s3") as s3,
        lossy_proxy(urlsplit(s3.endpoint_url).port or 0) as storage,
        lossy_proxy(servers.grpc_port) as engine,
    ):
        s3.new_bucket("runs")
        for name, value in {**s3.env, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{storage.port}"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HATCHET_CLIENT_HOST_PORT", f"127.0.0.1:{engine.port}")
        live.configure("killing", storage="s3://runs/live")
        yield Lab(live, servers, storage, engine, live.start_worker("--slots", "3"))


def run_with_faults(lab: Lab, seed: int, n_faults: int, names: list[str] | None = None) -> None:
    """Run some rows, during which things fail; and see that the run ends soon after all are back."""
    draw = random.Random(seed)
    before = len(lab.live.calls())
    allocation = Allocation(lab.live, lab.live.write_cases(90, sleep_s=lambda i: 0.02 if i % 3 else 0.4))
    told: list[str] = []
    for number in range(n_faults):
        wanted = before + 10 + number * 60 // n_faults
        wait_for(lambda wanted=wanted: len(lab.live.calls()) >= wanted or not allocation.is_alive(), 150)
        time.sleep(draw.random())
        faults = lab.faults()
        name = names[number] if names else draw.choice(sorted(faults))
        begin, end = faults[name]
        begin()
        lasts_s = draw.choice([0.5, 3.0, 8.0])
        time.sleep(lasts_s)
        end()
        told.append(f"{name} for {lasts_s} s")
    back_s = time.monotonic()
    print(f"seed {seed}: {'; '.join(told)}", flush=True)
    wait_for(lambda: _is_over(lab, allocation), _ALL_BACK_S)
    result = allocation.result(1)
    print(f"seed {seed}: over {time.monotonic() - back_s:.0f} s after all were back", flush=True)
    assert result.counts == StateCounts(succeeded=90), f"seed {seed}"
    run = lab.live.open().run(result.experiment_id)
    with Ledger.open(run.storage, run.layout, thorough=True) as ledger:
        assert not ledger.damaged
        assert effective_outcomes(ledger.outcomes(90))["sort_index"].sort().to_list() == list(range(90))


def _is_over(lab: Lab, allocation: Allocation) -> bool:
    lab.supervise_engine()
    return not allocation.is_alive()


def test_storage_and_worker_fail(lab: Lab) -> None:
    run_with_faults(lab, 1, 2, ["answers of the storage are lost", "the worker is killed"])


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(_ROUNDS))
def test_anything_fails_at_any_time(lab: Lab, number: int) -> None:
    """The seed of each round is printed, and SCYTHE_SEED repeats it as the first one."""
    run_with_faults(lab, int(_SEED) if _SEED and not number else random.SystemRandom().randrange(10**6), 3)
