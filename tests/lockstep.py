"""Two actors on one storage, one operation at a time, in an order that the test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from scythe_cli.storage.base import Storage

_LIMIT_S = 60.0
OPERATIONS = frozenset(name for name in vars(Storage) if not name.startswith("_") and name not in ("location", "uri"))
"""The methods of a storage before which the other actor may act; those that only name places are none."""


class Between:
    """A storage that calls `step` before each operation."""

    def __init__(self, storage: Storage, step: Callable[[], None]) -> None:
        self._storage = storage
        self._step = step

    def __getattr__(self, name: str) -> Any:
        if name in OPERATIONS:
            self._step()
        return getattr(self._storage, name)


class Lockstep:
    """Runs `other` beside whoever uses `storage`: before each operation there, as many of its own as the order says.

    Args:
        storage: What both use.
        other: What the other does, with the storage that it is given.
        order: How many operations of the other come before each of the first; when it ends, none do.
    """

    def __init__(self, storage: Storage, other: Callable[[Storage], object], order: Iterable[int]) -> None:
        self.storage: Any = Between(storage, self._let_other_act)
        self._order: Iterator[int] = iter(order)
        self._changed = threading.Condition()
        self._turn = threading.Lock()  # who uses `storage` may do so in several threads
        self._allowed = 0
        self._waits = self._ended = self._is_free = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(other, Between(storage, self._wait)), daemon=True)

    def _run(self, other: Callable[[Any], object], storage: Any) -> None:
        try:
            other(storage)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait(self) -> None:
        """Stop the other until it is allowed an operation."""
        with self._changed:
            while not self._allowed and not self._is_free:
                self._waits = True
                self._changed.notify_all()
                self._changed.wait(_LIMIT_S)
            self._waits = False
            self._allowed -= 1

    def _let_other_act(self) -> None:
        with self._turn:
            for _ in range(next(self._order, 0)):
                with self._changed:
                    self._allowed = 1
                    self._waits = False
                    self._changed.notify_all()
                    assert self._changed.wait_for(lambda: self._ended or self._waits, _LIMIT_S)

    def finish(self, *_: object) -> None:
        """Let the other do all that it has not done yet."""
        with self._changed:
            self._is_free = True
            self._changed.notify_all()
        self._thread.join(_LIMIT_S)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Lockstep:
        self._thread.start()
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended or self._waits, _LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
