from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import make_migrating


def test_the_page_tells_what_became_of_every_name() -> None:
    assert make_migrating.PAGE.read_text() == make_migrating.page(), "run `python -m scripts.make_migrating`"
    names = json.loads(make_migrating.NAMES.read_text())
    assert sum(map(len, names.values())) > 150
    known = {f"{module}.{name}" for module, each in names.items() for name in each}
    assert {*make_migrating.INSTEAD, *make_migrating.CHANGED} <= known
    for full in make_migrating.INSTEAD:
        module = max((m for m in names if full.startswith(f"{m}.")), key=len)
        assert not make_migrating.there(module, full.removeprefix(f"{module}.")), f"{full} is there"


def test_a_name_of_which_nothing_is_said_is_told() -> None:
    with pytest.raises(SystemExit, match=r"base\.NoSuchName"):
        make_migrating.table({"base": ["NoSuchName"]})


def test_names_are_read_from_the_text_of_modules(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "X = 1\n_y = 2\ndef f(): ...\nclass C:\n    z: int\n    _w = 1\n    def m(self): ...\n"
        "    @field_validator('z')\n    def check(cls, v): ...\n"
    )
    assert make_migrating.names_in(tmp_path) == {"a": ["X", "f", "C", "C.z", "C.m"]}
