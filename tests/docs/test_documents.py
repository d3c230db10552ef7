"""What stands in a fenced block of a document is true: it is run, parsed or applied, in order, page by page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .blocks import read_blocks
from .expected import difference
from .reader import PAGES, ROOT, Reader
from .setups import SETUPS, empty, forget_modules, make

NIGHTLY = {"results.md"}
"""Pages with so many commands that they are run at night."""


def _pages() -> list[object]:
    return [
        pytest.param(page, id=page.name, marks=[pytest.mark.nightly] if page.name in NIGHTLY else [])
        for page in PAGES
        if any(block.skip is None for block in read_blocks(page))
    ]


@pytest.mark.parametrize("page", _pages())
# the SDK uses what its own dependencies have deprecated
@pytest.mark.filterwarnings("default", "ignore::DeprecationWarning:hatchet_sdk.*")
def test_what_a_page_shows_is_true(
    page: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    # the command of this environment, whatever else is installed
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    # one process of the executor is enough to see what is shown
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    make(SETUPS.get(page.name, empty), folder, page, tmp_path_factory)
    module = ModuleType("page")  # where the annotations of the page's classes are looked up
    monkeypatch.setitem(sys.modules, "page", module)
    reader = Reader(page, module.__dict__)
    for block in read_blocks(page):
        if block.skip is None:
            try:
                reader.read(block)
            except Exception as error:
                error.add_note(f"in the block of {page.relative_to(ROOT)}, line {block.line}")
                raise
            finally:
                forget_modules()


def test_differences_are_found() -> None:
    shown = "tank v1.0.0: 200 specs in 8.0 s\n184 succeeded\n\nrun  tank/v1.0.0/2026-01-31_12-00-00\nsize  12.5 kB\n"

    same = ["tank v1.0.0: 200 specs in 310 ms", "184 succeeded", "run  tank/v1.0.0/2027-02-03_01-02-03", "size  1 MB"]
    assert difference(same, shown, strict=True) is None
    assert difference([same[0], "…", same[3]], shown, strict=True) is None
    assert difference(["…", "run tank/…"], shown, strict=False) is not None
    assert difference(["…", "run tank/…", "size 1 MB"], shown, strict=False) is None
    wrong = [same[0], "185 succeeded", *same[2:]]
    assert "expected: 185 succeeded" in str(difference(wrong, shown, strict=True))
    assert "nothing more" in str(difference([*same, "more"], shown, strict=True))
    assert "not expected: size" in str(difference(same[:3], shown, strict=True))
    assert difference(["run tank/v1.0.0/2027-02-03_01-02-03"], shown.splitlines()[3], strict=True) is not None


def test_blocks_say_where_and_what_they_are(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        'one\n```python title="a.py"\nx = 1\n```\n<!-- skip: needs a fleet -->\n\n```console\n$ a\nout\n$ b\n```\n'
        "<!-- example output -->\n```console\n$ c\n```\n"
    )
    first, second, third = read_blocks(page)
    assert (first.line, first.language, first.title, first.text) == (2, "python", "a.py", "x = 1\n")
    assert second.skip == "needs a fleet"
    assert second.commands == [("a", ["out"]), ("b", [])]
    assert (first.compared, third.compared) == (True, False)

    page.write_text("<!-- skip -->\n```python\n```\n")
    with pytest.raises(ValueError, match="without a reason"):
        read_blocks(page)
