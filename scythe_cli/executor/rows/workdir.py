"""The working directory of specs: a folder of its own for each, in which the project's files are seen.

What a spec writes under a relative path is its own, so that simulators with fixed file names (`temp.inp`) do not
overwrite one another's files. Top-level files of the project of up to `COPY_BYTES` are copied, larger files and folders
are links to the project's. A spec that has changed nothing leaves its folder to the next one.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scythe_cli.core.processes import c_library

if TYPE_CHECKING:
    from scythe_cli.executor.rows.call import RunContext

__all__ = ["COPY_BYTES", "RowFolder", "keep_files"]


COPY_BYTES = 1_000_000
"""Files of the project that are larger are linked, not copied."""

_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)
# IN_MODIFY, IN_ATTRIB, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE
_CHANGES = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200


class RowFolder:
    """The folders of one process, one after the other.

    Args:
        project: Whose files are seen.
        place: Where they are made; it is made as well.

    Attributes:
        project: Whose files are seen.
        path: The present one.
        watch_fd: Readable once something in it was changed; None where the system cannot tell.
    """

    def __init__(self, project: Path, place: Path) -> None:
        self.project = project
        self._place = place
        self._n = 0
        self._libc, self.watch_fd = _inotify()
        self._watch: int | None = None
        self._ends = select.poll()
        if self.watch_fd is not None:
            self._ends.register(self.watch_fd, select.POLLIN)
        place.mkdir(parents=True, exist_ok=True)
        self.path = self._make()

    def is_changed(self) -> bool:
        """Whether anything was made, changed or removed at the top of the folder."""
        if self.watch_fd is not None:
            return bool(self._ends.poll(0))
        try:
            return self.path.stat().st_mtime_ns != 0
        except OSError:
            return True

    def new_file(self, kept: Collection[Path]) -> str | None:
        """What was made at the top of the folder, and is going to be removed with it; None where that is nothing.

        Args:
            kept: Files that are kept elsewhere.
        """
        tops = {path.relative_to(self.path).parts[0] for path in kept if path.is_relative_to(self.path)}
        tops |= {path.parts[0] for path in kept if not path.is_absolute() and path.parts}
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name in tops or entry.name.startswith((".", "__pycache__")) or entry.is_symlink():
                    continue
                if not (self.project / entry.name).exists():
                    return entry.name
        return None

    def renew(self) -> None:
        """Make another folder, and remove the present one.

        Raises:
            OSError: If no folder can be made.
        """
        used = self.path
        self.path = self._make()
        shutil.rmtree(used, ignore_errors=True)

    def close(self) -> None:
        """Watch no longer; the folder stays."""
        if self.watch_fd is not None:
            os.close(self.watch_fd)
            self.watch_fd = None

    def _make(self) -> Path:
        self._n += 1
        path = self._place / f"{os.getpid()}-{self._n}"
        path.mkdir()
        with os.scandir(self.project) as entries:
            for entry in entries:
                _show(entry, path / entry.name)
        if self.watch_fd is None:
            os.utime(path, ns=(0, 0))
        else:
            self._watch_path(path)
        return path

    def _watch_path(self, path: Path) -> None:
        fd = self.watch_fd
        if self._watch is not None:
            self._libc.inotify_rm_watch(fd, self._watch)
        self._watch = self._libc.inotify_add_watch(fd, os.fsencode(path), _CHANGES)
        with contextlib.suppress(BlockingIOError):
            while fd is not None and os.read(fd, 65536):  # what was told of the last one
                pass


def keep_files(folder: Path, project: Path, context: RunContext, sort_index: int) -> None:
    """Store with the run what a spec has written into its folder.

    Args:
        folder: The folder.
        project: The project's, whose files are not stored.
        context: The run.
        sort_index: The spec.

    Raises:
        StorageError: If they cannot be stored.
    """
    from scythe_cli.run.layout import RunLayout
    from scythe_cli.storage.opening import open_storage

    run = RunLayout.from_experiment_id(context.experiment_id)
    if run is None:
        return  # a spec that was triggered by itself has no run to keep files with
    storage = open_storage(context.storage_location)
    prefix = run.files_of(sort_index)
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not (Path(parent) / name).is_symlink()]
        for name in names:
            path = Path(parent, name)
            relative = path.relative_to(folder)
            if path.is_file() and not path.is_symlink() and not _is_same(path, project / relative):
                storage.put_file(path, f"{prefix}/{relative.as_posix()}")


def _is_same(path: Path, original: Path) -> bool:
    try:
        ours, theirs = path.stat(), original.stat()
    except OSError:
        return False
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _show(entry: os.DirEntry[str], path: Path) -> None:
    """Let a file or folder of the project be seen under another path."""
    try:
        if entry.is_file() and entry.stat().st_size <= COPY_BYTES:
            shutil.copy2(entry.path, path)
            return
    except OSError:
        path.unlink(missing_ok=True)  # it cannot be read, or has gone: the row sees the same
    path.symlink_to(entry.path)


def _inotify() -> tuple[Any, int | None]:
    """The C library, and a descriptor that tells of changes; None where there is none."""
    if sys.platform != "linux":
        return None, None
    try:
        libc = c_library()
        fd = libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
    except (OSError, AttributeError):
        return None, None
    # a user may have a limited number of them: then times of change tell
    return libc, fd if fd >= 0 else None
