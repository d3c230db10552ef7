"""The base of the typed records that services return, and how many specs have come to each state."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from scythe_cli.core.states import State

__all__ = ["StateCounts"]


class Record(BaseModel):
    """The base of all records: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from scythe_cli.core.html import record_html

        return record_html(self)


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
