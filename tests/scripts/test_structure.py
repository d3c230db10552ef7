"""The figures of the structure, and what breaks its limits: on a package that is made up."""

from __future__ import annotations

import importlib
import textwrap
from pathlib import Path

import pytest

from scripts.structure import (
    Limits,
    Module,
    broken,
    circles,
    figures,
    imports_of,
    read_module,
    read_package,
    room_sizes,
    root_modules,
)


def module(path: str, text: str = "") -> Module:
    return read_module(Path(path), textwrap.dedent(text))


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose rooms import each other in a circle, one way under TYPE_CHECKING and one inside a function."""
    files = {
        "__init__.py": '"""Made up."""\n',
        "errors.py": '"""Errors."""\n',
        "utils/__init__.py": '"""A public name."""\n',
        "top/__init__.py": '"""The upper room."""\n',
        "top/a.py": '"""A."""\ndef f():\n    """Do it."""\n    from made_up.low import b\n    return b\n',
        "low/__init__.py": '"""The lower room."""\n\nfrom __future__ import annotations\n',
        "low/b.py": '"""B."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from made_up.top import a\n',
        "low/c.py": '"""C."""\nfrom made_up.low import b\nfrom made_up import errors\n',
    }
    for name, text in files.items():
        (tmp_path / "made_up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made_up" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path / "made_up"


def test_a_package_with_all_its_imports(made_up: Path) -> None:
    modules, imports = read_package(made_up), imports_of("made_up")

    assert imports["made_up.top.a"] == {"made_up.low.b"}
    assert imports["made_up.low.b"] == {"made_up.top.a"}
    assert circles(imports) == [["made_up.low.b", "made_up.top.a"]]
    assert room_sizes(modules) == {"low": 2, "top": 1}
    assert root_modules(modules) == ["__init__.py", "errors.py", "utils"]
    assert broken(modules, imports, Limits()) == ["a circle of 2 modules: made_up.low.b, made_up.top.a"]
    assert broken(modules, {}, Limits(root_modules=2, room_modules=1)) == [
        "3 modules at the root, at most 2: __init__.py, errors.py, utils",
        "low/: 2 modules, at most 1",
    ]
    shown = figures(modules, imports, Limits())
    assert "circles of imports         1\n" in shown
    assert "longest module             5 lines (at most 400): top/a.py" in shown
    assert "longest function           4 lines (at most 60): top/a.py: f" in shown


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ({"a": ["b"], "b": ["c"], "c": []}, []),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, []),
        ({"a": ["a"]}, [["a"]]),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, [["a", "b", "c"]]),
        ({"a": ["b"], "b": ["a", "c"], "c": ["d"], "d": ["c"]}, [["a", "b"], ["c", "d"]]),
        # two circles that share a module are one group
        ({"a": ["b", "c"], "b": ["a"], "c": ["a"]}, [["a", "b", "c"]]),
        ({"a": ["b"], "b": ["c", "d"], "c": ["b"], "d": ["a"]}, [["a", "b", "c", "d"]]),
    ],
)
def test_circles(imports: dict[str, list[str]], expected: list[list[str]]) -> None:
    assert circles(imports) == expected


def test_a_function_counts_from_its_def_to_its_last_line() -> None:
    text = '''\
        class Run:
            @property
            @cached
            def status(
                self,
            ) -> int:
                """Tell."""
                def inner():
                    return 1

                return inner()


        async def wait(): ...
    '''
    read = module("run/a.py", text)

    assert [(f.name, f.line, f.n_lines) for f in read.functions] == [
        ("Run.status", 4, 8),
        ("Run.status.inner", 8, 2),
        ("wait", 14, 1),
    ]
    assert broken([read], {}, Limits(function_lines=7)) == ["run/a.py:4: Run.status has 8 lines, at most 7"]
    assert broken([read], {}, Limits(function_lines=8)) == []
    assert broken([read], {}, Limits(module_lines=13)) == ["run/a.py: 14 lines, at most 13"]


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ('if engine.name == "local": ...', 1),
        ('if "hatchet" != name: ...', 1),
        ('if name in ("local", "other"): ...', 1),
        ('if name not in {"x", "hatchet"}: ...', 1),
        ('if "local" in names: ...', 1),
        ('x = [e for e in engines if e == "local"]', 1),
        ('match name:\n    case "hatchet" | "other": ...\n    case "local": ...', 2),
        ('engine = "local"', 0),
        ('names = ("local", "hatchet")', 0),
        ('if path == "local.txt" or name == other: ...', 0),
        ('"""name == "local" is what `engines` compares."""', 0),
    ],
)
def test_comparisons_with_the_name_of_an_engine(text: str, n: int) -> None:
    assert len(module("services/a.py", text).engine_comparisons) == n
    assert len(broken([module("services/a.py", text)], {}, Limits())) == n
    assert broken([module("engines/hatchet/a.py", text)], {}, Limits()) == []


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("run/__init__.py", '"""What lives here."""', []),
        ("run/__init__.py", '"""What lives here."""\nfrom __future__ import annotations', []),
        ("run/__init__.py", '"""TODO room."""', ["no docstring"]),
        ("run/final/__init__.py", "", ["no docstring"]),
        ("run/__init__.py", '"""What lives here."""\nfrom run.a import b', ["holds more"]),
        ("run/__init__.py", "x = 1", ["no docstring", "holds more"]),
        ("cli/__init__.py", '"""What lives here."""\nfrom cli.app import main', []),
        ("__init__.py", "x = 1", []),
        ("utils/__init__.py", "x = 1", []),
        ("run/a.py", "x = 1", []),
    ],
)
def test_a_room_says_what_lives_there_and_holds_nothing_else(path: str, text: str, expected: list[str]) -> None:
    lines = broken([module(path, text)], {}, Limits())

    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True))
