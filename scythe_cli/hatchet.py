"""`hatchet`: the Hatchet client, made on first use."""

from __future__ import annotations

from scythe_cli.engines.hatchet.connection import get_hatchet
from scythe_cli.engines.hatchet.proxy import hatchet

__all__ = ["get_hatchet", "hatchet"]
