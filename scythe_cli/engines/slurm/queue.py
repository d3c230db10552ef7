"""What squeue says of the jobs of a run, and what Slurm's reasons mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["ACTIVE", "QueuedTask", "in_words", "parse_queue", "seconds_of", "told_reasons"]


RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"})
"""States of tasks that have a node."""

QUEUED = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "RESIZING"}
)
"""States of tasks that wait for one."""

ACTIVE = RUNNING | QUEUED
"""States of tasks of which more is to come."""

_REASONS = {
    "Resources": "waiting for free nodes",
    "Priority": "jobs of a higher priority come first",
    "JobArrayTaskLimit": "as many tasks run as [slurm] array_limit allows",
    "BeginTime": "it was requeued, and starts again soon",
    "Dependency": "waiting for the tasks to end",
    "JobHeldUser": "held; `scontrol release` lets it start",
    "JobHeldAdmin": "held by an administrator",
    "launch failed requeued held": "it did not start on its node and is held; `scontrol release` lets it start",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionTimeLimit": "[slurm] time is longer than the partition allows",
    "PartitionNodeLimit": "it needs more nodes than the partition allows",
    "PartitionConfig": "it asks for more than the partition allows",
    "ReqNodeNotAvail": "the nodes that it needs are down or reserved",
    "NodeDown": "the node that it needs is down",
    "BadConstraints": "no node is like what it asks for",
    "Licenses": "waiting for a licence",
    "Reservation": "waiting for its reservation",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its qos is not valid",
    "QOSMaxJobsPerUserLimit": "as many of your jobs run as the qos allows",
    "QOSMaxCpuPerUserLimit": "your jobs use as many cores as the qos allows",
    "AssocMaxJobsLimit": "as many of your jobs run as the account allows",
    "AssocGrpCpuLimit": "your group uses as many cores as its account allows",
    "AssocGrpCPUMinutesLimit": "the budget of your account is used up",
    "AssocGrpBillingMinutes": "the budget of your account is used up",
}


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """A line of squeue.

    Attributes:
        job: The id of its job; of a task, that of its array.
        task: Its number in the array; None for a job that is none.
        state: Slurm's word for its state.
        reason: Slurm's word for why it waits.
        name: The name of the job.
    """

    job: str
    task: int | None
    state: str
    reason: str
    name: str

    @property
    def is_active(self) -> bool:
        """Whether more is to come of it."""
        return self.state in ACTIVE


def parse_queue(text: str) -> list[QueuedTask]:
    """Read lines of `%i|%T|%r|%j`; others are none of ours."""
    tasks: list[QueuedTask] = []
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) < 4:
            continue
        job, _, number = cells[0].partition("_")
        # the name is the last, and ours have no bar in it
        reason = cells[2].removeprefix("(").removesuffix(")")
        tasks.append(QueuedTask(job, int(number) if number.isdecimal() else None, cells[1], reason, cells[3]))
    return tasks


def in_words(reason: str) -> str | None:
    """What a reason means; None for one that says nothing."""
    if reason in ("", "None"):
        return None
    known = _REASONS.get(reason) or _REASONS.get(reason.partition(",")[0])
    if known is not None:
        return f"{known} ({reason})" if reason[0].isupper() else known
    if reason.startswith(("QOS", "Assoc", "Max")):
        return f"a limit of your account or qos is reached ({reason})"
    return reason


def told_reasons(tasks: Iterable[QueuedTask]) -> list[str]:
    """Why tasks wait, the most frequent first."""
    reasons = Counter(words for task in tasks if (words := in_words(task.reason)) is not None)
    return [reason for reason, _ in reasons.most_common()]


def seconds_of(text: str) -> float | None:
    """A time as Slurm writes it, `1-02:03:04`, `02:03:04` or `03:04`; None for UNLIMITED, NOT_SET and the like."""
    days, dash, clock = text.strip().rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in [*parts, *([days] if dash else [])]) or len(parts) > 3:
        return None
    if dash:  # with days, the hours come first
        parts = [*parts, "0", "0"][:3]
    total = float(days) * 86_400 if dash else 0.0
    return total + _clock(parts)


def _clock(parts: Sequence[str]) -> float:
    # one number alone is minutes
    padded = [*parts, "0"] if len(parts) == 1 else parts
    return float(sum(int(part) * 60**place for place, part in enumerate(reversed(padded))))
