"""Elements of HTML; text is escaped unless it is an element already."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from scythe_cli.core.text import visible

__all__ = ["Html", "join", "rows", "tag"]


_EMPTY = {"br", "hr"}
"""Elements that have no end tag."""


class Html(str):
    """HTML; all other text is escaped before it becomes a part of it."""

    __slots__ = ()


def _text(value: object) -> str:
    if isinstance(value, Html):
        return value
    return escape(visible(str(value)))


def join(*children: object) -> Html:
    """Several pieces one after the other; None is nothing."""
    return Html("".join(_text(child) for child in children if child is not None))


def tag(name: str, *children: object, **attributes: str | int | None) -> Html:
    """An element.

    Args:
        name: Its name.
        children: Text, which is escaped, and elements; None is nothing.
        attributes: Its attributes; `class_` is `class`, and None leaves one out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def rows(header: Iterable[object], body: Iterable[Iterable[object]], numeric: Iterable[int] = ()) -> Html:
    """A table.

    Args:
        header: The names of its columns.
        body: Its rows; a cell that is a `th` or `td` already is taken as it is.
        numeric: The positions of columns that hold numbers.
    """
    right = set(numeric)

    def cell(name: str, value: object, position: int) -> Html:
        if isinstance(value, Html) and value.startswith(("<td", "<th")):
            return value
        return tag(name, "" if value is None else value, class_="number" if position in right else None)

    head = tag("tr", *(cell("th", name, i) for i, name in enumerate(header)))
    lines = [tag("tr", *(cell("td", value, i) for i, value in enumerate(row))) for row in body]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *lines)), class_="scroll")
