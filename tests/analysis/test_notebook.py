"""What a notebook shows: escaped, small, without anything from elsewhere; and progress below the cell."""

from __future__ import annotations

import io
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scythe_cli
from scythe_cli.analysis.notebook import NotebookProgress, in_notebook, notebook_progress
from scythe_cli.analysis.records import QueryColumn, QueryResult
from scythe_cli.analysis.run import Run
from scythe_cli.core.html import RecordList
from scythe_cli.core.progress import Progress
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.run.catalog import VersionRecord
from scythe_cli.run.ledger import write_part
from scythe_cli.run.records import ErrorGroup, RunErrors, SpecError
from scythe_cli.services.records import AllocateResult
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, make_run, outcomes
from tests.projects import make_project

HOSTILE = '<script src="https://evil.example/x.js">alert(1)</script><img src=x onerror=alert(1)>&"\x1b[31m'
ALLOWED = {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "br", "progress"}


class Seen(HTMLParser):
    """The elements, attributes and text of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def result(text: str) -> AllocateResult:
    return AllocateResult(
        experiment_id=text,
        experiment="energy",
        version="v1.0.0",
        timestamp="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        uri=text,
        engine="local",
        workflow_run_id="w",
        n_specs=12_000,
        counts=StateCounts(succeeded=11_999, failed=1),
        duration_s=90.0,
        tables={text: text},
        errors=[
            ErrorGroup(state=State.FAILED, error_type=text, place=text, message=text, count=1, rows=[3])
            for _ in range(30)
        ],
        notices=[text],
    )


def check(html: str) -> Seen:
    seen = Seen(html)
    assert seen.tags <= ALLOWED
    assert seen.attributes <= {"style", "max", "value"}
    assert "\x1b" not in html
    return seen


@given(st.text() | st.just(HOSTILE))
def test_a_record_is_a_table_of_escaped_text(text: str) -> None:
    seen = check(result(text)._repr_html_())

    for part in (
        "AllocateResult",
        "n_specs 12,000",
        "duration_s 1m 30s",
        "ok no",
        "2026-01-01 00:00:00",
        "and 10 more",
    ):
        assert part in " ".join(seen.text.split())


def test_rows_and_long_texts_are_cut() -> None:
    rows = [{"a": i, "b": None, HOSTILE: "x" * 1000} for i in range(100)]
    answer = QueryResult(
        experiment_ids=["e"] * 40, sql="select 1", columns=[QueryColumn(name="a", dtype="Int64")], n_rows=100, rows=rows
    )
    html = answer._repr_html_()

    seen = check(html)
    assert "and 80 more" in seen.text
    assert "and 28 more" in seen.text
    assert len(html) < 15_000
    lines = "\n".join(f"line {i}" for i in range(100))
    error = SpecError(
        sort_index=1, state=State.FAILED, attempt=1, error_type="E", message="m", traceback=lines, duration_s=None
    )
    assert "line 99" in check(error._repr_html_()).text
    assert "line 50 " not in error._repr_html_()


def test_a_run_shows_how_it_stands(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "runs"))
    run = Run(storage, make_run(storage, tmp_path / "scratch", 4))
    write_part(storage, LAYOUT, "a", outcomes([0, 1, 2]))

    text = " ".join(check(run._repr_html_()).text.split())

    assert f"run {LAYOUT.experiment_id}" in text
    assert "cases 3 succeeded, 1 pending" in text
    assert LAYOUT.experiment_id in repr(run)
    storage.write_bytes(LAYOUT.manifest, b"\x00")
    assert "problem" in check(Run(storage, LAYOUT)._repr_html_()).text


@given(st.text() | st.just(HOSTILE))
def test_lists_and_errors_are_tables_of_escaped_text(text: str) -> None:
    one = SpecError(
        sort_index=7, state=State.FAILED, attempt=1, error_type=text, message=text, traceback=text, duration_s=1.0
    )
    group = ErrorGroup(state=State.FAILED, error_type=text, place=text, message=text, count=2, rows=[7, 8])
    counts = StateCounts(succeeded=3, failed=2)
    seen = check(RunErrors(experiment_id=text, counts=counts, groups=[group], errors=[one])._repr_html_())
    words = " ".join(seen.text.split())
    assert "cases 3 succeeded, 2 failed" in words
    assert "2 7, 8" in words
    versions = RecordList(VersionRecord(text, f"v1.{n}.0", 1, None) for n in range(30))
    assert "and 10 more" in check(versions._repr_html_()).text
    assert versions[:1] == [versions[0]]
    assert check(RecordList()._repr_html_()).text.split() == ["none"]


def test_tab_offers_what_people_need(tmp_path: Path) -> None:
    public = [name for name in dir(scythe_cli) if not name.startswith("_")]
    assert public == sorted(name for name in scythe_cli.__all__ if not name.startswith("_"))
    run = Run(open_storage(str(tmp_path)), LAYOUT)
    offered = [name for name in dir(run) if not name.startswith("_")]
    assert {"scalars", "to_pandas", "errors", "plot", "query"} <= {*offered}
    assert not {"layout", "status_from", "table_keys"} & {*offered}
    project = scythe_cli.open_project(start=tmp_path)
    assert {"map", "allocate", "runs", "run"} <= {*dir(project)}
    assert not {"engine_named", "settings_of"} & {*dir(project)}
    assert "folder" in check(project._repr_html_()).text
    fields = {"succeeded", "failed", "timeout", "crashed", "cancelled", "pending", "total", "unsuccessful", "of"}
    own = {*fields, "told", "model_dump", "model_dump_json"}
    assert {name for name in dir(StateCounts()) if not name.startswith("_")} == own


# progress


class Notebook(ModuleType):
    """As much of IPython as is used, in a kernel."""

    def __init__(self, *, kernel: bool) -> None:
        super().__init__("IPython")
        self.calls: list[tuple[str, dict[str, str], str]] = []
        shell = SimpleNamespace(kernel=object() if kernel else None)
        self.get_ipython = lambda: shell
        self.display = SimpleNamespace(
            display=lambda data, raw, display_id: self.calls.append(("display", data, display_id)),
            update_display=lambda data, raw, display_id: self.calls.append(("update", data, display_id)),
        )


def moment(done: int, phase: Any = "running", detail: str | None = None) -> Progress:
    return Progress(phase, StateCounts(succeeded=done, pending=300 - done), rate_per_s=10.0, detail=detail)


def test_in_a_notebook_one_display_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(kernel=True)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    with notebook_progress(None) as show:
        assert isinstance(show, NotebookProgress)
        show(moment(0, "checking", HOSTILE))
        for done in range(301):
            show(moment(done))
        show(moment(300, "gathering", "final tables"))

    assert [kind for kind, _, _ in notebook.calls] == ["display"] + ["update"] * (len(notebook.calls) - 1)
    assert len({name for _, _, name in notebook.calls}) == 1
    assert len(notebook.calls) < 30
    assert notebook.calls[-3][1]["text/plain"] == "300/300 · 10/s"
    assert notebook.calls[-2][1]["text/plain"] == "gathering final tables"
    assert notebook.calls[-1][1]["text/plain"].startswith("300/300 cases · ")
    with pytest.raises(KeyboardInterrupt):
        _interrupted_at(100)
    assert notebook.calls[-1][1]["text/plain"].startswith("stopped · 100/300 cases · ")
    for _, bundle, _ in notebook.calls:
        check(bundle["text/html"])


def _interrupted_at(done: int) -> None:
    with notebook_progress(None) as show:
        assert show is not None
        show(moment(done))
        raise KeyboardInterrupt


@pytest.mark.parametrize("kernel", [False, None])
def test_elsewhere_nothing_is_shown_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, kernel: bool | None
) -> None:
    notebook = Notebook(kernel=False)
    if kernel is None:
        monkeypatch.delitem(sys.modules, "IPython", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "IPython", notebook)
    assert not in_notebook()
    with notebook_progress(None) as nothing, notebook_progress(print) as asked_for:
        assert nothing is None
        assert asked_for is print

    stream = io.StringIO()
    show = NotebookProgress(stream)
    for done in (0, 100, 300):
        show(moment(done))
    assert stream.getvalue() == "0/300 · 10/s\n300/300 · 10/s\n"
    assert notebook.calls == []


# all of it, as it is written in a cell


@pytest.mark.processes
def test_from_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_project(tmp_path / "it's a [project]")
    (folder / "cases.csv").write_text("area,mode\n10,well\n20,raise\n30,well\n")
    monkeypatch.chdir(folder)
    notebook = Notebook(kernel=True)
    monkeypatch.setitem(sys.modules, "IPython", notebook)

    done = scythe_cli.open_project().allocate("cases.csv")
    run = scythe_cli.load_run("latest")

    assert notebook.calls[0][0] == "display"
    assert "KeyError" in check(done._repr_html_()).text
    assert run.scalars()["energy_kwh"].to_list() == [100.0, 300.0]
    monthly = run.table("monthly")
    assert isinstance(monthly, pl.LazyFrame)
    assert monthly.select(pl.col("kwh").sum()).collect().item() == 120.0
    assert run.to_pandas().shape[0] == 2
    assert "cases 2 succeeded, 1 failed" in " ".join(check(run._repr_html_()).text.split())


@pytest.mark.processes
def test_ipython_is_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "IPython.py").write_text("raise SystemExit('loaded')\n")
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from scythe_cli.analysis.notebook import notebook_progress\n"
        "from scythe_cli.core.records import StateCounts\n"
        "StateCounts()._repr_html_(); assert notebook_progress(None).__enter__() is None\n"
        "print(*sorted({'IPython', 'pandas', 'polars', 'rich'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "\n", "")
