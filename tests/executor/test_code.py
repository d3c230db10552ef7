"""All rows of a run are of one code: what a process has to find in the files of an experiment before it loads them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scythe_cli.errors import CodeChangedError
from scythe_cli.executor.code import (
    check_sources,
    code_hash,
    code_of,
    comparable_hash,
    raise_if_changed,
    shared_differences,
    target_of_code,
)
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.pool import Executor
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.model.experiment import experiment_from_function
from scythe_cli.model.functions.entrypoints import load_entrypoint
from scythe_cli.model.functions.reference import ExperimentTarget

SIM = """
import os
from pathlib import Path
import {helper}
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec

Path(__file__).with_name("written beside.csv").write_text(f"{{os.getpid()}}")


class In(ExperimentInputSpec):
    x: float
    edit: str = ""


class Out(ExperimentOutputSpec):
    y: float


def simulate(spec: In) -> Out:
    if spec.edit:
        Path(spec.edit).write_text("FACTOR = 3.0")
        os.abort()
    return Out(y=spec.x * {helper}.FACTOR)


def made() -> object:
    def inner(spec: In) -> Out:
        return simulate(spec)

    return inner
"""


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, Any, Path]]:
    """A folder, the experiment in it, and a module that it imports; their names are no other test's."""
    names = [f"{kind}_{abs(hash(request.node.name))}" for kind in ("sim", "helper")]
    sim, helper = (tmp_path / f"{name}.py" for name in names)
    helper.write_text("FACTOR = 2.0")
    sim.write_text(SIM.format(helper=names[1]))
    yield tmp_path, load_entrypoint(f"{names[0]}:simulate", tmp_path), helper
    for name in names:
        sys.modules.pop(name, None)


def again(target: ExperimentTarget) -> ExperimentTarget:
    """What another process gets."""
    return ExperimentTarget.from_bytes(target.to_bytes())


def test_files_have_to_be_what_they_were(project: tuple[Path, Any, Path]) -> None:
    root, experiment, helper = project
    code = code_of(experiment, root)
    assert code is not None
    target = again(target_of_code(experiment, root, code))
    assert {name for _, name, *_ in target.sources} == set(code)
    check_sources(target)
    helper.write_text("FACTOR = 3.0")
    with pytest.raises(CodeChangedError, match=f"since the run was allocated: {helper.name}$"):
        check_sources(target)
    with pytest.raises(CodeChangedError, match=helper.name):
        target_of_code(experiment, root, code)
    helper.unlink()
    with pytest.raises(CodeChangedError, match=helper.name):
        check_sources(target)


@pytest.mark.parametrize(
    "harmless",
    {
        "comments and layout": lambda root, helper: helper.write_text("# two\n\nFACTOR =  2.0  # or more\n"),
        "saved again": lambda root, helper: os.utime(helper, (1, 1)),
        "compiled": lambda root, helper: (root / "__pycache__" / f"{helper.stem}.pyc").write_bytes(b"x"),
        "data": lambda root, helper: (root / "cases.csv").write_text("x"),
        "another module": lambda root, helper: (root / "unused.py").write_text("x = 1"),
    }.items(),
    ids=lambda each: each[0],
)
def test_what_is_no_change(project: tuple[Path, Any, Path], harmless: tuple[str, Callable[[Path, Path], Any]]) -> None:
    root, experiment, helper = project
    (root / "__pycache__").mkdir(exist_ok=True)
    target = target_of_code(experiment, root, code_of(experiment, root))
    harmless[1](root, helper)
    check_sources(target)


def test_a_function_that_is_sent_itself_is_not_looked_for_in_its_file(project: tuple[Path, Any, Path]) -> None:
    root, experiment, helper = project
    inner = experiment_from_function(sys.modules[experiment.fn.__module__].made())
    target = target_of_code(inner, root, code_of(inner, root))
    assert target.is_by_value
    assert [name for _, name, *_ in target.sources] == [helper.name]


def test_where_the_code_is_not_known_nothing_is_looked_at(project: tuple[Path, Any, Path]) -> None:
    root, experiment, helper = project
    target = target_of_code(experiment, root, None)
    helper.write_text("FACTOR = 3.0")
    check_sources(target)
    scope: dict[str, Any] = dict(vars(sys.modules[experiment.fn.__module__]))
    exec("def typed(spec: In) -> Out: return Out(y=1)", scope)
    notebook = experiment_from_function(scope["typed"])
    # a function of no file counts itself, and with it what it names
    code = code_of(notebook, root)
    assert code is not None
    assert "typed()" in code


def test_hashes_and_words() -> None:
    assert code_hash({"a.py": "1", "b.py": "2"}) == code_hash({"b.py": "2", "a.py": "1"}) != code_hash({"a.py": "1"})
    assert comparable_hash(None) is None
    assert shared_differences({"a.py": "1", "b.py": "2"}, {"a.py": "2", "c.py": "3"}) == ["a.py"]
    raise_if_changed(None)
    raise_if_changed([])
    with pytest.raises(CodeChangedError, match=r"allocated: a, b, c and 2 more$"):
        raise_if_changed(["a", "b", "c", "d", "e"])


@pytest.mark.processes
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_module_that_is_edited_while_a_run_goes_on(project: tuple[Path, Any, Path], method: Any) -> None:
    root, experiment, helper = project
    target = target_of_code(experiment, root, code_of(experiment, root))
    limits = replace(Limits(60.0, None, 0), start_method=method, isolation="process")
    edits = ["", "", str(helper), "", ""]
    columns = {
        "sort_index": list(range(5)),
        "experiment_id": ["e"] * 5,
        "workflow_run_id": pa.array([None] * 5, pa.string()),
        "root_workflow_run_id": ["root"] * 5,
        "x": [1.0] * 5,
        "edit": edits,
    }
    seen: list[dict[str, Any]] = []
    with Executor(target, RunContext("runs", "e", "root", "here"), limits, workers=1) as executor:
        rows = executor.run([pa.RecordBatch.from_pydict(columns)], stop=StopSignal())

        def run() -> None:
            for table in rows:
                seen.extend(table.to_pylist())

        if method == "fork":
            run()  # on with what was loaded at the start
        else:
            with pytest.raises(CodeChangedError, match=helper.name):
                run()
    assert {row["out:y"] for row in seen if row["state"] == "succeeded"} == {2.0}
    # what had not been sent before the crash would have been run again
    assert len([row for row in seen if row["state"] == "succeeded"]) in ([4] if method == "fork" else [1, 2])
