"""Which modules a command goes through: counted on modules that are made up."""

from __future__ import annotations

import sys
from types import ModuleType

from scripts.call_path import Calls


def made_up(name: str, text: str, **names: object) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(names)
    exec(text, module.__dict__)
    return module


def test_modules_entered_and_pairs_crossed() -> None:
    low = made_up("made_up.low", "def add(a):\n    return one() + a\ndef one():\n    return 1")
    other = made_up("elsewhere", "def through(call):\n    return call(1)", low=low)
    top = made_up(
        "made_up.top",
        "def direct():\n    return low.add(1)\ndef indirect():\n    return other.through(low.add)",
        low=low,
        other=other,
    )
    made_up("made_up.idle", "def never():\n    ...")
    calls = Calls("made_up")

    before = sys.getprofile()
    sys.setprofile(calls)
    try:
        top.indirect()
        alone = set(calls.crossed)
        top.direct()
        exec("x = 1", {"__name__": "made_up.imported"})  # a module that is imported is not entered
    finally:
        sys.setprofile(before)

    assert alone == set()  # another package lies between them
    assert calls.entered == {"made_up.low", "made_up.top"}
    assert calls.crossed == {("made_up.top", "made_up.low")}
