"""Check that every link between the project's documents leads somewhere: files, and headings in them.

The same for the tests that docs/guarantees.md names, each by its file or by how its name begins.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
TEST_FILE = re.compile(r"`([\w/]+/test_\w+\.py)`")
TEST_NAME = re.compile(r"`(test_\w+)…?`")
HEADING = re.compile(r"^#+\s+(.+?)\s*$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in HEADING.findall(FENCE.sub("", text))]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def problems(document: Path) -> list[str]:
    """The links of a document that lead nowhere."""
    broken: list[str] = []
    for link in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        where = document.relative_to(ROOT)
        if not target.exists():
            broken.append(f"{where}: {link}: there is no {name}")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
            broken.append(f"{where}: {link}: {target.name} has no heading #{anchor}")
    return broken


def missing_tests(document: Path, tests: Path) -> list[str]:
    """The tests that a document names and that are not there, by their files or by how their names begin."""
    text = document.read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py"))
    broken = [f"there is no tests/{name}" for name in TEST_FILE.findall(text) if not (tests / name).is_file()]
    broken += [f"no test begins with {name}" for name in TEST_NAME.findall(text) if f"def {name}" not in code]
    return [f"{document.name}: {problem}" for problem in broken]


def main() -> int:
    """Check all documents."""
    documents = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
    broken = [problem for document in documents for problem in problems(document)]
    broken += missing_tests(ROOT / "docs" / "guarantees.md", ROOT / "tests")
    for problem in broken:
        print(f"error: {problem}", file=sys.stderr)
    if not broken:
        print(f"{len(documents)} documents, all links lead somewhere")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
