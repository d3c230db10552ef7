"""An experiment whose function can do everything that ends, breaks or confuses a process; copied into a project."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import ctypes
import gc
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from scythe_cli.arrow.build import array_of
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

STRAY = Path(os.environ["STRAY"])


class Case(ExperimentInputSpec):
    act: str
    x: float

    @property
    def computed_features(self) -> dict[str, Any]:
        if self.act == "feature":
            raise ZeroDivisionError("no such feature")
        return {"half": self.x / 2}


class Answer(ExperimentOutputSpec):
    y: float
    n: int = 0
    report: FileReference | None = None


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Unpicklable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("cannot be pickled")
        self.lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle")


class Evil:
    """A value that lets nobody look at it."""

    def __float__(self) -> float:
        raise KeyboardInterrupt

    __repr__ = __str__ = __float__  # type: ignore[assignment]


class Nameless(Exception):
    """An exception that hides where it comes from."""


Nameless.__module__ = None  # type: ignore[assignment]


class Rooted(BaseException):
    """An exception that `except Exception` does not catch."""


def _raise(error: BaseException) -> NoReturn:
    raise error


def _recurse_in_c(depth: int) -> int:
    return max([depth], key=_recurse_in_c)


def _overflow_stack() -> None:
    sys.setrecursionlimit(10_000_000)
    _recurse_in_c(1)


def _recurse(depth: int) -> int:
    return _recurse(depth + 1) + 1


def _grow() -> None:
    kept: list[bytearray] = []
    while True:
        block = bytearray(20_000_000)
        block[::4096] = b"x" * len(block[::4096])
        kept.append(block)


def _loop() -> None:
    while True:
        pass


def _killed_by_another() -> None:
    subprocess.run(["/bin/sh", "-c", f"kill -KILL {os.getpid()}"], check=False)
    time.sleep(1000)


def _be_deaf_and_loop() -> None:
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    _loop()


def _deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _cycle() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def _group() -> None:
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


def _write_to_all() -> None:
    for fd in range(3, 256):
        with contextlib.suppress(OSError):
            os.write(fd, b"\xff" * 100)


def _start_thread() -> None:
    threading.Thread(target=time.sleep, args=(1000,)).start()


def _start_process() -> None:
    process = subprocess.Popen(["/bin/sleep", "1000"])
    STRAY.write_text(str(process.pid))


def _fork() -> None:
    if os.fork() == 0:
        raise RuntimeError("the forked process comes back too")


def _leave_async_tasks() -> None:
    async def main() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(1000))

    asyncio.run(main())


def _confuse_logging() -> None:
    logging.disable(logging.CRITICAL)
    logging.getLogger().handlers.clear()
    logging.shutdown()


def _mutate() -> None:
    """Change what belongs to the whole process, as far as a function can do so by accident."""
    os.environ.clear()
    os.umask(0o777)
    random.seed(0)
    gc.disable()
    signal.alarm(0)
    threading.current_thread().name = "other"
    Case.model_config["extra"] = "allow"
    sys.argv.clear()
    sys.path.clear()
    sys.setswitchinterval(10.0)
    sys.stdout = sys.stderr = sys.stdin = None  # type: ignore[assignment]


def _loud() -> None:
    sys.stdout.write("head\n" + "x" * 1_000_000 + "\ntail\n")


def _print_odd_text() -> None:
    print("\0 \x1b[31mred \udcff \u202e \U0001f600")
    os.write(1, b"\xff\xfe\x00 no UTF-8\n")


# what ends the process, or has it ended
ENDS: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
    "exit 0": lambda: os._exit(0),
    "exit 3": lambda: os._exit(3),
    "stack": _overflow_stack,
    "grow": _grow,
    "loop": _loop,
    "killed": _killed_by_another,
    "terminated": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "alarm": lambda: (signal.alarm(1), time.sleep(1000)),
    "deaf": _be_deaf_and_loop,
    "deadlock": _deadlock,
    "group": lambda: os.killpg(os.getpgrp(), signal.SIGKILL),
    "close all": lambda: os.closerange(3, 256),
    "write to all": _write_to_all,
}

# what the process survives
RAISES: dict[str, Callable[[], object]] = {
    "giant": lambda: bytearray(40_000_000_000),
    "unpicklable": lambda: _raise(Unpicklable(1, 2)),
    "unspeakable": lambda: _raise(Unspeakable()),
    "nameless": lambda: _raise(Nameless("who am I?")),
    "rooted": lambda: _raise(Rooted("not an Exception")),
    "system exit": lambda: sys.exit("enough"),
    "interrupt": lambda: _raise(KeyboardInterrupt("by hand")),
    "generator exit": lambda: _raise(GeneratorExit()),
    "stop iteration": lambda: next(iter([])),
    "cancelled": lambda: _raise(asyncio.CancelledError("not now")),
    "recursion": lambda: _recurse(0),
    "huge message": lambda: _raise(ValueError("x" * 1_000_000)),
    "NUL": lambda: _raise(ValueError("a\0b")),
    "surrogate": lambda: _raise(ValueError("bad \udcff text")),
    "terminal": lambda: _raise(ValueError("\x1b[2Jgone\r\n\x1b]0;title\x07")),
    "empty": lambda: _raise(ValueError()),
    "cycle": _cycle,
    "group of errors": _group,
    "notes": lambda: _raise(_with_note(ValueError("noted"), "look at the roof")),
    "assertion": lambda: _raise(AssertionError({"a": [1] * 3})),
}


def _with_note(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error


# what a function returns that cannot be kept
RETURNS: dict[str, Callable[[Case, Path], Any]] = {
    "dict": lambda spec, tempdir: {"y": 1.0},
    "nothing": lambda spec, tempdir: None,
    "class": lambda spec, tempdir: Answer,
    "too large": lambda spec, tempdir: Answer(y=1.0, n=2**70),
    "unchecked": lambda spec, tempdir: Answer.model_construct(y="text", n=0, report=None, dataframes={}),
    "hollow": lambda spec, tempdir: Answer.model_construct(),
    "evil": lambda spec, tempdir: Answer.model_construct(y=Evil(), n=0, report=None, dataframes={}),
    "no file": lambda spec, tempdir: Answer(y=1.0, report=tempdir / "none.txt"),
    "folder": lambda spec, tempdir: Answer(y=1.0, report=tempdir),
    "frame of objects": lambda spec, tempdir: Answer.model_construct(
        y=1.0, n=0, report=None, dataframes={"steps": [object()]}
    ),
}

# what harms nobody, or only the process
HARMLESS: dict[str, Callable[[], object]] = {
    "nan": lambda: None,
    "inf": lambda: None,
    "-inf": lambda: None,
    "report": lambda: None,
    "thread": _start_thread,
    "process": _start_process,
    "fork": _fork,
    "async": _leave_async_tasks,
    "logging": _confuse_logging,
    "mutate": _mutate,
    "move": lambda: os.chdir("/"),
    "loud": _loud,
    "odd text": _print_odd_text,
    "close stdout": lambda: (sys.stdout.close(), os.close(1)),
    "builtins": lambda: setattr(builtins, "made_up_by_a_spec", [gc.get_referrers]),
}


@ExperimentRegistry.Register(retries=0)
def simulate(spec: Case, tempdir: Path) -> Answer:
    """Square, or do what the case says."""
    (tempdir / "input.txt").write_text(spec.act)
    if act := ENDS.get(spec.act) or RAISES.get(spec.act) or HARMLESS.get(spec.act):
        act()
    if spec.act in RETURNS:
        return RETURNS[spec.act](spec, tempdir)
    if spec.act == "no tempdir":
        shutil.rmtree(tempdir)
    if spec.act == "link for tempdir":
        shutil.rmtree(tempdir)
        tempdir.symlink_to("/etc")
    report = tempdir / "report.txt" if spec.act == "report" else None
    if report:
        report.write_text(f"report of {spec.x:.0f}")
    y = float(spec.act) if spec.act in ("nan", "inf", "-inf") else spec.x**2
    e = array_of([spec.x, spec.x / 3], pa.float64())
    steps = pa.Table.from_arrays([array_of([0, 1], pa.int64()), e], ["step", "e"])
    return Answer(y=y, n=int(spec.x), report=report, dataframes={"steps": steps})
