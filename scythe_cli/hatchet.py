"""`hatchet`: the Hatchet client, made on first use."""

from __future__ import annotations

from scythe_cli.engines.hatchet.connection import (
    get_hatchet,
    hatchet,
    is_embedded,
    stop_embedded,
    use_embedded,
)

__all__ = [
    "get_hatchet",
    "hatchet",
    "is_embedded",
    "stop_embedded",
    "use_embedded",
]
