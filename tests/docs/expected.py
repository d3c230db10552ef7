"""Compare what a command printed with what a document says that it prints."""

from __future__ import annotations

import re

# what no two runs have in common, as it is in documents, and what may stand there
_VARIES = [
    (r"\d{4}-\d\d-\d\d[_ T]\d\d[-:]\d\d[-:]\d\d(?: UTC)?", r"\d{4}-\d\d-\d\d[_ T]\d\d[-:]\d\d[-:]\d\d(?: UTC)?"),
    (r"\d[\d.,]* [kMG]?B\b", r"\d[\d.,]* [kMG]?B"),
    (
        r"(?<![\w.])\d[\d.]*(?:(?: (?:s|ms|min|h))|(?:m \d\ds|h \d\dm))\b(?! a spec)",
        r"\d[\d.]* ?(?:s|ms|min|h|m \d\ds|h \d\dm)",
    ),
    (r"\d+ process(?:es)?", r"\d+ process(?:es)?"),
    (r"…", r".*"),
]
_SPLIT = re.compile("|".join(f"({pattern})" for pattern, _ in _VARIES) + r"|(\s+)")


def difference(expected: list[str], shown: str, *, strict: bool) -> str | None:
    """The first line that is not what is expected; None if all are.

    Times, sizes and durations may be others. A line with nothing but an ellipsis stands for any number of lines, and
    an ellipsis in a line for any text. Unless `strict`, runs of blanks count as one: what is no terminal has its tables
    as wide as they are.
    """
    expected = [line for line in expected if line.strip()]
    found = [line for line in shown.splitlines() if line.strip()]
    at = 0
    anywhere = False
    for line in expected:
        if line.strip() == "…":
            anywhere = True
            continue
        pattern = _pattern(line, strict=strict)
        places = range(at, len(found) if anywhere else min(at + 1, len(found)))
        place = next((i for i in places if pattern.fullmatch(found[i].rstrip())), None)
        if place is None:
            got = found[at] if at < len(found) else "nothing more"
            return f"expected: {line}\nshown:    {got}\n\n{shown}"
        at, anywhere = place + 1, False
    if at < len(found) and not anywhere:
        return f"not expected: {found[at]}\n\n{shown}"
    return None


def _pattern(line: str, *, strict: bool) -> re.Pattern[str]:
    parts: list[str] = []
    at = 0
    line = line.rstrip() if strict else " ".join(line.split())
    for match in _SPLIT.finditer(line):
        parts.append(re.escape(line[at : match.start()]))
        number = next(i for i, group in enumerate(match.groups()) if group is not None)
        if number < len(_VARIES):
            parts.append(_VARIES[number][1])
        else:
            parts.append(re.escape(match[0]) if strict else r"\s+")
        at = match.end()
    parts.append(re.escape(line[at:]))
    return re.compile(("" if strict else r"\s*") + "".join(parts))
