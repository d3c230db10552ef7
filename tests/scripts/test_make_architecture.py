"""What the architecture page takes from the code: on a package that is made up."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts import make_architecture
from scripts.make_architecture import Step, Way, draw, layer_line, modules, public_names, read_layers, read_ways, rooms

LAYERS = [["testing", "base", "utils"], ["top"], ["east", "west"], ["errors"]]


@pytest.fixture(autouse=True)
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "pyproject.toml": '[[tool.importlinter.contracts]]\ntype = "layers"\n'
        'layers = ["testing", "base : utils", "top", "east | west", "(errors)"]\n',
        "package/__init__.py": '"""The package."""',
        "package/base.py": '"""Models."""',
        "package/errors.py": '"""Errors."""',
        "package/utils/__init__.py": '"""Helpers."""',
        "package/testing/__init__.py": '"""Tests for others."""',
        "package/top/__init__.py": '"""The upper room.\n\nWhat is in it,\nand what it may touch.\n"""',
        "package/top/__main__.py": "",
        "package/top/a.py": '"""A | B of `<x|y>` and <z>,\nin two lines.\n\nMore of it.\n"""',
        "package/top/inner/__init__.py": '"""The inner room."""',
        "package/top/inner/b.py": '"""Bee."""',
        "package/east/__init__.py": '"""One side."""',
        "package/west/__init__.py": '"""The other."""',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(make_architecture, "ROOT", tmp_path)
    monkeypatch.setattr(make_architecture, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(make_architecture, "WAYS", tmp_path / "ways.toml")
    return tmp_path


def test_layers_are_those_of_the_contract() -> None:
    assert read_layers() == LAYERS
    assert layer_line(LAYERS) == "public names → `top` → `east`, `west` → `errors`"


def test_rooms_and_modules_say_what_their_docstrings_say() -> None:
    assert rooms(LAYERS).splitlines()[2:] == [
        "| [`top/`](#top) | The upper room. What is in it, and what it may touch. |",
        "| [`east/`](#east) | One side. |",
        "| [`west/`](#west) | The other. |",
        "| `errors` | Errors. |",
    ]
    assert public_names(LAYERS).splitlines()[2:] == [
        "| `scythe_cli` | The package. |",
        "| `scythe_cli.base` | Models. |",
        "| `scythe_cli.testing` | Tests for others. |",
        "| `scythe_cli.utils` | Helpers. |",
    ]
    assert modules(LAYERS).splitlines() == [
        "### top",
        "",
        "| module | what |",
        "| --- | --- |",
        "| `a` | A \\| B of `<x\\|y>` and &lt;z>, in two lines. |",
        "",
        "**`top/inner/`** The inner room.",
        "",
        "| module | what |",
        "| --- | --- |",
        "| `b` | Bee. |",
        "",
        "### east",
        "",
        "### west",
    ]


def test_a_way_goes_through_modules_that_exist(made_up: Path) -> None:
    step = '[[there.steps]]\nmodule = "{}"\ndoes = "looks"\npasses = "it"\n'
    (made_up / "ways.toml").write_text('[there]\ntitle = "There"\n' + step.format("top/a") + step.format("top/inner"))
    assert read_ways() == {
        "there": Way("There", [Step("top", "top/a", "looks", "it"), Step("top", "top/inner", "looks", "it")])
    }

    (made_up / "ways.toml").write_text('[there]\ntitle = "There"\n' + step.format("top/gone"))
    with pytest.raises(ValueError, match="there goes through top/gone, which does not exist"):
        read_ways()

    (made_up / "ways.toml").write_text('[there]\ntitle = "There"\n' + step.format("top/a") * 11)
    with pytest.raises(ValueError, match="11 steps, at most 10"):
        read_ways()


def test_a_picture_has_a_lane_for_each_room_in_the_order_of_the_layers() -> None:
    way = Way(
        "There and back",
        [
            Step("west", "west/b", "takes <it> & goes", "a table"),
            Step("server", None, "waits", "the same"),
            Step("top", "top/a", "ends", "text"),
        ],
    )
    picture = draw(way, LAYERS)
    texts = ["".join(node.itertext()) for node in ElementTree.fromstring(picture).iter() if node.tag.endswith("}text")]

    assert texts[:3] == ["top", "west", "server"]
    assert "1  takes <it> & goes" in texts
    assert "top/a  → text" in texts
    assert "→ the same" in texts
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")  # nothing is loaded from elsewhere
