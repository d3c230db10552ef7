"""The page of `scythe ui` with many cases, measured in Chromium: first paint, all pictures, brushes, memory.

Beside it, with fewer cases, is the dashboard of Optuna, in the same browser.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from bench.measure import Check, Record, Report, check_ratio
from bench.rivals import RivalMissingError, rival_python
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.core.semver import SemVer
from scythe_cli.model.columns import outcome_schema
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import with_meta
from scythe_cli.run.final.gather import gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import write_part
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.specs_file import write_specs
from scythe_cli.storage.local import LocalStorage

TITLE = "ui: the page with 1,000,000 cases × 12 columns"
ORDER = 90

_INPUTS, _OUTPUTS = 8, 4
_BRUSHES = 30
_PART = 50_000
_LONGEST_BRUSH_S = 60.0
_LONGEST_S = 120.0
"""So long somebody waits for a page."""

SCRIPTS = Path(__file__).parent / "scripts"


class Case(ExperimentInputSpec):
    """Eight numbers."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float
    g: float
    h: float


class Answer(ExperimentOutputSpec):
    """Four numbers."""

    p: float
    q: float
    r: float
    s: float


def make_run(folder: Path, n: int) -> str:
    """Write a finished run without running anything."""
    storage, draw = LocalStorage(folder / "runs"), np.random.default_rng(0)
    layout = RunLayout("wide", SemVer(major=1), datetime(2026, 1, 1, tzinfo=UTC))
    names = list(Case.model_fields)[-_INPUTS:]
    inputs = pa.table({name: draw.random(n) for name in names})
    folder.mkdir(parents=True, exist_ok=True)
    write_specs(folder / "specs.pq", with_meta(inputs, layout.experiment_id, "root"), names, outcome_schema(Answer))
    storage.put_file(folder / "specs.pq", layout.specs)
    manifest = RunManifest(
        workflow_run_id="root", experiment_id=layout.experiment_id, experiment_name="wide", experiment="wide",
        version="v1.0.0", engine="local", n_specs=n, created_at=layout.timestamp,
    )  # fmt: skip
    storage.write_bytes(layout.manifest, manifest.to_yaml())
    start = np.datetime64("2026-01-01T00:00:00", "us")
    for first in range(0, n, _PART):
        rows = np.arange(first, min(first + _PART, n))
        failed = rows % 1000 == 7
        columns: dict[str, Any] = {
            "sort_index": rows,
            "state": np.where(failed, "failed", "succeeded"),
            "attempt": np.ones(rows.size, np.int32),
            "final": np.ones(rows.size, bool),
            "started_at": pa.array(start + rows * 100, pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
            "duration_s": draw.random(rows.size),
            "worker": np.full(rows.size, "w"),
            "workflow_run_id": np.char.mod("root-%08d", rows),
            "error_type": pa.array(np.where(failed, "ValueError", None)),
            "message": pa.array(np.where(failed, "bad", None)),
            "traceback": pa.nulls(rows.size, pa.string()),
            "log": pa.nulls(rows.size, pa.string()),
        }
        table = pa.table({f.name: pa.array(columns[f.name], f.type) for f in OUTCOME_SCHEMA})
        for name in ("p", "q", "r", "s")[:_OUTPUTS]:
            table = table.append_column(f"out:{name}", pa.array(draw.random(rows.size), pa.float64(), mask=failed))
        write_part(storage, layout, f"part-{first:08d}", table)
    gather(storage, layout)
    return layout.experiment_id


def run(quick: bool) -> Report:
    """Measure the page, and beside it that of Optuna."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with TemporaryDirectory(prefix="scythe-bench-") as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            report = _of_many(browser, Path(name), 50_000 if quick else 1_000_000)
            return [*report, *_beside(browser, Path(name) / "beside", 10_000 if quick else 100_000, install=not quick)]
        finally:
            browser.close()


def _of_many(browser: Any, folder: Path, n: int) -> Report:
    with _served(folder, n) as (url, pid):
        page, shown_s, paint_s = _opened(browser, url, "table tbody tr", 120.0)
        brushes_ms = [_brush(page, i) for i in range(_BRUSHES)]
        page.close()
        memory = psutil.Process(pid).memory_info().rss
    p95 = statistics.quantiles(brushes_ms, n=20)[-1]
    print(f"median of {_BRUSHES} brushes: {statistics.median(brushes_ms):.0f} ms")
    return [
        Check(f"first paint with {n:,} cases", paint_s, 1.0, at_least=False, unit="s"),
        Check("until all pictures and the table are there", shown_s, 10.0, at_least=False, unit="s"),
        Check("a brush, from the release to the pictures, 95 %", p95 / 1000, 0.15, at_least=False, unit="s"),
        Check("memory of the server", memory / 1e9, 1.0, at_least=False, unit="GB"),
    ]


def _beside(browser: Any, folder: Path, n: int, *, install: bool) -> Report:
    """The dashboard of Optuna with as many trials, until its history is drawn, or nobody waits any longer."""
    try:
        python = rival_python("optuna-dashboard", install=install)
    except RivalMissingError as error:
        return [str(error)]
    case = f"page of {n:,} cases: until something of them is shown"
    with _served(folder, n) as (url, _):
        page, ours_s, our_paint_s = _opened(browser, url, "table tbody tr", _LONGEST_S)
        page.close()
    store, port = folder / "trials.db", _free_port()
    subprocess.run([python, str(SCRIPTS / "optuna_trials.py"), str(store), str(n)], check=True)
    command = [str(python.parent / "optuna-dashboard"), f"sqlite:///{store}", "--port", str(port), "--quiet"]
    with _process(command, folder):
        _wait_for(port)
        place = f"http://127.0.0.1:{port}/dashboard/studies/1"
        page, theirs_s, paint_s = _opened(browser, place, ".js-plotly-plot .trace", _LONGEST_S)
        page.close()
    notes = [f"optuna-dashboard showed no trial in {_LONGEST_S:.0f} s: the ratio is at least that"]
    return [
        Record(case, "scythe ui", ours_s, n, is_base=True, more={"first paint, s": our_paint_s}),
        Record(case, "optuna-dashboard", theirs_s, n, more={"first paint, s": paint_s}),
        check_ratio("until something is shown, optuna-dashboard / scythe ui", theirs_s, ours_s, 5.0, at_least=True),
        *(notes if theirs_s >= _LONGEST_S else []),
    ]


@contextmanager
def _served(folder: Path, n: int) -> Generator[tuple[str, int]]:
    """The page of a run of so many cases: its address, and the process that serves it."""
    experiment_id = make_run(folder, n)
    command = [sys.executable, "-m", "scythe_cli.cli", "--storage", str(folder / "runs"), "ui", "--no-browser"]
    with _process([*command, experiment_id], folder) as server:
        assert server.stdout is not None
        yield server.stdout.readline().decode().strip(), server.pid


@contextmanager
def _process(command: list[str], folder: Path) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, env=dict(os.environ))
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _opened(browser: Any, url: str, what: str, longest_s: float) -> tuple[Any, float, float]:
    """A page, the seconds until something is there, at most so many, and those until its first paint."""
    from playwright.sync_api import TimeoutError as WaitedTooLongError

    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    begun = time.perf_counter()
    page.goto(url, timeout=longest_s * 1000, wait_until="commit")
    try:
        page.locator(what).first.wait_for(timeout=longest_s * 1000)
        shown_s = time.perf_counter() - begun
    except WaitedTooLongError:
        shown_s = longest_s
    paint_ms: float = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    return page, shown_s, paint_ms / 1000


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(port: int) -> None:
    begun = time.monotonic()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            if time.monotonic() - begun > _LONGEST_S:
                raise
            time.sleep(0.1)
        else:
            return


def _brush(page: Any, i: int) -> float:
    """Drag over a histogram, always another part of it; the page itself takes the time."""
    page.evaluate("performance.clearMeasures('brushed')")
    element = page.locator(".charts figure .u-over").nth(2 + i % 4)
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    start = 0.1 + (i % 7) * 0.05
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (start + 0.2), y)
    page.mouse.move(box["x"] + box["width"] * (start + 0.4), y)
    page.mouse.up()
    told: list[float] = []
    begun = time.monotonic()
    while not told:  # the page's policy lets nobody wait inside of it
        if time.monotonic() - begun > _LONGEST_BRUSH_S:
            raise RuntimeError(f"nothing came of brush {i}: {page.url}")
        told = page.evaluate("performance.getEntriesByName('brushed').map((entry) => entry.duration)")
        time.sleep(0.02)
    return told[0]
