"""The modules of an example, imported afresh, and what a sampling file of one is held to."""

from __future__ import annotations

import csv
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent


def import_example(monkeypatch: pytest.MonkeyPatch, module: str) -> ModuleType:
    """Import `examples.<module>`; what was loaded of the examples before is forgotten."""
    monkeypatch.syspath_prepend(str(ROOT))
    for name in [name for name in sys.modules if name.split(".")[0] == "examples"]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module(f"examples.{module}")


def stored_cases(example: str) -> list[dict[str, str]]:
    """The rows of the sampling file in the repository."""
    with (ROOT / "examples" / example / "cases.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def as_written(cases: list[dict[str, object]]) -> list[dict[str, str]]:
    """Cases as a CSV file gives them back."""
    return [{name: str(value) for name, value in case.items()} for case in cases]


def write_cases(path: Path, cases: list[dict[str, str]]) -> Path:
    """Write a sampling file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(cases[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cases)
    return path
