"""A fleet with all that it needs, each part of which a test can make fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.hatchet_servers import HatchetServers
from tests.live.fleet import LiveProject, Worker
from tests.live.lossy import LossyProxy

__all__ = ["Lab"]


@dataclass
class Lab:
    """A fleet with all that it needs, each of which can fail.

    Attributes:
        live: The project.
        servers: The engine and its database.
        storage: The way to the object store.
        engine: The way to the engine.
        worker: The worker that is there.
    """

    live: LiveProject
    servers: HatchetServers
    storage: LossyProxy
    engine: LossyProxy
    worker: Worker

    def start_worker(self) -> None:
        self.worker = self.live.start_worker("--slots", "3", wait=False)

    def faults(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        """What can happen: how it begins, and how it ends."""
        return {
            "the engine is killed": (self.servers.kill_engine, self.servers.start_engine),
            "the database is killed": (self.servers.kill_postgres, self._start_database),
            "the worker is killed": (lambda: self.worker.kill(), self.start_worker),
            "the storage is away": (self.storage.refuse, self.storage.heal),
            "answers of the storage are lost": (self.storage.lose_answers, self.storage.heal),
            "the engine is away": (self.engine.refuse, self.engine.heal),
            "answers of the engine are lost": (self.engine.lose_answers, self.engine.heal),
        }

    def _start_database(self) -> None:
        self.servers.start_postgres()
        self.supervise_engine()

    def supervise_engine(self) -> None:
        """Start an engine again that has ended for want of its database, as any supervisor does."""
        if self.servers.engine_pid is None:
            self.servers.start_engine()
