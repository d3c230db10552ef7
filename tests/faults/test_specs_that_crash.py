"""A run in which specs end, break or confuse their process in all ways: each is named, and costs no other one."""

from __future__ import annotations

import json
import math
import random
import re
import time
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.core.processes import start_of
from scythe_cli.core.records import StateCounts
from scythe_cli.services.project import open_project
from tests.projects import make_project

from .comparing import strangers
from .conftest import Inside, told_seed

N_SPECS = 1000
CONFIG = """
[scythe]
storage = "runs"
workers = 2
[experiments.energy]
entrypoint = "models.building:simulate"
execution_timeout = "10s"
memory_limit = "600MB"
"""

SIGKILL = "the process was killed by SIGKILL"
FEW: dict[str, tuple[str, str, str]] = {
    # what the function does → state, type of the error, pattern of the message
    # what else ends a process is in the tests of the executor as well
    "segfault": ("crashed", "SIGSEGV", "the process died from SIGSEGV"),
    "grow": ("crashed", "MemoryLimit|MemoryError", r"used [0-9.]+ MB, the limit is 600.0 MB|out of memory"),
    "close all": ("crashed", "FileDescriptors", "it closed or wrote to file descriptors"),
    "unpicklable": ("failed", r"models\.building\.Unpicklable", "cannot be pickled"),
    "unspeakable": ("failed", r"models\.building\.Unspeakable", "its message cannot be shown: __str__ raised Runtime"),
    "dict": ("failed", "OutputError", "simulate returned a dict; it must return a Answer"),
    "nothing": ("failed", "OutputError", "simulate returned nothing; it must return a Answer"),
    "system exit": ("failed", "SystemExit", "enough"),
    "interrupt": ("failed", "KeyboardInterrupt", "by hand"),
    "recursion": ("failed", "RecursionError", "maximum recursion depth"),
    "huge message": ("failed", "ValueError", "xxx\n… 998,000 characters left out …\nxxx"),
    "surrogate": ("failed", "ValueError", r"bad \\udcff text"),
    "cycle": ("failed", "ValueError", "first"),
    "hollow": ("failed", "AttributeError", "'Answer' object has no attribute 'y'"),
}
MANY = FEW | {
    "abort": ("crashed", "SIGABRT", "the process died from SIGABRT"),
    "exit 3": ("crashed", "ProcessExit", "the process exited with code 3 by itself"),
    "stack": ("crashed", "SIGSEGV", "the process died from SIGSEGV"),
    "giant": ("crashed", "MemoryError", "out of memory"),
    "loop": ("timeout", "Timeout", r"still running after 10(\.0)? s"),
    "killed": ("crashed", "SIGKILL", SIGKILL),
    "exit 0": ("crashed", "ProcessExit", "the process exited with code 0 by itself"),
    "terminated": ("crashed", "SIGTERM", "the process was killed by SIGTERM"),
    "stopped": ("timeout", "Timeout", "still running"),
    "alarm": ("crashed", "SIGALRM", "the process was killed by SIGALRM"),
    "deaf": ("timeout", "Timeout", "still running"),
    "deadlock": ("timeout", "Timeout", "still running"),
    "group": ("crashed", "SIGKILL", SIGKILL),
    "write to all": ("crashed", "FileDescriptors", "it closed or wrote to file descriptors"),
    "evil": ("crashed", "SIGINT", "the process was killed by SIGINT"),
    "nameless": ("failed", "Nameless", r"who am I\?"),
    "rooted": ("failed", r"models\.building\.Rooted", "not an Exception"),
    "generator exit": ("failed", "GeneratorExit", "GeneratorExit"),
    "stop iteration": ("failed", "StopIteration", "StopIteration"),
    "cancelled": ("failed", r"asyncio\.exceptions\.CancelledError", "not now"),
    "NUL": ("failed", "ValueError", "a\0b"),
    "terminal": ("failed", "ValueError", "gone"),
    "empty": ("failed", "ValueError", r"ValueError\(\)"),
    "group of errors": ("failed", "ExceptionGroup", r"several \(2 sub-exceptions\)"),
    "notes": ("failed", "ValueError", "noted"),
    "assertion": ("failed", "AssertionError", r"\{'a': \[1, 1, 1\]\}"),
    "class": ("failed", "OutputError", "simulate returned a ModelMetaclass"),
    "too large": ("failed", "ColumnError", "the output field n: 1180591620717411303424 does not fit"),
    "unchecked": ("failed", "ColumnError", "the output field y: 'text' does not fit"),
    "feature": ("failed", "ZeroDivisionError", "no such feature"),
}
HARMLESS = [
    *("nan", "inf", "-inf", "report", "thread", "process", "fork", "async", "logging", "mutate", "move", "loud"),
    *("odd text", "close stdout", "builtins", "no tempdir", "link for tempdir"),
]


def ends(pid: int) -> bool:
    """Whether a process is gone, or about to go: the system takes a moment after the signal."""
    deadline = time.monotonic() + 10
    while start_of(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return start_of(pid) is None


@pytest.mark.parametrize(
    "expected", [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.nightly)]
)
def test_what_a_spec_does_costs_that_spec_alone(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch, expected: dict[str, tuple[str, str, str]]
) -> None:
    seed = told_seed()
    code = Path(__file__).with_name("misbehaving.py").read_text()
    folder = make_project(tmp_path / "p", code=code, config=CONFIG)
    stray = folder / "stray"
    monkeypatch.setenv("STRAY", str(stray))
    acts = ["fine"] * N_SPECS
    doing = [*expected, *HARMLESS]
    for row, act in zip(random.Random(seed).sample(range(N_SPECS), len(doing)), doing, strict=True):
        acts[row] = act
    pl.DataFrame({"act": acts, "x": [float(i) for i in range(N_SPECS)]}).write_csv(folder / "cases.csv")

    ran = inside(folder, "allocate", "cases.csv", "--json")

    assert ran.code == 1, ran.err
    assert "unexpected error" not in ran.err
    run = open_project(start=folder).run()
    states = [state for state, _, _ in expected.values()]
    counts = StateCounts(
        succeeded=N_SPECS - len(expected),
        **{state: states.count(state) for state in ("failed", "timeout", "crashed")},
    )
    errors = pl.read_parquet(Path(run.uri) / "final" / "errors.pq")
    assert set(errors["act"]) == set(expected), "an error of a spec that did nothing wrong, or of one that got away"
    assert run.status().counts == counts
    assert errors["sort_index"].to_list() == [row for row, act in enumerate(acts) if act in expected]
    for row in errors.select("act", "state", "error_type", "message").iter_rows(named=True):
        state, error_type, message = expected[row["act"]]
        assert row["state"] == state, row
        assert re.fullmatch(error_type, row["error_type"]), row
        assert re.search(message, row["message"]), row
        assert len(row["message"]) < 2_100

    check_tables(folder, run.uri, acts, expected)
    check_commands(folder, inside, acts, expected)
    assert ends(int(stray.read_text())), "a process that a spec has started outlived the run"
    assert strangers(Path(run.uri)) == []


def check_tables(folder: Path, uri: str, acts: list[str], expected: dict[str, tuple[str, str, str]]) -> None:
    """What succeeded has the values that it has by itself, those that are no numbers included."""
    well = [row for row, act in enumerate(acts) if act not in expected]
    scalars = pl.read_parquet(Path(uri) / "final" / "scalars.pq")
    assert scalars["sort_index"].to_list() == well
    values = [float(acts[row]) if acts[row] in ("nan", "inf", "-inf") else float(row) ** 2 for row in well]
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(scalars["y"], values, strict=True))
    assert scalars["n"].to_list() == well
    assert scalars["half"].to_list() == [row / 2 for row in well]
    steps = pl.read_parquet(Path(uri) / "final" / "steps.pq")
    assert steps["sort_index"].to_list() == [row for row in well for _ in range(2)]
    assert steps["e"].to_list() == [value for row in well for value in (float(row), row / 3)]
    (report,) = pl.read_parquet(Path(uri) / "final" / "result_file_refs.pq")["report"].drop_nulls()
    assert Path(report).read_text() == f"report of {acts.index('report')}"


def check_commands(folder: Path, inside: Inside, acts: list[str], expected: dict[str, tuple[str, str, str]]) -> None:
    """Whatever the messages hold, commands show it, and nothing in it reaches the terminal."""
    shown = inside(folder, "errors", "--limit", "100")
    assert shown.code == 0, shown.err
    assert all(line.isprintable() for line in shown.out.splitlines())
    listed = json.loads(inside(folder, "errors", "--json", "--limit", "1000").out)
    assert len(listed["errors"]) == len(expected)
    loud = inside(folder, "logs", "--row", str(acts.index("loud")))
    assert "head\nxxx" in loud.out
    assert "xxx\ntail" in loud.out
    assert "bytes left out" in loud.out
    assert len(loud.out) < 80_000
    odd = inside(folder, "logs", "--row", str(acts.index("odd text")))
    assert odd.code == 0
    assert "no UTF-8" in odd.out
    fetched = inside(folder, "results", "fetch", "--dest", "out", "--format", "csv")
    assert fetched.code == 0, fetched.err
    assert pl.read_csv(folder / "out" / "errors.csv", infer_schema=False).height == len(expected)
