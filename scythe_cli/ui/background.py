"""The page served by a thread, for programs and notebooks."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

from scythe_cli.services.page import OpenPage
from scythe_cli.ui.server import prepared

if TYPE_CHECKING:
    from scythe_cli.storage.base import Storage

__all__ = ["open_page"]

_LONGEST_END_S = 10.0


def open_page(storage: Storage, *, run: str | None = None, port: int = 0) -> OpenPage:
    """Serve the page to this machine until it is closed, or the process ends; notebooks of this machine may show it.

    Args:
        storage: Where the runs are kept.
        run: The run that is shown first, by its whole name.
        port: The port; a free one if it is 0.

    Raises:
        UsageError: If the port is taken.
    """
    made = prepared(storage, run=run, port=port, is_framed=True)
    thread = Thread(target=made.run, name="scythe-ui", daemon=True)

    def close() -> None:
        made.server.should_exit = True
        thread.join(_LONGEST_END_S)

    thread.start()
    return OpenPage(made.served.url, close)
