"""What studies return, as records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, computed_field

from scythe_cli.analysis.surrogate.history import StudyRound
from scythe_cli.core.records import Record, StateCounts

__all__ = ["StudyEnd", "StudyListing", "StudyPlan", "StudyResult"]


StudyEnd = Literal["reached", "converged", "max_cases", "no_progress", "exhausted", "too_few", "stopped"]
"""Why a study ended: targets hold; objectives no longer get better; there are as many cases as it may have; targets
come no nearer; there are no further cases; too few cases succeed; it was interrupted."""


class StudyResult(Record):
    """What a study came to."""

    study: str
    experiment_id: str
    uri: str
    engine: str
    end: StudyEnd
    reason: str = Field(description="the same for a person")
    rounds: list[StudyRound]
    counts: StateCounts
    duration_s: float
    failures: list[str] = Field(default=[], description="where cases fail, in words")
    tables: dict[str, str] = Field(default={}, description="final tables: name to path or URI")
    notices: list[str] = Field(default=[])

    @computed_field
    @property
    def ok(self) -> bool:
        """Whether it is at its end as it was meant: targets hold, or the best cases are found."""
        return self.end in ("reached", "converged")


class StudyPlan(Record):
    """What a study would do."""

    study: str
    experiment: str
    engine: str
    fields: dict[str, str] = Field(description="what varies, for a person")
    initial: int
    batch: int = Field(description="cases of the next round")
    suggest: str
    targets: dict[str, list[str]]
    strata: list[str]
    max_cases: int
    run: str | None = Field(description="the run that it goes on with; None where it starts one")
    last: StudyRound | None = Field(default=None, description="what is known of its run")
    pending: int = Field(default=0, description="cases of its run that have no outcome")
    end: StudyEnd | None = Field(default=None, description="why there is nothing more to do")
    reason: str | None = None
    failures: list[str] = Field(default=[], description="where cases fail, in words")
    notices: list[str] = Field(default=[])


class StudyListing(Record):
    """A study of the configuration, in a list."""

    name: str
    experiment: str | None
    targets: dict[str, list[str]]
    run: str | None = Field(default=None, description="its latest run")
    rounds: int = 0
    cases: int = 0
    last: StudyRound | None = None
    is_running: bool = False
    problem: str | None = Field(default=None, description="why it cannot be told")
