"""A worker beside an engine that lives in this process: with both, one command is a whole fleet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scythe_cli.core.folders import owned_prefix
from scythe_cli.engines.base import Job
from scythe_cli.engines.hatchet.connection import EMBEDDED_VARIABLE, get_hatchet, stop_embedded
from scythe_cli.errors import EngineError

__all__ = ["worker_beside"]


_START_S = 120.0
_END_S = 30.0
_READY = b"waiting for tasks"


@contextmanager
def worker_beside(job: Job) -> Generator[None]:
    """Have an engine and a worker of the job's project while inside, and end both after.

    Raises:
        EngineError: If the engine or the worker cannot be started.
    """
    get_hatchet(embedded=True)  # starts the engine, and leaves in the environment what the worker needs to find it
    try:
        with TemporaryDirectory(prefix=owned_prefix("worker")) as folder, _worker(job, Path(folder) / "log"):
            yield
    finally:
        stop_embedded()


@contextmanager
def _worker(job: Job, log: Path) -> Generator[None]:
    environment = {**os.environ, "SCYTHE_WORKER_SLOTS": str(job.workers), EMBEDDED_VARIABLE: "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "scythe_cli.cli", "worker", "--experiment", job.experiment.name],
            cwd=job.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            # Ctrl-C is for this process, which then ends the worker
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_S
        while _READY not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                last = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise EngineError("the worker beside the embedded engine did not start:\n" + "\n".join(last))
            time.sleep(0.1)
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
