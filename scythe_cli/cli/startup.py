"""Keeping the start and the end of a command short."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["QuickEnd", "keep_pandas_out", "relax_collector"]


_YOUNG_OBJECTS = 200_000


class _NotNow:
    """Finds no pandas."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("not now", name=name)


def keep_pandas_out() -> None:
    """Keep pyarrow from importing pandas, which takes longer than most commands do.

    The first call of `pyarrow.array` asks whether pandas can be imported, and remembers the answer. A command can
    import pandas as ever afterwards, but in its process pyarrow no longer knows pandas' missing values in lists: so
    this is for commands, and not for processes that run a user's function.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NotNow)  # pyright: ignore[reportArgumentType] - a finder needs no other method
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NotNow)  # pyright: ignore[reportArgumentType]


def relax_collector() -> None:
    """Let the garbage collector look less often.

    While libraries are loaded, hundreds of thousands of objects come into being and stay, and looking through them
    takes a fifth of a command's start.
    """
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


class QuickEnd:
    """Ends this process without taking apart what it has loaded, which takes half a second where that is much.

    To be made before anything else that is to be done at exit, since that is done in reverse order: temporary files
    are removed, and threads are waited for, as ever.

    Attributes:
        code: The exit code; None leaves the end to Python.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._pid = os.getpid()
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is None or self._pid != os.getpid():
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # Python says what is wrong with them
        os._exit(self.code)
