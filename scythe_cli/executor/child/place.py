"""Where a process runs its specs: the folder that each begins in, and what becomes of what it has left there."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from scythe_cli.core.states import KeepFiles
from scythe_cli.executor.rows.call import Leaf, LeafResult, RunContext
from scythe_cli.executor.rows.capture import Capture
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.executor.rows.workdir import RowFolder, keep_files

__all__ = ["Place"]


class Place:
    """The working directory of specs, as the process that runs them sees to it.

    Args:
        folder: Their own; None for the present directory.
        keeps: Of which specs the files there are kept.
        capture: What rows print; it looks at the folder as well.
        context: The run.

    Attributes:
        keeps: See above.
        removed: A file that a spec has written and nobody has kept; None where there was none.
        watches_times: Whether `settle` must look after each spec, as nothing else tells of changes.
    """

    def __init__(self, folder: RowFolder | None, keeps: KeepFiles, capture: Capture, context: RunContext) -> None:
        self.keeps: KeepFiles = keeps
        self.removed: str | None = None
        self._folder = folder
        self._capture = capture
        self._context = context
        self._moved = False
        self._home = os.open("." if folder is None else folder.path, os.O_RDONLY)
        os.fchdir(self._home)
        if folder is not None and folder.watch_fd is not None:
            capture.watch(folder.watch_fd)
        self.watches_times = folder is not None and folder.watch_fd is None
        os.chdir = self._noting_moves(os.chdir)
        os.fchdir = self._noting_moves(os.fchdir)

    def _noting_moves(self, change: Callable[..., None]) -> Callable[..., None]:
        """Take note when a spec changes the working directory: the next one starts from where the first did."""

        @functools.wraps(change)
        def noting(*arguments: Any, **options: Any) -> None:
            self._moved = True
            change(*arguments, **options)

        return noting

    def go_back(self) -> None:
        """Return to the working directory, where a spec has left it."""
        if self._moved:
            os.fchdir(self._home)
            self._moved = False

    def is_changed(self) -> bool:
        """Whether specs have a folder of their own, and anything was changed there."""
        return self._folder is not None and self._folder.is_changed()

    def renew(self) -> None:
        """Give the next spec a folder of its own, where specs have one."""
        if self._folder is None:
            return
        self._capture.has_seen = False
        self._folder.renew()
        home = os.open(self._folder.path, os.O_RDONLY)
        os.close(self._home)
        self._home = home
        os.fchdir(home)
        self._moved = False

    def settle(self, result: LeafResult | Failure, sort_index: int, leaf: Leaf, *, is_last: bool) -> None:
        """Keep what a spec has written, if that is wanted, and make a new folder for the next if it has changed this.

        Args:
            result: What became of the spec.
            sort_index: Its number.
            leaf: What has run it.
            is_last: Whether this process ends now.
        """
        folder = self._folder
        if folder is None or not folder.is_changed():
            return
        if self.keeps == "always" or (self.keeps == "failed" and isinstance(result, Failure)):
            keep_files(folder.path, folder.project, self._context, sort_index)
        elif self.keeps == "never" and self.removed is None:
            self.removed = folder.new_file([] if isinstance(result, Failure) else leaf.output_paths(result))
        if not is_last:
            self.renew()
