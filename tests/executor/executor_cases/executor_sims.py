"""Experiments that behave badly in all ways; a process of the executor imports this file."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from scythe_cli.arrow.build import array_of
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec


class Case(ExperimentInputSpec):
    kind: str
    value: float = 0.0
    note: str = ""

    @field_validator("kind")
    @classmethod
    def _be_evil(cls, kind: str) -> str:
        if kind == "validator-crash":
            os.abort()
        if kind == "validator-exit":
            raise SystemExit(4)
        return kind


class Result(ExperimentOutputSpec):
    double: float
    count: int = 0


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Unpicklable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("cannot be pickled")
        self.lock = open(os.devnull)  # noqa: PTH123, SIM115

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle")


def _recurse_in_c(depth: int) -> int:
    return max([depth], key=_recurse_in_c)


def _grow() -> None:
    grown: list[bytearray] = []
    while True:
        block = bytearray(4_000_000)
        block[::4096] = b"x" * len(block[::4096])
        grown.append(block)


def _overflow_stack() -> None:
    sys.setrecursionlimit(10_000_000)
    _recurse_in_c(1)


def _hang_in_regex() -> None:
    import re

    re.match(r"(a+)+$", "a" * 60 + "b")


def simulate(spec: Case) -> Result:
    act = ACTS.get(spec.kind)
    if act is not None:
        act(spec)
    if spec.kind == "frame":
        frame = pa.Table.from_arrays([array_of([1, 2], pa.int64())], ["step"])
        return Result(double=1.0, dataframes={"steps": frame})
    if spec.kind == "large-frame":
        numbers = pa.array(np.arange(3_000_000.0) + spec.value)
        return Result(double=1.0, dataframes={"steps": pa.Table.from_arrays([numbers], ["x"])})
    if spec.kind == "wrong-type":
        return {"double": 1.0}  # type: ignore[return-value]
    if spec.kind == "nothing":
        return None  # type: ignore[return-value]
    if spec.kind == "overflow":
        return Result(double=1.0, count=2**70)
    if spec.kind == "nan":
        return Result(double=float("nan"))
    if spec.kind == "inf":
        return Result(double=float("-inf"))
    return Result(double=2 * spec.value, count=os.getpid())


def _raise(error: BaseException) -> None:
    raise error


def _count_then_fail(spec: Case) -> None:
    with Path(spec.note).open("a") as file:
        file.write("x")
    if Path(spec.note).stat().st_size < spec.value:
        raise ValueError("not yet")


def _log(spec: Case) -> None:
    print("printed")
    spec.log("logged by the spec")
    logging.getLogger("sim").info("logged by logging")
    os.write(1, b"written to the descriptor\n")
    print("to stderr, no newline", end="", file=sys.stderr)


def _start_and_hang(spec: Case) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
    Path(spec.note).write_text(f"{process.pid} {stray.pid}")
    time.sleep(1000)


def _fork_and_return(spec: Case) -> None:
    if os.fork() == 0:
        raise RuntimeError("the forked process comes back too")


def _wait_for_file(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


def _loop() -> None:
    while True:
        pass


def _close_all(spec: Case) -> None:
    os.closerange(3, 256)


LEAKED: list[bytes] = []

ACTS: dict[str, Any] = {
    "raise": lambda spec: _raise(ValueError("it is bad")),
    "unspeakable": lambda spec: _raise(Unspeakable()),
    "unpicklable": lambda spec: _raise(Unpicklable(1, 2)),
    "system-exit": lambda spec: sys.exit(3),
    "interrupt": lambda spec: _raise(KeyboardInterrupt()),
    "surrogate": lambda spec: _raise(ValueError("bad \udcff text")),
    "long": lambda spec: _raise(ValueError("x" * 100_000)),
    "deep": lambda spec: _recurse(0),
    "abort": lambda spec: os.abort(),
    "abort-after": lambda spec: (_wait_for_file(spec.note), os.abort()),
    "sleep-in-c": lambda spec: ctypes.CDLL(None).sleep(100),
    "sleep-for": lambda spec: time.sleep(spec.value),
    "segfault": lambda spec: (print("before the end"), ctypes.string_at(0)),
    "exit-0": lambda spec: os._exit(0),
    "exit-3": lambda spec: os._exit(3),
    "stack": lambda spec: _overflow_stack(),
    "kill-self": lambda spec: os.kill(os.getpid(), signal.SIGKILL),
    "term-self": lambda spec: os.kill(os.getpid(), signal.SIGTERM),
    "loop": lambda spec: _loop(),
    "sleep": lambda spec: time.sleep(1000),
    "touch-and-sleep": lambda spec: (Path(spec.note).touch(), time.sleep(1000)),
    "regex": lambda spec: _hang_in_regex(),
    "touch-and-regex": lambda spec: (Path(spec.note).touch(), _hang_in_regex()),
    "nap": lambda spec: time.sleep(spec.value),
    "bytearray": lambda spec: bytearray(3_000_000_000),
    "grow": lambda spec: _grow(),
    "print-much": lambda spec: sys.stdout.write("head\n" + "x" * 1_000_000 + "\ntail\n"),
    "log": _log,
    "pandas": lambda spec: print("pandas" in sys.modules),
    "attempts": _count_then_fail,
    "start-and-hang": _start_and_hang,
    "fork": _fork_and_return,
    "close-all": _close_all,
    "threads": lambda spec: print(*(f"{k}={v}" for k, v in sorted(os.environ.items()) if "_THREADS" in k)),
    "move": lambda spec: (print(Path.cwd()), os.chdir(spec.note)),
    "leak-quickly": lambda spec: LEAKED.append(b"x" * int(spec.value)),
    "leak": lambda spec: (LEAKED.append(b"x" * int(spec.value)), time.sleep(0.2)),
}


def _recurse(depth: int) -> int:
    return _recurse(depth + 1) + 1
