"""`study/history.json`: how far a study was after each of its rounds.

It holds nothing that the cases do not tell as well: what is missing is worked out again.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from scythe_cli.core.records import Record
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import MissingKeyError, Storage

__all__ = ["BestCase", "StandingRecord", "StudyHistory", "StudyRound", "read_history", "write_history"]


_MAX_BYTES = 50_000_000


class StandingRecord(Record):
    """How far a target is after a round."""

    output: str
    target: str = Field(description="as it was asked for, such as `rmse <= 1 %`")
    stratum: list[Any] = Field(default=[], description="the values that divide the cases; empty for all of them")
    value: float | None = Field(description="what was measured; None where there were too few cases")
    shown: str = Field(description="the same for a person")
    ratio: float | None = Field(description="of what was measured to what is asked for: 1 or less holds")
    n: int = Field(description="over how many held-out cases")


class BestCase(Record):
    """A case that no other one beats."""

    sort_index: int
    outputs: dict[str, float]


class StudyRound(Record):
    """What was known after a round."""

    round: int
    cases: int = Field(description="of the run so far")
    succeeded: int
    failed: int
    standings: list[StandingRecord] = Field(default=[], description="how far each target is")
    best: list[BestCase] = Field(default=[], description="of outputs to minimize or maximize")
    hypervolume: float | None = Field(
        default=None, description="of several such outputs: how much the best cases dominate, from 0 to 1"
    )

    @property
    def worst(self) -> StandingRecord | None:
        """The target that is farthest from being reached."""
        return max(self.standings, key=lambda each: float("inf") if each.ratio is None else each.ratio, default=None)


class StudyHistory(Record):
    """All rounds of a study."""

    study: str
    targets: dict[str, list[str]] = Field(default={}, description="what is to be reached, by output")
    strata: list[str] = Field(default=[], description="the fields whose values divide the cases")
    rounds: list[StudyRound] = Field(default=[], description="in their order")
    failures: list[str] = Field(default=[], description="where cases fail, in words")
    end: str | None = Field(default=None, description="why it ended; None while it goes on")
    reason: str | None = Field(default=None, description="the same for a person")


def read_history(storage: Storage, run: RunLayout) -> StudyHistory | None:
    """How a study went; None for a run of no study, and where the file is no such thing."""
    try:
        return StudyHistory.model_validate_json(storage.read_bytes(run.study("history.json"), max_bytes=_MAX_BYTES))
    except (MissingKeyError, ValidationError):
        return None


def write_history(storage: Storage, run: RunLayout, history: StudyHistory) -> None:
    """Keep it, in place of what was kept before.

    Raises:
        StorageError: If it cannot be written.
    """
    storage.write_bytes(run.study("history.json"), history.model_dump_json(indent=1).encode())
