"""The page of a project's runs, opened from a program or a notebook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scythe_cli.core.distribution import PAGES, entry_point
from scythe_cli.core.html import safe_html
from scythe_cli.errors import StorageError
from scythe_cli.services.packing.offered import TakesPackedRuns

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["OpenPage", "ShowsPage"]

_HEIGHT = 700


@dataclass(frozen=True, slots=True)
class OpenPage:
    """A page that is served until it is closed, or the program ends.

    Attributes:
        url: Its address; whoever has it can read all runs.
    """

    url: str
    _close: Callable[[], None]

    def close(self) -> None:
        """Stop serving it; nothing happens when it is closed already."""
        self._close()

    def __enter__(self) -> OpenPage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<the page at {self.url}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the page itself, and where it is for a browser that does not show it there."""
        url = safe_html(self.url)
        return (
            f'<iframe src="{url}" title="scythe" width="100%" height="{_HEIGHT}" frameborder="0"></iframe>'
            f'<div><a href="{url}" target="_blank" rel="noopener">open it by itself</a></div>'
        )


class ShowsPage(TakesPackedRuns):
    """A project whose runs can be shown in a browser."""

    def ui(self, run: str | None = None, *, port: int = 0) -> OpenPage:
        """Serve the page of `scythe ui` from a thread of this process; a notebook shows it.

            with project.ui("latest") as page:
                print(page.url)

        Args:
            run: The run that is shown first, such as `latest`; the list of runs unless given.
            port: The port; a free one if it is 0.

        Returns:
            The page; it is served until it is closed, or this process ends. Only this machine can open it.

        Raises:
            NotFoundError: If there is no such run.
            MissingExtraError: If the extra `ui` is not installed.
            UsageError: If the port is taken.
        """
        from scythe_cli.run.catalog import find_run

        point = entry_point(PAGES, "ui")
        if point is None:
            raise StorageError("this installation of scythe does not know its page", hint="Install it again.")
        shown = None if run is None else find_run(self.storage, run).experiment_id
        serve: Any = point.load()
        return serve(self.storage, run=shown, port=port)
