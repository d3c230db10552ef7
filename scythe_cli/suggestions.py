"""What to say about a name that does not exist: the nearest one that does, or all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["hint_for"]

_LISTED = 12


def hint_for(name: str, names: Iterable[str]) -> str | None:
    """`Did you mean 'tilt'?` when a name is near, else a list of what there is; None when there is nothing."""
    known = list(dict.fromkeys(names))
    folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    if close:
        return f"Did you mean {folded[close[0]]!r}?"
    if not known:
        return None
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"There are: {', '.join(known[:_LISTED])}{more}."
