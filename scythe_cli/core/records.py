"""The base of the typed records that services return, and how many specs have come to each state."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from scythe_cli.core.html import offered
from scythe_cli.core.states import State

__all__ = ["FleetWorker", "Record", "StateCounts", "WorkerCode"]


class Record(BaseModel):
    """The base of all records: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from scythe_cli.core.html import record_html

        return record_html(self)

    def __dir__(self) -> list[str]:
        """What the Tab key offers: the fields, and not all that pydantic has."""
        own = {name for each in type(self).__mro__ if each not in BaseModel.__mro__ for name in vars(each)}
        fields = {*type(self).model_fields, *type(self).model_computed_fields}
        return offered(self, {*own, *fields, "model_dump", "model_dump_json"}, ("model_config",))


class StateCounts(Record):
    """How many specs are in each state; the six add up to the number of specs."""

    succeeded: int = 0
    failed: int = 0
    timeout: int = 0
    crashed: int = 0
    cancelled: int = 0
    pending: int = 0

    @property
    def total(self) -> int:
        """The number of specs."""
        return sum(self.of(state) for state in State)

    @property
    def unsuccessful(self) -> int:
        """The specs that ended without success."""
        return self.failed + self.timeout + self.crashed + self.cancelled

    def of(self, state: State) -> int:
        """The count of one state."""
        return int(getattr(self, state.value))

    def told(self) -> str:
        """The states that there are, in words: `299 succeeded, 1 failed`."""
        return ", ".join(f"{self.of(state):,} {state.value}" for state in State if self.of(state))


class WorkerCode(Record):
    """The code that a worker has of an experiment."""

    experiment: str = Field(description="in lower case, as the engine has it")
    changed_at: datetime | None = Field(description="when its newest file was changed")
    same: bool | None = Field(description="whether it is that of this project; null where this project has none")


class FleetWorker(Record):
    """A worker of a fleet that is alive."""

    name: str
    host: str | None
    user: str | None
    python: str | None
    slots: int | None = Field(description="tasks that it runs at the same time")
    busy: int | None = Field(description="tasks that it runs now")
    last_seen_at: datetime | None
    scatter_gather: bool = Field(description="whether it runs the nodes of scatter/gather")
    any_code: bool = Field(description="whether it takes runs of other code")
    code: list[WorkerCode]
    storage: list[str] = Field(description="where it takes runs; empty for anywhere")
