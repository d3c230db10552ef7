"""A project for live tests, and workers as processes that a test can kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scythe_cli.services.project import Project, open_project
from scythe_cli.services.records import AllocateResult
from tests.waiting import wait_for

__all__ = ["MODULE", "Allocation", "LiveProject", "Worker"]

MODULE = '''
import os, time
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float
    k: int = 1
    name: str = "a"
    sleep_s: float = 0.0
    fails: bool = False

    @property
    def computed_features(self):
        return {"double": self.x * 2}

class Result(ExperimentOutputSpec):
    y: float
    text: str

@ExperimentRegistry.Register(retries=0, execution_timeout="2m")
def simulate(spec: Case) -> Result:
    """Computes next to nothing."""
    with open(Path(__file__).with_name("calls.txt"), "a") as calls:
        calls.write(f"{spec.sort_index}\\n")
    awake_at = time.monotonic() + spec.sleep_s
    while time.monotonic() < awake_at and not Path(__file__).with_name("hurry").exists():
        time.sleep(0.02)
    if spec.fails:
        raise ValueError(f"cannot simulate {spec.name}")
    return Result(y=spec.x * 2 + spec.k, text=spec.name + "!")
'''


@dataclass
class Worker:
    """A worker process."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it as the system would that has run out of memory."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 15) -> int:
        """End it as an orchestrator would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@dataclass
class LiveProject:
    """A project on this machine, whose workers are processes."""

    root: Path
    workers: list[Worker] = field(default_factory=list)

    def open(self, engine: str = "hatchet") -> Project:
        return open_project(self.root / "experiments.toml", engine=engine)

    def configure(self, name: str = "energy", storage: str = "runs", **settings: object) -> None:
        lines = ["[scythe]", f'storage = "{storage}"', 'engine = "hatchet"', "workers = 2", f"[experiments.{name}]"]
        lines += ['entrypoint = "live_module:simulate"', *(f"{k} = {json.dumps(v)}" for k, v in settings.items())]
        (self.root / "experiments.toml").write_text("\n".join(lines))

    def write_cases(self, n: int, **columns: Callable[[int], object]) -> Path:
        names = ["x", "k", "name", *columns]
        rows = [[i * 0.1, i % 7, f"case {i}", *(f(i) for f in columns.values())] for i in range(n)]
        path = self.root / "cases.csv"
        path.write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]) + "\n")
        return path

    def start_worker(
        self, *options: str, wait: bool = True, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> Worker:
        """Start a worker of this project, or of the one in another folder."""
        number = len(self.workers)
        log = self.root / f"worker-{number}.log"
        environment = {**os.environ, "SCYTHE_WORKER_NAME": f"{self.root.parent.name}-{number}", **(env or {})}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "scythe_cli.cli", "worker", *options],
                cwd=cwd or self.root,
                stdout=out,
                stderr=out,
                env=environment,
                start_new_session=True,
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        if wait:
            wait_for(lambda: b"waiting for tasks" in log.read_bytes() or process.poll() is not None, 60)
            assert process.poll() is None, log.read_text()[-3000:]
            # the engine knows a worker a moment after the worker says that it waits
            time.sleep(0.5)
        return worker

    def write_module(self, change: Callable[[str], str]) -> None:
        """Change the experiment's code."""
        path = self.root / "live_module.py"
        path.write_text(change(path.read_text()))

    def hurry(self) -> None:
        """Let no spec sleep from now on, also those that sleep by now."""
        (self.root / "hurry").touch()

    def calls(self) -> list[int]:
        """The specs that have been run, once for each time."""
        path = self.root / "calls.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


class Allocation(threading.Thread):
    """An allocation that goes on while the test does something else.

    Attributes:
        details: What was said beside its progress.
    """

    def __init__(self, live: LiveProject, cases: Path) -> None:
        super().__init__()
        self._live = live
        self._cases = cases
        self.outcome: Any = None
        self.details: list[str] = []
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._live.open().allocate(
                self._cases, progress=lambda moment: self.details.append(moment.detail or "")
            )
        except BaseException as error:  # noqa: BLE001 - it is looked at by the test
            self.outcome = error

    def result(self, timeout_s: float) -> AllocateResult:
        self.join(timeout_s)
        assert not self.is_alive(), "the run has not come to its end"
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome
