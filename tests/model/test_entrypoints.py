from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.errors import EntrypointError, RegistrationError
from scythe_cli.executor.code import code_of
from scythe_cli.model.functions.entrypoints import entrypoint_of, load_entrypoint
from scythe_cli.model.functions.reference import target_of
from scythe_cli.registry import ExperimentRegistry, RegisteredExperiment

HEAD = """\
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry
class In(ExperimentInputSpec):
    a: float
class Out(ExperimentOutputSpec):
    b: float
"""
GOOD = f"""{HEAD}
@ExperimentRegistry.Register(retries=3)
def simulate(input_spec: In) -> Out:
    return Out(b=input_spec.a)
def plain(input_spec: In) -> Out:
    return Out(b=input_spec.a)
class Group:
    @staticmethod
    def run(input_spec: In) -> Out: ...
number = 3
def _hidden(): ...
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "ö pro ject"
    folder.mkdir()
    return folder


def write(root: Path, module: str, text: str | bytes) -> str:
    path = root.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return module


def fails(entrypoint: str, root: Path, message: str) -> EntrypointError:
    with pytest.raises(EntrypointError, match=f"^{message}") as caught:
        load_entrypoint(entrypoint, root)
    assert caught.value.exit_code == 3
    return caught.value


def test_a_registered_function(root: Path) -> None:
    write(root, "zz_experiments.building", GOOD)
    found = load_entrypoint("zz_experiments.building:simulate", root)
    assert isinstance(found, RegisteredExperiment)
    assert found.options.retries == 3
    assert found(found.input_validator_type(a=2)).b == 2
    assert ExperimentRegistry.experiments() == [found]
    assert load_entrypoint("zz_experiments.building:simulate", root) is found


def test_a_plain_function_is_wrapped(root: Path) -> None:
    write(root, "zz_plain", GOOD)
    found = load_entrypoint("zz_plain:plain", root)
    assert isinstance(found, RegisteredExperiment)
    assert found.name == "scythe_experiment_plain"
    assert "scythe_experiment_plain" not in ExperimentRegistry.names()
    assert isinstance(load_entrypoint("zz_plain:Group.run", root), RegisteredExperiment)


def test_a_package_and_its_relative_imports(root: Path) -> None:
    write(root, "zz_pkg.__init__", "from .models import *\nfrom .models import simulate\n")
    write(root, "zz_pkg.models", GOOD)
    assert isinstance(load_entrypoint("zz_pkg:simulate", root), RegisteredExperiment)
    assert isinstance(load_entrypoint("zz_pkg.models:simulate", root), RegisteredExperiment)


def test_a_workflow(root: Path) -> None:
    write(root, "zz_flow", HEAD + "class W:\n    name = 'flow'\n    input_validator_type = In\nflow = W()\n")
    assert load_entrypoint("zz_flow:flow", root).name == "flow"


def test_the_folder_may_be_relative(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "zz_relative", GOOD)
    monkeypatch.chdir(root)
    assert isinstance(load_entrypoint("zz_relative:simulate", Path()), RegisteredExperiment)


@pytest.mark.parametrize("entrypoint", ["", "zz", ":f", "zz:", ":"])
def test_what_is_no_entrypoint(entrypoint: str, root: Path) -> None:
    assert fails(entrypoint, root, f"'{entrypoint}' is not an entrypoint").hint == "Write it as 'module:function'."


def test_no_such_module(root: Path) -> None:
    error = fails(
        "zz_missing.building:simulate", root, f"there is no module 'zz_missing.building' in {re.escape(str(root))}"
    )
    assert error.hint == "Looked for zz_missing/building.py, here and in src; the entrypoint is 'module:function'."
    write(root, "zz_half.other", GOOD)
    fails("zz_half.building:simulate", root, r"there is no module 'zz_half\.building'")
    write(root, "zz_file", GOOD)
    fails("zz_file.building:simulate", root, r"there is no module 'zz_file\.building'")


def test_a_module_that_lies_deeper_is_named(root: Path) -> None:
    write(root, "zz_models.zz_deep", GOOD)
    error = fails("zz_deep:simulate", root, "there is no module 'zz_deep'")
    assert error.hint == "There is zz_models/zz_deep.py: its entrypoint is 'zz_models.zz_deep:function'."


def test_the_folder_src_is_looked_in_too(root: Path) -> None:
    write(root / "src", "zz_package.model", "from zz_package.inner import y\n" + GOOD)
    write(root / "src", "zz_package.inner", "y = 1\n")
    experiment = load_entrypoint("zz_package.model:simulate", root)
    assert isinstance(experiment, RegisteredExperiment)
    assert set(code_of(experiment, root) or ()) == {"src/zz_package/model.py", "src/zz_package/inner.py"}
    assert target_of(experiment, root=root).kind == "module"
    # the project's own folder goes first
    write(root, "zz_both", HEAD + "def simulate(spec: In) -> Out: ...\n")
    write(root / "src", "zz_both", "")
    assert isinstance(load_entrypoint("zz_both:simulate", root), RegisteredExperiment)
    # and one that is elsewhere, and was imported before, does not hide what lies in src
    write(root / "src", "json", "")
    fails("json:simulate", root, r"module 'json' is .*, not src/json\.py of this project")


def test_a_syntax_error(root: Path) -> None:
    write(root, "zz_syntax", "x = 1\ndef f(:\n")
    fails("zz_syntax:f", root, r"module 'zz_syntax' has a syntax error: zz_syntax\.py, line 2: invalid syntax$")


def test_a_syntax_error_in_another_module(root: Path) -> None:
    write(root, "zz_sub.bad", "  x = 1\n")
    write(root, "zz_importing", "import zz_sub.bad\n")
    fails(
        "zz_importing:f", root, r"module 'zz_importing' has a syntax error: zz_sub/bad\.py, line 1: unexpected indent$"
    )


@pytest.mark.parametrize("text", [b"x = '\xff'\n", b"x = 1\x00\n"])
def test_a_file_that_is_no_text(root: Path, text: bytes) -> None:
    write(root, "zz_binary", text)
    error = fails("zz_binary:f", root, "module 'zz_binary' (has a syntax error|cannot be imported): ")
    assert "None" not in error.message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import zz_not_there", "ModuleNotFoundError: No module named 'zz_not_there'"),
        ("from scythe_cli import nothing", "ImportError: cannot import name 'nothing' from 'scythe_cli'"),
        ("raise ValueError('one\\ntwo')", "ValueError: one\ntwo"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("assert False", "AssertionError$"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("exit()", "SystemExit: None"),
        ("import json; json.loads('{')", "JSONDecodeError: Expecting"),
        ("raise ModuleNotFoundError('odd')", "ModuleNotFoundError: odd"),
    ],
)
def test_an_error_of_the_module_comes_with_file_and_line(root: Path, line: str, message: str) -> None:
    write(root, "zz_helper", f"\n\n{line}\n")
    write(root, "zz_raising", "import zz_helper\n")
    fails("zz_raising:f", root, rf"module 'zz_raising' cannot be imported: zz_helper\.py, line 3: {message}")


def test_the_place_is_in_the_users_own_code(root: Path) -> None:
    write(root, ".venv.lib.site-packages.zz_library".replace(".venv", "venv"), "raise RuntimeError('deep')\n")
    write(
        root, "zz_user", "import sys\nsys.path.append(__file__[:-10] + 'venv/lib/site-packages')\nimport zz_library\n"
    )
    fails("zz_user:f", root, r"module 'zz_user' cannot be imported: zz_user\.py, line 3: RuntimeError: deep")


def test_an_interrupt_is_no_error_of_the_module(root: Path) -> None:
    write(root, "zz_interrupt", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_entrypoint("zz_interrupt:f", root)


def test_no_such_function(root: Path) -> None:
    write(root, "zz_names", GOOD)
    error = fails("zz_names:simulat", root, "zz_names:simulat: module 'zz_names' has no 'simulat'")
    assert error.hint == "Did you mean 'simulate'?"
    assert fails("zz_names:zzz", root, "zz_names:zzz: module").hint == "It has: simulate, plain."
    fails("zz_names:Group.walk", root, "zz_names:Group.walk: module 'zz_names' has no 'walk'")
    write(root, "zz_empty", "")
    assert fails("zz_empty:f", root, "zz_empty:f: module").hint == "It has no functions."


@pytest.mark.parametrize(("name", "kind"), [("number", "int"), ("In", "ModelMetaclass"), ("Path", "type")])
def test_what_is_no_function(root: Path, name: str, kind: str) -> None:
    write(root, "zz_kinds", GOOD)
    error = fails(f"zz_kinds:{name}", root, f"zz_kinds:{name} is a {kind}, not a function")
    assert error.hint == "Name a function that is decorated with @ExperimentRegistry.Register()."


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("def f(input_spec) -> Out: ...", "parameter 'input_spec' has no annotation"),
        ("def f(input_spec: In): ...", "the return value has no annotation"),
        ("def f(input_spec: dict) -> Out: ...", "parameter 'input_spec' is annotated with dict"),
        ("def f(input_spec: In, more: int) -> Out: ...", "it has a further parameter 'more'"),
        ("def f(input_spec: In, tempdir: str) -> Out: ...", "the parameter 'tempdir' must be a pathlib.Path"),
        ("async def f(input_spec: In) -> Out: ...", "not async and not a generator"),
        ("def f(input_spec: In) -> Out:\n    yield 1", "not async and not a generator"),
    ],
)
@pytest.mark.parametrize("decorator", ["", "@ExperimentRegistry.Register()\n"])
def test_wrong_functions_name_file_and_line(root: Path, signature: str, message: str, decorator: str) -> None:
    write(root, "zz_wrong", f"{HEAD}{decorator}{signature}\n")
    with pytest.raises(RegistrationError, match=rf"^f \(.*zz_wrong\.py, line 8\): .*{re.escape(message)}"):
        load_entrypoint("zz_wrong:f", root)


def test_a_module_of_another_project_is_not_taken_for_this_one(root: Path, tmp_path: Path) -> None:
    write(root, "zz_twice", GOOD)
    load_entrypoint("zz_twice:simulate", root)
    other = tmp_path / "other"
    write(other, "zz_twice", GOOD.replace("simulate", "calculate"))
    error = fails(
        "zz_twice:calculate",
        other,
        rf"module 'zz_twice' is {re.escape(str(root))}/zz_twice\.py, not zz_twice\.py of this project",
    )
    assert error.hint is not None
    assert "rename yours, or use a new process" in error.hint


@pytest.mark.parametrize("name", ["json", "sys"])
def test_a_module_that_a_library_hides(root: Path, name: str) -> None:
    write(root, name, GOOD)
    fails(f"{name}:simulate", root, rf"module '{name}' is .*, not {name}\.py of this project")


def test_the_project_comes_first_in_the_path_of_modules(root: Path) -> None:
    write(root, "zz_path", GOOD)
    load_entrypoint("zz_path:simulate", root)
    load_entrypoint("zz_path:plain", root)
    assert sys.path[0] == str(root)
    assert sys.path.count(str(root)) == 1


def module_level(spec: Any) -> Any: ...


def test_the_entrypoint_of_a_function() -> None:
    def inner() -> None: ...

    assert entrypoint_of(module_level) == f"{__name__}:module_level"
    assert entrypoint_of(inner) is None
    main = type(inner)(module_level.__code__, {"__name__": "__main__"})
    assert entrypoint_of(main) is None
