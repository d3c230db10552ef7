"""The fenced blocks of a document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)(?: title=\"(?P<title>[^\"]+)\")? *$")
_MARK = re.compile(r"^<!-- (?P<name>skip|example output)(?:: (?P<reason>.+))? -->$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: The line of its fence, from 1.
        language: What the fence says.
        title: The file that the block is; None for what is no file.
        text: What is inside.
        skip: Why it is not run; None for all that are.
        compared: Whether the output of its commands is compared.
    """

    line: int
    language: str
    title: str | None
    text: str
    skip: str | None
    compared: bool

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """The command lines of a console block, each with the lines of output that follow it."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line)
            elif line.strip():
                raise ValueError(f"line {self.line}: output before the first command")
        return found


def read_blocks(path: Path) -> list[Block]:
    """All fenced blocks of a Markdown file, in order.

    A comment right before a block changes what is done with it: `<!-- skip: why -->` leaves it out, and
    `<!-- example output -->` runs its commands without comparing what they print.
    """
    blocks: list[Block] = []
    mark: re.Match[str] | None = None
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        opened = _FENCE.match(line)
        if opened is None:
            if line.strip():
                mark = _MARK.match(line)
            continue
        indent = len(opened["indent"])
        inside: list[str] = []
        for _, content in lines:
            if content.strip() == "```":
                break
            inside.append(content[indent:])
        else:
            raise ValueError(f"{path.name}, line {number}: the block is never closed")
        skip = (mark["reason"] or "") if mark and mark["name"] == "skip" else None
        if skip == "":
            raise ValueError(f"{path.name}, line {number}: a block is skipped without a reason")
        text = "\n".join(inside) + "\n"
        blocks.append(Block(number, opened["language"], opened["title"], text, skip, mark is None or skip is not None))
        mark = None
    return blocks
