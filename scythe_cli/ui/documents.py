"""Answers in JSON."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from scythe_cli.analysis.cases.views import plain_cell
from scythe_cli.core.distribution import needs_extra

with needs_extra("ui", "`scythe ui`"):
    import orjson
    from starlette.responses import Response

__all__ = ["document"]


def document(value: Any, status: int = 200) -> Response:
    """An answer in JSON, in which numbers that are none, such as NaN, are null.

    Args:
        value: Plain values, and arrays of numbers; these are written without a Python object for each number, and with
            no more digits than their type holds.
        status: The status of the response.
    """
    try:
        content = _dumped(value)
    except orjson.JSONEncodeError:  # half of a surrogate pair, or a whole number of more than 64 bits
        content = _dumped(_mended(value))
    return Response(content, status, media_type="application/json")


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, _plain, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else plain_cell(value)


def _mended(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case dict():
            told = cast("dict[Any, Any]", value)
            return {_mended(name): _mended(each) for name, each in told.items()}
        case list() | tuple():
            return [_mended(each) for each in cast("list[Any]", value)]
        case _:
            return value
