"""Text for terminals and files that take no UTF-8: signs of ours as ASCII, everything else as an escape.

Text is encoded as ASCII there, with an error handler that knows another way to write what ASCII does not have. What
users have written stays as it is where output is piped: it may be the path of a file.
"""

from __future__ import annotations

import codecs
import os
import sys
from typing import Any, TextIO

__all__ = ["GROWTH", "PLAIN", "as_shown", "prepare_streams", "wants_plain", "written"]


PLAIN = {
    "✓": "+",
    "✗": "x",
    "▶": ">",
    "■": "=",
    "·": "|",
    "…": "...",
    "→": "->",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "±": "+-",
    "²": "2",
    "η": "eta",
    "–": "-",
    "—": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "⏎": "\\n",
    "│": "|",
    "┃": "|",
    "┤": "+",
    "├": "+",
    "└": "+",
    "┌": "+",
    "┐": "+",
    "┘": "+",
    "─": "-",
    "━": "-",
    "╸": "-",
    "╺": "-",
    "█": "#",
    "▉": "#",
    "▊": "#",
    "▋": "#",
    "▌": "=",
    "▍": "=",
    "▎": "-",
    "▏": "-",
    "░": ".",
    "▒": ":",
    "▓": "%",
}
"""What stands for the signs that the command line uses, where there is only ASCII; of bars and frames, as wide."""

GROWTH = 4
"""Columns that are left free in a table, for signs that take more of them as ASCII."""

_DENSITY = ".:+*#"


def _plain(text: str) -> str | None:
    """A sign as ASCII; None for what is no sign of ours."""
    if "\u2800" <= text <= "\u28ff":  # braille: by how many of its eight dots are set
        dots = (ord(text) - 0x2800).bit_count()
        return " " if not dots else _DENSITY[min((dots - 1) // 2, len(_DENSITY) - 1)]
    return PLAIN.get(text)


def _handler(*, keeps: bool) -> Any:
    def handle(error: UnicodeError) -> tuple[str | bytes, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        character = error.object[error.start]
        plain = _plain(character)
        if plain is not None:
            return plain, error.start + 1
        if keeps and error.encoding == "ascii":
            return character.encode("utf-8", "surrogateescape"), error.start + 1
        return character.encode("ascii", "backslashreplace").decode(), error.start + 1

    return handle


codecs.register_error("scythe-terminal", _handler(keeps=False))
codecs.register_error("scythe-file", _handler(keeps=True))


def as_shown(text: str, width: int | None = None) -> str:
    """The text as stdout can take it; where a sign grows and a line no longer fits in `width`, the sign is cut."""
    encoding = sys.stdout.encoding or "utf-8"
    if encoding.lower().startswith("utf"):
        return text
    lines: list[str] = []
    for line in text.split("\n"):
        shown = written(line, sys.stdout)
        if width is not None and len(shown) > width:
            shown = written(line.replace("…", "~").replace("→", ">"), sys.stdout)
        lines.append(shown)
    return "\n".join(lines)


def written(text: str, stream: TextIO) -> str:
    """The text as a stream will show it, which may be longer."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, stream.errors or "scythe-terminal").decode(encoding, "surrogateescape")


def wants_plain() -> bool:
    """Whether the user has said that there is only ASCII: by the locale C or POSIX, which Python takes for UTF-8."""
    if os.environ.get("PYTHONUTF8") == "1" or os.environ.get("PYTHONIOENCODING"):
        return False
    named = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "")
    return named in ("C", "POSIX")


def prepare_streams() -> None:
    """Let stdout and stderr take any text."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:
            continue
        errors = "scythe-terminal" if stream.isatty() else "scythe-file"
        if wants_plain():
            reconfigure(encoding="ascii", errors=errors)
        else:
            reconfigure(errors="scythe-terminal")
