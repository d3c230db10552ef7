"""The folder in which a user's caches lie."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """`SCYTHE_CACHE_DIR`, else what is usual on the system; made when something is put there."""
    named = os.environ.get("SCYTHE_CACHE_DIR", "").strip()
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("scythe-cli")
