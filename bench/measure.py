"""Measuring a command: wall time, CPU time, peak memory; medians over interleaved runs; what is compared with what.

A command runs in a process of its own, with its start-up. What is measured of it:

- `wall_s`: seconds from the start of the process until it has ended.
- `cpu_s`: user and system seconds of the process and of all descendants that it, or its children, waited for (`wait4`).
- `peak_bytes`: the largest sum of resident memory over the process and its descendants, sampled every 25 ms, after some
  seconds less often, or the most that a single one of them has had (`VmHWM`), whichever is more. Pages that forked
  processes share count in each. `peak_private_bytes` is the same sum without pages of files and shared memory: a
  memory-mapped file counts in the first only. (Not `ru_maxrss`: of a process it is never less than what the one that
  started it had.)
- `fields`: the JSON object that the command printed as the last line of its output, if it is one: what it measured
  of itself, such as `seconds` without its start-up.

Rivals are run in turns, not one after the other, so that what else the machine does meets all of them; ratios are
those of medians.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = [
    "Check",
    "CommandFailedError",
    "Measurement",
    "Record",
    "Report",
    "check_ratio",
    "clean_environment",
    "exponent",
    "interleave",
    "is_large",
    "machine",
    "measure",
    "median_of",
    "runs_or",
    "set_large",
    "set_runs",
    "tree",
    "versions",
]

_SAMPLE_S = 0.025
_SAMPLES = 200  # a sample takes a millisecond, which what is measured lacks
_asked: dict[str, int] = {}


class CommandFailedError(RuntimeError):
    """A measured command ended with another code than was expected."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one command; see the module for what each means."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    peak_private_bytes: int
    returncode: int
    stdout: str
    stderr: str
    fields: dict[str, Any]

    @property
    def seconds(self) -> float:
        """What the command measured of itself, else the wall time."""
        return float(self.fields.get("seconds", self.wall_s))


@dataclass(frozen=True, slots=True)
class Record:
    """The median of some runs of one subject, as it goes into tables and JSON.

    Attributes:
        case: What was to be done; records of one case stand in one table, and are compared with each other.
        subject: Who did it.
        n: How many specs, rows or runs it was done for; None where that says nothing.
        seconds: The time that is compared: the command's own figure, or the wall time.
        wall_s: See the module; None where it was not measured.
        cpu_s: See the module.
        peak_bytes: See the module.
        runs: How many runs this is the median of.
        spread: The shortest and the longest of `seconds`.
        is_base: Whether the others of the case are compared with this one.
        more: Further figures, by name: number or text.
    """

    case: str
    subject: str
    seconds: float
    n: int | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_bytes: int | None = None
    peak_private_bytes: int | None = None
    runs: int = 1
    spread: tuple[float, float] | None = None
    is_base: bool = False
    more: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """A figure beside the limit that it is to keep; printed, and never asserted."""

    what: str
    value: float
    limit: float
    at_least: bool
    unit: str = "×"

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


Report = list[Record | Check | str]
"""What a bench returns: records, checks, and notes in words, in the order in which they are printed."""


def set_runs(runs: int) -> None:
    """Let every subject be run that often, whatever its bench would do."""
    _asked["runs"] = runs


def runs_or(default: int) -> int:
    """How often to run each subject: what was asked for, else what the bench finds enough for its time."""
    return _asked.get("runs", default)


def set_large() -> None:
    """Let benches add the sizes that take long."""
    _asked["large"] = 1


def is_large() -> bool:
    """Whether sizes that take long were asked for."""
    return "large" in _asked


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would change how scythe runs, and with more."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SCYTHE_", "HATCHET_", "PYTHON"))}
    return {**kept, **more}


def measure(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    expect: int = 0,
    timeout_s: float = 1800.0,
) -> Measurement:
    """Run a command once.

    Raises:
        CommandFailedError: If it ends with another code than `expect`, or takes longer than `timeout_s`.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began_s = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=clean_environment() if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        sampler = _Sampler(process.pid)
        killer = threading.Timer(timeout_s, process.kill)
        killer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            killer.cancel()
            sampler.stop()
        wall_s = time.perf_counter() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if process.returncode != expect:
        shown = " ".join(str(part) for part in command)
        raise CommandFailedError(f"{shown}\nended with {process.returncode}\n{stdout[-2000:]}\n{stderr[-4000:]}")
    return Measurement(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=sampler.peak_bytes,
        peak_private_bytes=sampler.peak_private_bytes,
        returncode=process.returncode,
        stdout=stdout,
        stderr=stderr,
        fields=_fields_of(stdout),
    )


def _fields_of(stdout: str) -> dict[str, Any]:
    lines = stdout.strip().splitlines()
    if lines and lines[-1].startswith("{"):
        with contextlib.suppress(ValueError):
            return json.loads(lines[-1])
    return {}


class _Sampler:
    """Adds up the memory of a process tree, from a thread, until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self.peak_private_bytes = 0
        self._pid = pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        began_s = time.monotonic()
        while not self._stopped.wait(max(_SAMPLE_S, (time.monotonic() - began_s) / _SAMPLES)):
            resident = private = 0
            for pid in tree(self._pid):
                used = _memory_bytes(pid)
                resident += used.get("VmRSS", 0)
                private += used.get("RssAnon", 0)
                self.peak_bytes = max(self.peak_bytes, used.get("VmHWM", 0))
            self.peak_bytes = max(self.peak_bytes, resident)
            self.peak_private_bytes = max(self.peak_private_bytes, private)


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    pids = [pid]
    for parent in pids:
        try:
            tasks = os.listdir(f"/proc/{parent}/task")  # noqa: PTH208 - called often
        except OSError:
            continue
        for task in tasks:
            with contextlib.suppress(OSError):
                pids += map(int, Path(f"/proc/{parent}/task/{task}/children").read_bytes().split())
    return pids


def _memory_bytes(pid: int) -> dict[str, int]:
    """What a process has of memory, under the names of `/proc/PID/status`; nothing when it has ended."""
    used: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmHWM", "VmRSS", "RssAnon"):
                used[name] = int(value.split()[0]) * 1024
    return used


def interleave(subjects: Mapping[str, Callable[[], Measurement]], runs: int) -> dict[str, list[Measurement]]:
    """Run each subject `runs` times, in turns; who comes first changes from turn to turn."""
    taken: dict[str, list[Measurement]] = {name: [] for name in subjects}
    names = list(subjects)
    for turn in range(runs):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            taken[name].append(subjects[name]())
            print(f"  {name}: {taken[name][-1].seconds:.2f} s", file=sys.stderr, flush=True)
    return taken


def median_of(
    case: str,
    subject: str,
    runs: Sequence[Measurement],
    *,
    n: int | None = None,
    is_base: bool = False,
    more: Mapping[str, float | str] | None = None,
) -> Record:
    """The record of some runs: medians, each figure by itself."""
    seconds = [run.seconds for run in runs]
    return Record(
        case=case,
        subject=subject,
        n=n,
        seconds=statistics.median(seconds),
        wall_s=statistics.median(run.wall_s for run in runs),
        cpu_s=statistics.median(run.cpu_s for run in runs),
        peak_bytes=int(statistics.median(run.peak_bytes for run in runs)),
        peak_private_bytes=int(statistics.median(run.peak_private_bytes for run in runs)),
        runs=len(runs),
        spread=(min(seconds), max(seconds)),
        is_base=is_base,
        more=dict(more or {}),
    )


def check_ratio(what: str, a: float, b: float, limit: float, *, at_least: bool) -> Check:
    """Compare `a / b` with a limit."""
    return Check(what, a / b, limit, at_least)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of a straight line through the logarithms, by least squares: 1 where twice as much takes twice."""
    import numpy as np

    return float(np.polyfit(np.log(np.array(sizes, float)), np.log(np.array(values, float)), 1)[0])


def machine() -> dict[str, str | int | float]:
    """What the figures were measured on."""
    facts: dict[str, str | int | float] = {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "processor": platform.processor() or platform.machine(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "load": round(os.getloadavg()[0], 2),
    }
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                facts["processor"] = line.partition(":")[2].strip()
                break
    with contextlib.suppress(OSError):
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
        facts["memory_gb"] = round(kilobytes * 1024 / 1e9, 1)
    return facts


def versions() -> dict[str, str]:
    """The releases that the figures are of."""
    found = {"python": platform.python_version()}
    for name in ("scythe-experiments", "pydantic", "polars", "pyarrow", "pandas", "hatchet-sdk"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def as_json(entries: Report) -> list[dict[str, Any]]:
    """A report for a JSON document: each entry with its kind."""
    items: list[dict[str, Any]] = []
    for entry in entries:
        if isinstance(entry, str):
            items.append({"kind": "note", "text": entry})
        elif isinstance(entry, Check):
            items.append({"kind": "check", **asdict(entry), "holds": entry.holds})
        else:
            items.append({"kind": "record", **asdict(entry)})
    return items
