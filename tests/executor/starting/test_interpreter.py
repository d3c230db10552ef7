"""An interpreter that is started while cases are checked: what it becomes, and that nothing is left of it."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scythe_cli.errors import EntrypointError, SamplingFileError
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.pool import Executor
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.executor.starting.interpreter import MARK, Interpreter
from scythe_cli.model.functions.reference import ExperimentTarget, target_of
from scythe_cli.model.spec_rows import with_meta
from scythe_cli.registry import experiment_from_function
from scythe_cli.services.project import open_project
from tests.projects import make_project

pytestmark = pytest.mark.processes

_RUN = "seen/v1.0.0/2026-01-01_00-00-00"
_MODULE = f"""
import os
from scythe_cli import Input, Output

class Case(Input):
    name: str

class Seen(Output):
    value: str | None
    mark: str
    folder: str

def see(case: Case) -> Seen:
    return Seen(value=os.environ.get(case.name), mark=os.environ[{MARK!r}], folder=os.getcwd())
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentTarget:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "seen_by_rows.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "seen_by_rows", raising=False)
    function = importlib.import_module("seen_by_rows").see
    return target_of(experiment_from_function(function), root=tmp_path)


def _run(target: ExperimentTarget, interpreter: Interpreter, **limits: Any) -> dict[str, Any]:
    rows = with_meta(pa.table({"name": ["SEEN_BY_ROWS"]}), _RUN, "root").to_batches()
    context = RunContext("runs", _RUN, "root", "here")
    options = replace(Limits(30.0, None, 0), working_directory="project", **limits)
    with Executor(target, context, options, workers=1, interpreter=interpreter) as executor:
        tables = [table for table in executor.run(rows, stop=StopSignal()) if table.num_rows]
    return pa.concat_tables(tables).to_pylist()[0]


def _is_running(mark: str) -> bool:
    setting = f"{MARK}={mark}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if setting in path.read_bytes().split(b"\0"):
                return True
        except OSError:  # it has ended, or is another user's
            continue
    return False


def test_rows_run_in_what_it_has_become(target: ExperimentTarget, tmp_path: Path) -> None:
    interpreter = Interpreter(_threads())
    row = _run(target, interpreter)
    assert (row["out:mark"], row["out:folder"]) == (interpreter.mark, str(tmp_path))
    assert not _is_running(interpreter.mark)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("why", ["environment", "threads", "spawn"])
def test_one_that_does_not_suit_is_ended(
    target: ExperimentTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    interpreter = Interpreter(_threads() + (why == "threads"))
    if why == "environment":
        monkeypatch.setenv("SEEN_BY_ROWS", "new")
    row = _run(target, interpreter, start_method="spawn" if why == "spawn" else "auto")
    assert row["out:mark"] != interpreter.mark
    assert row["out:value"] == ("new" if why == "environment" else None)
    assert not _is_running(interpreter.mark)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_working_directory_that_is_gone_is_told(target: ExperimentTarget, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(EntrypointError, match="gone cannot be the working directory: No such file"):
        _run(replace(target, cwd=str(gone)), Interpreter(_threads()))


def test_nothing_is_left_of_it_where_no_case_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = open_project(start=make_project(tmp_path / "project"))
    (tmp_path / "wrong.csv").write_text("nothing\n1\n")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with project.engine.warmed_up(1):
        assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert list((tmp_path / "tmp").iterdir()) == []

    with pytest.raises(SamplingFileError):
        project.allocate(tmp_path / "wrong.csv")
    assert list((tmp_path / "tmp").iterdir()) == []


def _threads() -> int:
    return len(os.sched_getaffinity(0))
