"""Runs, their states and their errors, as records."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from scythe_cli.core.records import Record, StateCounts
from scythe_cli.core.states import State

__all__ = ["ErrorGroup", "QueueRecord", "RunErrors", "RunRecord", "RunState", "RunStatus", "RunningSpec", "SpecError"]


RunState = Literal["succeeded", "failed", "cancelled", "stopped", "running", "unknown"]
"""How a run as a whole is: `stopped` when specs are pending and nothing is at work on them."""


class RunRecord(Record):
    """One run, as a list of many tells it: from its folder's name, its summary, and what else is cheap to read."""

    experiment_id: str
    experiment: str
    version: str
    timestamp: datetime
    uri: str
    n_specs: int | None = Field(description="None when the manifest does not say, as in an older bucket")
    engine: str | None
    complete: bool = Field(description="whether final tables exist")
    state: RunState = Field(
        default="unknown",
        description="'unknown' for an older run, of which only `scythe status` tells how it went",
    )
    counts: StateCounts | None = Field(
        default=None, description="specs by state, once tables were made; None while it runs, or where that is not kept"
    )
    started_at: datetime | None = Field(default=None, description="when the first spec was started")
    finished_at: datetime | None = Field(default=None, description="when the last spec had ended")
    duration_s: float | None = Field(default=None, description="seconds from the first start to the last end")
    sampling_file: str | None = None


class ErrorGroup(Record):
    """Specs that failed alike: same state, type and place."""

    state: State
    error_type: str
    place: str | None = Field(description="file:line in function, where the error was raised, if it is known")
    message: str = Field(description="the message of the first of them")
    count: int
    rows: list[int] = Field(description="their sort_index, at most the first 20")


class SpecError(Record):
    """One spec that did not succeed."""

    sort_index: int
    state: State
    attempt: int
    error_type: str | None
    message: str | None
    traceback: str | None
    duration_s: float | None


class RunErrors(Record):
    """What went wrong in a run."""

    experiment_id: str
    counts: StateCounts
    groups: list[ErrorGroup]
    errors: list[SpecError] = Field(description="one for each spec that did not succeed, at most the limit asked for")
    failing: list[ErrorGroup] = Field(
        default=[], description="failed attempts of specs that are pending, since another attempt is to come"
    )
    failing_errors: list[SpecError] = Field(
        default=[], description="the last attempt of each of these specs, at most the limit asked for"
    )

    def _repr_html_(self) -> str:
        """What a notebook shows: what failed alike, and then case by case."""
        from scythe_cli.core.html import facts_html, safe_html

        rows = [
            ("run", self.experiment_id),
            ("cases", self.counts.told()),
            ("problems", [_told_group(group) for group in self.groups]),
            ("case by case", [_told_error(error) for error in self.errors]),
            ("to be tried again", [_told_group(group) for group in self.failing]),
        ]
        return f"<div><b>{safe_html('Errors' if self.counts.unsuccessful else 'No errors')}</b>{facts_html(rows)}</div>"


def _told_group(group: ErrorGroup) -> dict[str, Any]:
    what = {"state": group.state.value, "error": group.error_type, "message": group.message, "place": group.place}
    return {**what, "cases": group.count, "rows": group.rows}


def _told_error(error: SpecError) -> dict[str, Any]:
    message = error.traceback or error.message
    return {"row": error.sort_index, "state": error.state.value, "error": error.error_type, "traceback": message}


class RunningSpec(Record):
    """A spec that is being run."""

    sort_index: int
    elapsed_s: float = Field(description="how long it has been running")


class QueueRecord(Record):
    """What of a run is in the queue of a scheduler."""

    jobs: list[str] = Field(description="the ids of the jobs, as the scheduler's own tools know them")
    queued: int = Field(description="tasks that wait")
    running: int = Field(description="tasks that run")
    done: int = Field(description="tasks of the last submission that have ended")
    closing: bool = Field(default=False, description="whether the job that gathers waits or runs")
    reasons: list[str] = Field(default=[], description="why tasks wait, in plain words, the most frequent first")

    @property
    def is_empty(self) -> bool:
        """Whether nothing more will happen by itself."""
        return not (self.queued or self.running or self.closing)


class RunStatus(Record):
    """How far a run is."""

    experiment_id: str
    experiment: str
    version: str
    timestamp: datetime
    uri: str
    engine: str | None
    n_specs: int | None
    counts: StateCounts | None = Field(description="None for an older run without a ledger")
    failing: int = Field(
        default=0, description="specs of which an attempt failed and another is to come; part of `pending`"
    )
    rate_per_s: float | None = Field(description="finished specs a second over the time that the run was at work")
    eta_s: float | None = Field(description="seconds to the end at this rate; None when unknown or done")
    gathered: bool = Field(description="whether the final tables are there")
    tables: list[str] = Field(description="the names of the final tables")
    last_outcome_at: datetime | None
    workers: list[str] | None = Field(
        default=None, description="workers of a fleet that serve the experiment; None when nobody was asked"
    )
    queue: QueueRecord | None = Field(
        default=None,
        description="what of it is in the queue of a scheduler; None where there is none, or none was asked",
    )
    at_work: str | None = Field(
        default=None, description="the process that is at work on it, as its lease tells; None on a fleet"
    )
    running: list[RunningSpec] | None = Field(
        default=None,
        description="specs that have been running for a second or more, the longest first; None when that is not "
        "known, as of a process on another machine",
    )
    last_failures: list[SpecError] = Field(
        default=[], description="the last specs that did not succeed, while a run is watched"
    )
    damaged_parts: list[str] = Field(default=[], description="parts of the ledger that cannot be read")
    notice: str | None = None
