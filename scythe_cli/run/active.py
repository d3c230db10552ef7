"""Which specs run at this moment: told by the process at work to who watches it on the same machine.

The storage is not asked for it, which may be far away: the process writes a small file into a temporary folder of its
own, about once a second, and only while a spec takes longer than that. Whoever watches finds the folder by the process
that the run's lease names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from scythe_cli.core.folders import folders_of, owned_prefix
from scythe_cli.core.processes import machine
from scythe_cli.run.lease import LeaseRecord
from scythe_cli.run.records import RunningSpec

__all__ = ["RunningFile", "read_running"]


_EVERY_S = 1.0
_LONG_S = 1.0
_WHAT = "running"
_NAME = "specs.json"


class RunningFile:
    """The file, for who is at work; removed on exit.

    Args:
        experiment_id: The run.
    """

    def __init__(self, experiment_id: str) -> None:
        self._experiment_id = experiment_id
        self._folder: TemporaryDirectory[str] | None = None
        self._written: dict[int, float] | None = None
        self._due_s = time.monotonic() + _EVERY_S

    def __enter__(self) -> RunningFile:
        # a disk that is full must not end the run
        with suppress(OSError):
            self._folder = TemporaryDirectory(prefix=owned_prefix(_WHAT), ignore_cleanup_errors=True)
        self._write({})
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def write_if_due(self, running: Callable[[], Sequence[tuple[int, float]]]) -> None:
        """Write which specs run, when it is time and something has changed.

        Args:
            running: Tells the specs: `sort_index`, and for how many seconds each has been running.
        """
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + _EVERY_S
        self._write({row: time.time() - elapsed_s for row, elapsed_s in running() if elapsed_s >= _LONG_S})

    def _write(self, starts: dict[int, float]) -> None:
        # when a spec began is computed anew each time, and moves a little
        if self._folder is None or (self._written is not None and starts.keys() == self._written.keys()):
            return
        self._written = starts
        path = Path(self._folder.name) / _NAME
        document = {"experiment_id": self._experiment_id, "specs": list(starts.items())}
        with suppress(OSError):
            new = path.with_suffix(".new")
            new.write_text(json.dumps(document))
            new.replace(path)


def read_running(owner: LeaseRecord, experiment_id: str) -> list[RunningSpec] | None:
    """The specs that the process at work on a run has been running for a second or more, the longest first.

    Returns:
        None when that cannot be known from here: the process is on another machine, or of another user.
    """
    if owner.machine != machine():
        return None
    for folder in folders_of(_WHAT, owner.pid, owner.process_start):
        try:
            document: Any = json.loads((folder / _NAME).read_text())
            if document["experiment_id"] == experiment_id:
                now_s = time.time()
                specs = cast("list[tuple[int, float]]", document["specs"])
                found = [RunningSpec(sort_index=row, elapsed_s=max(now_s - start, 0.0)) for row, start in specs]
                return sorted(found, key=lambda spec: -spec.elapsed_s)
        except (OSError, ValueError, LookupError, TypeError):
            continue  # not written yet, or being removed
    return None
