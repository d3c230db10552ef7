"""One name: what is installed, what hints say, and what documents say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from scythe_cli.core.distribution import DISTRIBUTION, FOREIGN

ROOT = Path(__file__).parent.parent.parent
INSTALLED = re.compile(
    r"(?:pip|uv tool) install (?:--[\w-]+ )*['\"]?([\w.-]+?)(?:\[([\w,-]+)\])?['\"]?(?:[\s`.]|$)", re.MULTILINE
)
TEXTS = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "scythe_cli").rglob("*.py")]


def test_what_is_cited_is_what_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert set(cited["keywords"]) == set(project["keywords"])


def test_documents_and_hints_install_what_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION != FOREIGN
    extras = set(project["optional-dependencies"])
    seen = 0
    for path in TEXTS:
        text = path.read_text(encoding="utf-8").replace("{DISTRIBUTION}", DISTRIBUTION)
        for found in INSTALLED.finditer(text):
            seen += 1
            assert found[1] in (DISTRIBUTION, "."), f"{path}: {found[0]}"
            assert set((found[2] or "").split(",")) - {""} <= extras, f"{path}: {found[0]}"
    assert seen > 5
