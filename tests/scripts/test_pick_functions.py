"""Functions of a package that is made up."""

from __future__ import annotations

from pathlib import Path

from scripts.pick_functions import Picked, functions


def test_functions_and_methods_with_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text(
        'class Run:\n    def __init__(self): ...\n    def status(self):\n        """Count.\n\n        More."""\n'
        "        def inner(): ...\n\nif True:\n    async def wait(): ...\n"
    )
    (tmp_path / "b.py").write_text('def first():\n    """Do it."""\n')

    assert functions(tmp_path) == [
        Picked("b.py", 1, "first", "Do it."),
        Picked("room/a.py", 3, "Run.status", "Count."),
        Picked("room/a.py", 10, "wait", ""),
    ]
