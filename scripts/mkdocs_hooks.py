"""Hooks of `mkdocs build`: the reference is written from the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from reference import PARTS

_MARK = re.compile(r"<!-- reference: (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts where a page asks for them; one that does not exist is a KeyError."""
    return _MARK.sub(lambda match: PARTS[match[1]](), markdown)
