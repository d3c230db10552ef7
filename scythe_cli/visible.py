"""Text of a run, made fit to be drawn or put on a page: what would not be seen is shown."""

from __future__ import annotations

import re

__all__ = ["visible"]

# controls, which end the process of the library that draws; and what changes the direction of the text that follows,
# by which text can look like another
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """The text with control characters, and halves of characters, as escapes; tabs and new lines stay."""
    shown = _INVISIBLE.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
    return shown.encode("utf-8", "backslashreplace").decode()
