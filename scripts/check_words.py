"""Check that phrases which were weeded out of the project's texts stay out.

`scripts/words.toml` lists them, each with what to write instead. Looked at are the strings in the package that are
texts, command summaries included, and the project's documents without code; not descriptions of fields in JSON
documents, which speak of the API's names.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
# what speaks of the API's names: descriptions of payloads and settings, the names of scythe-engine, shipped tests
NOT_READ = re.compile(r"(^|/)(payloads|settings|schema|recursion|worker)\.py$|^(testing|compat)/")
DESCRIBES = {"description", "doc", "__doc__"}
FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`|\]\([^)]*\)|<!--.*?-->", re.DOTALL)


class Phrase(NamedTuple):
    """A phrase that is not written."""

    pattern: re.Pattern[str]
    instead: str
    places: frozenset[str]


def phrases(path: Path = ROOT / "scripts" / "words.toml") -> list[Phrase]:
    """The list of phrases."""
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["phrase"]
    return [
        Phrase(re.compile(item["pattern"]), item["instead"], frozenset(item.get("in", ("messages", "documents"))))
        for item in listed
    ]


def messages(source: str, *, is_command: bool = False) -> Iterator[tuple[int, str]]:
    """The texts in a module, each with its line: strings of two words or more.

    Args:
        source: The module.
        is_command: Whether docstrings of functions are texts too, as those of commands are.
    """
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            is_help = is_command and isinstance(node, ast.FunctionDef) and bool(node.decorator_list)
            if ast.get_docstring(node) is not None and not is_help:
                skipped.add(id(node.body[0]))
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        is_attribute_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and not is_command
        is_description = isinstance(node, ast.keyword) and node.arg in DESCRIBES
        if id(node) in skipped or is_attribute_doc or is_description:
            continue
        if (text := _text(node)) is not None:
            if " " in text.strip() and "<script" not in text:
                yield node.lineno, CODE.sub("`code`", text)  # pyright: ignore[reportAttributeAccessIssue]
            continue
        pending += ast.iter_child_nodes(node)


def _text(node: ast.AST) -> str | None:
    """What a string or f-string says, with `{}` for what is put in; None for other nodes."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)  # type: ignore[misc]
        case _:
            return None


def prose(document: str) -> Iterator[tuple[int, str]]:
    """The paragraphs of a document, each with its first line; without code and the targets of links."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match.group().count("\n") or "`code`"

    text = CODE.sub(blank, FENCE.sub(blank, document))
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", text):
        if paragraph.strip():
            yield line, paragraph.strip().replace("\n", " ")
        line += paragraph.count("\n")


def problems(listed: list[Phrase]) -> Iterator[str]:
    """What is wrong, a line each."""
    package = ROOT / "scythe_cli"
    texts: list[tuple[str, str, Iterator[tuple[int, str]]]] = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not NOT_READ.search(name):
            found = messages(path.read_text(encoding="utf-8"), is_command=name.startswith("cli/"))
            texts.append((f"scythe_cli/{name}", "messages", found))
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        texts.append((path.relative_to(ROOT).as_posix(), "documents", prose(path.read_text(encoding="utf-8"))))
    for name, place, found in texts:
        for line, text in found:
            for phrase in listed:
                if place in phrase.places and (match := phrase.pattern.search(text)):
                    yield f"{name}:{line}: {match.group()!r}: write {phrase.instead}"


def main() -> int:
    """Print the problems; 1 if there are any."""
    found = list(problems(phrases()))
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
