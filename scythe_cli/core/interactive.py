"""What a notebook or a prompt shows of a list, and offers after a dot; it loads nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

__all__ = ["RecordList", "offered"]

_T = TypeVar("_T")


def offered(thing: object, names: Iterable[str], hidden: Iterable[str] = ()) -> list[str]:
    """What the Tab key offers after a dot: the public names but those for the program itself, and the usual others."""
    public = {name for name in names if not name.startswith("_")} - {*hidden}
    return sorted(public | {name for name in object.__dir__(thing) if name.startswith("_")})


class RecordList(list[_T]):
    """A list of records, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        from scythe_cli.core.html import list_html

        return list_html(self)
