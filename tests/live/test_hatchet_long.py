"""Long runs of a fleet whose workers come and go, while engine, database and storage fail at random.

A night's run takes an hour, or SCYTHE_LONG_MINUTES; its seed is printed, and SCYTHE_SEED repeats it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.effective import effective_outcomes
from tests.live.fleet import Worker
from tests.live.lab import Lab
from tests.waiting import wait_for

_MINUTES = float(os.environ.get("SCYTHE_LONG_MINUTES", "60"))
_SEED = os.environ.get("SCYTHE_SEED")
_EVERY_S = 10.0
_ROW_S = 0.1
_SLOTS = 3
_N_CHANGING = 3
_MOST_TWICE = 0.05
_ENDS_S = 900.0


@dataclass
class LongRun:
    """A run, and all that happens while it goes on.

    Attributes:
        lab: The fleet; its worker stays, others come and go.
        minutes: For how long things happen.
        seed: Of what happens.
        only_kills: Whether workers are killed, each of them, and nothing else fails.
    """

    lab: Lab
    minutes: float
    seed: int
    only_kills: bool = False
    n: int = 0
    n_events: int = 0
    n_looks: int = 0
    memory: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    _done: int = 0

    def __post_init__(self) -> None:
        slots = _SLOTS * (_N_CHANGING + 1)
        self.n = int(self.minutes * 60 * slots / _ROW_S * 0.9)
        self._draw = random.Random(self.seed)
        self._workers = [self._new_worker() for _ in range(_N_CHANGING)]
        self._leaving: list[Worker] = []
        self._fault: tuple[str, Callable[[], None], float] | None = None

    def run(self) -> float:
        """Run it to its end; returns the part of the rows that was run more than once."""
        live = self.lab.live
        before = len(live.calls())
        live.write_cases(self.n, sleep_s=lambda _: _ROW_S)
        command = [sys.executable, "-m", "scythe_cli.cli", "--json", "--quiet", "allocate", "cases.csv", "--wait"]
        with (live.root / "allocate.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=live.root, stdout=subprocess.PIPE, stderr=log)
        try:
            wait_for(lambda: len(live.calls()) > before or process.poll() is not None, 120)
            self._let_things_happen(process)
            live.hurry()
            out, _ = process.communicate(timeout=_ENDS_S)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, (live.root / "allocate.log").read_text()[-3000:]
        self._check(str(json.loads(out)["experiment_id"]), StateCounts(**json.loads(out)["counts"]))
        return (len(live.calls()) - before - self.n) / self.n

    def _let_things_happen(self, process: subprocess.Popen[bytes]) -> None:
        begun_s = now_s = time.monotonic()
        worker_s = look_s = now_s
        fault_s = now_s + self._draw.uniform(20, 40)
        while now_s < begun_s + 60 * self.minutes and process.poll() is None:
            if now_s >= worker_s:
                self._change_worker()
                worker_s = now_s + _EVERY_S
            if self._fault is not None and now_s >= self._fault[2]:
                self._fault[1]()
                self._fault = None
                fault_s = now_s + self._draw.uniform(30, 60)
            elif self._fault is None and not self.only_kills and now_s >= fault_s:
                self._begin_fault(now_s)
            if self._fault is None:
                self.lab.supervise_engine()
                if now_s >= look_s:
                    self._look(process.pid)
                    look_s = now_s + 5.0
            time.sleep(0.5)
            now_s = time.monotonic()
        if self._fault is not None:
            self._fault[1]()
        self.lab.supervise_engine()

    def _new_worker(self) -> Worker:
        return self.lab.live.start_worker("--slots", str(_SLOTS), wait=False)

    def _change_worker(self) -> None:
        """One goes, as if the machine were lost or somebody else's now, and another one comes."""
        worker = self._workers.pop(0)
        if self.only_kills or self._draw.random() < 0.5:
            worker.kill()
        elif worker.process.poll() is None:
            worker.process.send_signal(signal.SIGTERM)
            self._leaving.append(worker)
        self._leaving = [each for each in self._leaving if each.process.poll() is None]
        self._workers.append(self._new_worker())
        self.n_events += 2

    def _begin_fault(self, now_s: float) -> None:
        faults = self.lab.faults()
        name = self._draw.choice(sorted(set(faults) - {"the worker is killed"}))
        begin, end = faults[name]
        lasts_s = self._draw.choice([0.5, 3.0, 8.0])
        print(f"{name} for {lasts_s} s", flush=True)
        begin()
        self._fault = name, end, now_s + lasts_s
        self.n_events += 1

    def _look(self, command_pid: int) -> None:
        """What anybody sees who looks now: no row is lost, and none that had ended is pending again."""
        status = self.lab.live.open().run("latest").status()
        counts = status.counts
        assert counts is not None
        assert counts.total == self.n, counts
        assert counts == StateCounts(succeeded=counts.succeeded, pending=counts.pending), counts
        assert counts.succeeded >= self._done, (counts, self._done)
        self._done = counts.succeeded
        self.n_looks += 1
        for name, pid in (("command", command_pid), ("worker", self.lab.worker.process.pid)):
            self.memory.setdefault(name, []).append(psutil.Process(pid).memory_full_info().uss)

    def _check(self, run_id: str, counts: StateCounts) -> None:
        assert counts == StateCounts(succeeded=self.n)
        run = self.lab.live.open().run(run_id)
        with Ledger.open(run.storage, run.layout, thorough=True) as ledger:
            assert not ledger.damaged
            assert effective_outcomes(ledger.outcomes(self.n))["sort_index"].sort().to_list() == list(range(self.n))
        assert len(run.scalars()) == self.n


def the_same_later(sizes: list[int]) -> bool:
    """Whether memory is flat: the last quarter of a run beside the second."""
    quarter = len(sizes) // 4
    earlier, later = sizes[quarter : 2 * quarter], sizes[-quarter:]
    return quarter < 3 or statistics.median(later) <= 1.2 * statistics.median(earlier) + 15e6


def _go_on(lab: Lab, minutes: float, *, only_kills: bool) -> float:
    seed = int(_SEED) if _SEED else random.SystemRandom().randrange(10**6)
    print(f"SCYTHE_SEED={seed}", flush=True)
    long = LongRun(lab, minutes, seed, only_kills)
    begun_s = time.monotonic()
    twice = long.run()
    sizes = {
        name: [round(size / 1e6) for size in each[:: max(1, len(each) // 8)]] for name, each in long.memory.items()
    }
    print(
        f"{long.n:,} rows, {long.n_events} events, {long.n_looks} looks, {time.monotonic() - begun_s:.0f} s; "
        f"{twice:.2%} run more than once; MB: {sizes}",
        flush=True,
    )
    assert long.n_looks
    for name, each in long.memory.items():
        assert the_same_later(each), (name, sizes)
    return twice


def test_workers_come_and_go(lab: Lab) -> None:
    """By day, for some seconds."""
    _go_on(lab, 0.3, only_kills=False)


@pytest.mark.nightly
def test_a_day_of_events_in_an_hour(lab: Lab) -> None:
    assert _go_on(lab, _MINUTES, only_kills=False) <= _MOST_TWICE


@pytest.mark.nightly
def test_a_worker_is_killed_every_ten_seconds(lab: Lab) -> None:
    _go_on(lab, _MINUTES / 6, only_kills=True)
