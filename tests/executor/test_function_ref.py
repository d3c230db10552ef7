"""How a child finds the experiment: scripts, modules, notebooks."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.errors import EntrypointError
from scythe_cli.model.functions.loading import ImportedInWorker, in_worker, load_target, stop_if_in_worker
from scythe_cli.model.functions.reference import ExperimentTarget, target_of
from scythe_cli.registry import ExperimentOptions, ExperimentRegistry, RegisteredExperiment, experiment_from_function
from tests.executor.module_targets import target_of_text

MODULE = """
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

class Wall(ExperimentInputSpec):
    u: float

class Loss(ExperimentOutputSpec):
    watts: float

{decorator}
def simulate(spec: Wall) -> Loss:
    return Loss(watts=2 * spec.u)
"""

RUN_SPECS = """
def run_specs(experiment, n=3):
    import pyarrow as pa
    from scythe_cli.executor.limits import Limits, StopSignal
    from scythe_cli.executor.pool import Executor
    from scythe_cli.executor.rows.call import RunContext
    from scythe_cli.model.spec_rows import with_meta
    from scythe_cli.model.functions.loading import stop_if_in_worker
    from scythe_cli.model.functions.reference import target_of

    stop_if_in_worker()
    rows = with_meta(pa.table({"u": [float(i) for i in range(n)]}), "e/v1.0.0/2025-01-01_00-00-00", None)
    target = target_of(experiment, root=None)
    print("kind", target.kind)
    with Executor(target, RunContext("runs", "e", "root", "w"), Limits(60, None, 0), workers=1) as executor:
        for table in executor.run(rows.to_batches(), stop=StopSignal()):
            for row in table.to_pylist():
                print(row["state"], row.get("out:watts"), row["message"])
"""


def _load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _lib(cwd: Path) -> Path:
    return cwd if cwd.name == "lib" else cwd / "lib"


def _python(*arguments: str, cwd: Path, stdin: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(_lib(cwd))},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "run_specs.py").write_text(RUN_SPECS)
    return tmp_path


SUCCESS = "succeeded 0.0 None\nsucceeded 2.0 None\nsucceeded 4.0 None\n"


@pytest.mark.processes
@pytest.mark.parametrize("decorator", ["", "@ExperimentRegistry.Register()"])
def test_a_script_without_a_guard(project: Path, decorator: str) -> None:
    text = MODULE.format(decorator=decorator) + "\nfrom run_specs import run_specs\n"
    call = "simulate" if decorator else "__import__('scythe_cli.registry').registry.experiment_from_function(simulate)"
    (project / "study.py").write_text(f"{text}print('begin')\nrun_specs({call})\nprint('end')\n")
    assert _python("study.py", cwd=project) == f"begin\nkind script\n{SUCCESS}end\n"


@pytest.mark.processes
def test_a_script_with_a_guard_and_a_sibling(project: Path) -> None:
    (project / "sibling.py").write_text("FACTOR = 2\n")
    text = "import sibling\nfrom run_specs import run_specs\n" + MODULE.format(
        decorator="@ExperimentRegistry.Register()"
    )
    text = text.replace("2 * spec.u", "sibling.FACTOR * spec.u")
    (project / "study.py").write_text(f"{text}if __name__ == '__main__':\n    run_specs(simulate)\n")
    assert _python("study.py", cwd=project) == f"kind script\n{SUCCESS}"
    assert _python(str(project / "study.py"), cwd=project / "lib") == f"kind script\n{SUCCESS}"


@pytest.mark.processes
def test_a_module_that_is_run_as_the_main_one(project: Path) -> None:
    package = project / "lib" / "pack"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "factor.py").write_text("FACTOR = 2\n")
    text = "from .factor import FACTOR\nfrom run_specs import run_specs\n" + MODULE.format(decorator="")
    text += "from scythe_cli.registry import experiment_from_function\nrun_specs(experiment_from_function(simulate))\n"
    (package / "study.py").write_text(text.replace("2 * spec.u", "FACTOR * spec.u"))
    assert _python("-m", "pack.study", cwd=project) == f"kind module\n{SUCCESS}"


@pytest.mark.processes
def test_code_without_a_file(project: Path) -> None:
    text = MODULE.format(decorator="@ExperimentRegistry.Register()") + "\nfrom run_specs import run_specs\n"
    assert _python("-c", text + "run_specs(simulate)\n", cwd=project) == f"kind value\n{SUCCESS}"
    assert _python("-", cwd=project, stdin=text + "run_specs(simulate)\n") == f"kind value\n{SUCCESS}"


@pytest.mark.processes
def test_a_spec_of_a_script_can_use_multiprocessing(project: Path) -> None:
    text = "from run_specs import run_specs\nimport multiprocessing\n" + MODULE.format(
        decorator="@ExperimentRegistry.Register()"
    )
    text = text.replace("class Wall", "def twice(x):\n    return 2 * x\n\nclass Wall")
    pool = "multiprocessing.get_context('spawn').Pool(1)"
    text = text.replace(
        "    return Loss(watts=2 * spec.u)",
        f"    with {pool} as pool:\n        return Loss(watts=pool.map(twice, [spec.u])[0])",
    )
    (project / "study.py").write_text(f"{text}if __name__ == '__main__':\n    run_specs(simulate, 1)\n")
    assert _python("study.py", cwd=project) == "kind script\nsucceeded 0.0 None\n"


def test_an_importable_module(tmp_path: Path) -> None:
    (tmp_path / "thermal.py").write_text(MODULE.format(decorator="@ExperimentRegistry.Register(retries=5)"))
    sys.path.insert(0, str(tmp_path))
    import thermal  # type: ignore[import-not-found]

    options = ExperimentOptions(retries=2, execution_timeout=timedelta(seconds=7), inject_workflow_run_id=False)
    target = target_of(thermal.simulate.configured(name="energy", options=options), root=tmp_path)
    assert (target.kind, target.module, target.attribute) == ("module", "thermal", "simulate")
    assert target.sys_path[0] == str(tmp_path)
    target = ExperimentTarget.from_bytes(target.to_bytes())
    loaded = load_target(target)
    assert loaded.name == "energy"
    assert loaded.options == options
    assert loaded.fn is thermal.simulate.fn


def test_a_module_that_was_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "odd name.py"
    path.write_text(MODULE.format(decorator=""))
    module = _load(path, "odd")
    target = target_of(experiment_from_function(module.simulate), root=None)
    assert (target.kind, target.file, target.attribute) == ("file", str(path), "simulate")
    before = list(sys.path)
    loaded = load_target(target)
    sys.path[:] = before
    assert loaded.fn is not module.simulate
    assert loaded(loaded.input_validator_type(u=3.0)).watts == 6.0


def test_a_module_whose_name_another_file_has(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text(MODULE.format(decorator=""))
    real = sys.modules["json"]
    try:
        module = _load(path, "json")
        assert target_of(experiment_from_function(module.simulate), root=None).kind == "file"
    finally:
        sys.modules["json"] = real


def test_a_function_that_another_name_refers_to(tmp_path: Path) -> None:
    text = MODULE.format(decorator="").replace("def simulate", "def _hidden") + (
        "\ndef make():\n    def inner(spec: Wall) -> Loss:\n        return Loss(watts=1.0)\n    return inner\n"
        "\nfirst = ExperimentRegistry.Register(name='one')(_hidden)\n"
        "second = ExperimentRegistry.Register(name='two')(make())\n"
    )
    (tmp_path / "renaming.py").write_text(text)
    sys.path.insert(0, str(tmp_path))
    import renaming  # type: ignore[import-not-found]

    assert target_of(renaming.first, root=None).attribute == "_hidden"
    assert target_of(renaming.second, root=None).attribute == "second"
    assert load_target(target_of(renaming.second, root=None)).name == "two"


class In(ExperimentInputSpec):
    x: float


class Out(ExperimentOutputSpec):
    y: float


def test_a_function_inside_a_function() -> None:
    factor = 3.0

    class Local(ExperimentInputSpec):
        x: float

    def simulate(spec: In) -> Out:
        return Out(y=factor * spec.x)

    experiment = experiment_from_function(simulate)
    experiment.input_validator_type = Local
    target = target_of(experiment, root=None)
    assert target.is_by_value
    loaded = load_target(ExperimentTarget.from_bytes(target.to_bytes()))
    assert isinstance(loaded, RegisteredExperiment)
    assert loaded(loaded.input_validator_type(x=2.0)).y == 6.0


def test_a_function_that_cannot_be_pickled() -> None:
    lock = threading.Lock()

    def simulate(spec: In) -> Out:
        with lock:
            return Out(y=1.0)

    with pytest.raises(EntrypointError, match=r"cannot be sent to another process(.|\n)*Move the function"):
        target_of(experiment_from_function(simulate), root=None)


def test_modules_that_cannot_be_loaded(tmp_path: Path) -> None:
    target = target_of_text("def f():\n    raise KeyError('gone')\n\n\nf()\n", tmp_path, "failing")
    with pytest.raises(EntrypointError, match=r"cannot be loaded in a worker") as caught:
        load_target(target)
    lines = caught.value.message.splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[2] == f'  File "{tmp_path}/failing.py", line 5, in <module>'
    assert lines[-1] == "KeyError: 'gone'"
    with pytest.raises(EntrypointError, match="SyntaxError"):
        load_target(target_of_text("def f(:\n", tmp_path, "misspelt"))
    with pytest.raises(EntrypointError, match="SystemExit: 3"):
        load_target(target_of_text("import sys\nsys.exit(3)\n", tmp_path, "exiting"))
    with pytest.raises(EntrypointError, match="No module named 'not_there'"):
        load_target(target_of_text("import not_there\n", tmp_path, "importing"))


def test_a_module_that_imports_one_that_starts_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scythe_cli.model.functions.loading._is_worker", True)
    (tmp_path / "starter.py").write_text(
        "from scythe_cli.model.functions.loading import stop_if_in_worker\nstop_if_in_worker()\n"
    )
    target = target_of_text("import starter\n" + MODULE.format(decorator=""), tmp_path, "importer")
    with pytest.raises(EntrypointError, match=r"imports a module that starts a run(.|\n)*__main__"):
        load_target(target)


def test_outside_of_a_worker() -> None:
    assert not in_worker()
    stop_if_in_worker()
    assert issubclass(ImportedInWorker, BaseException)
    assert not issubclass(ImportedInWorker, Exception)
    assert ExperimentRegistry.names() == []
