"""What nodes and tasks are told, and what they tell back: small JSON documents, never tables of specs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from scythe_cli.core.processes import user_and_host
from scythe_cli.core.recursion import RecursionMap
from scythe_cli.core.states import RetryOn
from scythe_cli.core.text import redact_uri
from scythe_cli.engines.hatchet.routing import (
    NODE_NAME,
    code_fingerprint,
    run_key,
    schema_fingerprint,
)
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage

__all__ = [
    "INLINE_LIMIT_BYTES",
    "META_KEY",
    "META_LEAF",
    "META_RUN",
    "META_TASK",
    "NODE_NAME",
    "ROWS_KEY",
    "LeafAssignment",
    "LeafOutput",
    "NodeInput",
    "NodeOutput",
    "RowSet",
    "RunPointer",
    "desired_labels",
    "pack_bytes",
    "pack_outcomes",
    "pointer_of",
    "unpack_bytes",
    "unpack_outcomes",
]


ROWS_KEY = "scythe_rows"
"""The one key of a task's input that is not a spec: its value is a `LeafAssignment`."""

META_RUN = "scythe_run"
"""Key in the metadata of every Hatchet run that belongs to a run of ours; its value is the experiment_id."""

META_KEY = "scythe_key"
"""Key in the same metadata; its value, `run_key`, is that of no run in another storage.

The engine finds what has any of the pairs that it is asked for, so this one is asked for alone.
"""

META_TASK = "scythe_task"
"""Key in the metadata of a run's root; its value is the name of the run's tasks."""

META_LEAF = "scythe_leaf"
"""Key in the metadata of a task whose input is a spec; its value is a `LeafAssignment` as JSON."""

INLINE_LIMIT_BYTES = 512_000
"""Outcomes that are larger than this are written to the ledger by the task itself; a gRPC message can have 4 MB."""


class _Payload(BaseModel):
    # a worker of a newer version may get what an older client wrote, and the other way round
    model_config = ConfigDict(frozen=True, extra="ignore")


class RunPointer(_Payload):
    """Which run, and what its specs are executed under."""

    storage: str = Field(description="A local folder or s3://bucket/prefix; workers see the same place.")
    experiment_id: str
    experiment: str = Field(description="The name under which workers serve it.")
    root_workflow_run_id: str
    session: str = Field(description="Begins the names of the ledger's parts; unique to a submission.")
    n_specs: int
    schema_fingerprint: str
    code_fingerprint: str | None = None
    code: str | None = Field(default=None, description="What the code has to be: `executor.code.comparable_hash`.")
    code_mark: str | None = Field(default=None, description="What outcomes tell of their code: `with_code`.")
    is_workflow: bool = False
    execution_timeout_s: float
    memory_limit_bytes: int | None = None
    retries: int = 0
    retry_on: tuple[RetryOn, ...] = Field(default=get_args(RetryOn), description="After what a spec is run again.")
    seed: int = Field(default=0, description="The seed of the run.")
    schedule_timeout_s: float | None = Field(default=None, description="How long a task may wait for a worker.")
    task: str | None = Field(default=None, description="The name of its tasks; that of the experiment without.")
    place: str | None = Field(default=None, description="The label of the workers that work where it is kept.")
    labels: list[dict[str, Any]] = Field(default=[], description="What its experiment asks of workers.")
    priority: int | None = Field(default=None, description="1 to 3: what is asked for first among what waits.")
    owner: str = Field(default="", description="Who has submitted it, and where: user@host.")

    @property
    def layout(self) -> RunLayout:
        """The keys of the run.

        Raises:
            ValueError: If `experiment_id` is not one.
        """
        layout = RunLayout.from_experiment_id(self.experiment_id)
        if layout is None:
            raise ValueError(f"{self.experiment_id!r} is not an experiment_id")
        return layout

    def open_storage(self) -> Storage:
        """The place where the run is kept."""
        return open_storage(self.storage)

    @property
    def metadata(self) -> dict[str, str]:
        """What a Hatchet run is marked with, so that it can be found."""
        return {
            META_RUN: self.experiment_id,
            META_KEY: run_key(self.storage, self.experiment_id),
            "owner": self.owner,
            "storage": redact_uri(self.storage),
            "session": self.session,
        }

    @property
    def task_name(self) -> str:
        """The name of its tasks."""
        return self.task or self.experiment


def pointer_of(
    experiment: RegisteredExperiment[Any, Any],
    *,
    storage: str,
    experiment_id: str,
    root_workflow_run_id: str,
    session: str,
    n_specs: int,
    is_workflow: bool = False,
    seed: int = 0,
    code: str | None = None,
    code_mark: str | None = None,
    task: str | None = None,
    place: str | None = None,
    priority: int | None = None,
) -> RunPointer:
    """Point to a run of an experiment, with the limits and fingerprints that it has here."""
    options = experiment.options
    return RunPointer(
        storage=storage,
        experiment_id=experiment_id,
        experiment=experiment.name,
        root_workflow_run_id=root_workflow_run_id,
        session=session,
        n_specs=n_specs,
        schema_fingerprint=schema_fingerprint(experiment),
        code_fingerprint=None if is_workflow else code_fingerprint(experiment),
        code=code,
        code_mark=code_mark,
        is_workflow=is_workflow,
        execution_timeout_s=options.execution_timeout.total_seconds(),
        memory_limit_bytes=options.memory_limit_bytes,
        retries=options.retry_rule.times,
        retry_on=options.retry_rule.states,
        seed=seed,
        schedule_timeout_s=None if options.schedule_timeout is None else options.schedule_timeout.total_seconds(),
        task=task,
        place=place,
        labels=desired_labels(options.desired_worker_labels),
        priority=priority,
        owner="@".join(user_and_host()),
    )


def desired_labels(desired: Mapping[str, Any] | Sequence[Any] | None) -> list[dict[str, Any]]:
    """The labels that an experiment asks for, each as its fields."""
    if not desired:
        return []
    if not isinstance(desired, Mapping):
        return [label.model_dump(mode="json") if isinstance(label, BaseModel) else dict(label) for label in desired]
    labels: list[dict[str, Any]] = []
    for key, label in desired.items():
        fields = label.model_dump(mode="json") if isinstance(label, BaseModel) else {"value": label}
        labels.append({**fields, "key": key})
    return labels


class NodeInput(_Payload):
    """The input of a node of scatter/gather."""

    run: RunPointer
    recursion: RecursionMap
    specs_per_task: int | None = Field(default=None, description="Rows in one task; None: measured.")
    todo: str | None = Field(
        default=None,
        description="The file among the run's notes that says which specs to execute, with which attempt; None: all.",
    )
    max_failures: int | None = None


class NodeOutput(_Payload):
    """What a node has done."""

    counts: dict[str, int] = Field(default={}, description="Specs by state, of those that got an outcome.")
    notices: list[str] = []
    parts: list[str] | None = Field(
        default=[],
        description="The parts of the ledger that were written, without the session's name; None for too many.",
    )
    stopped: bool = Field(default=False, description="Whether work was cancelled below this node.")
    tables: list[str] = Field(default=[], description="The final tables; of the root only.")
    totals: dict[str, int] = Field(
        default={}, description="All specs of the run by state, when the tables were made; of the root only."
    )
    damaged: list[str] = Field(default=[], description="Parts of the ledger that it could not read; of the root only.")
    table_notices: list[str] = Field(default=[], description="What is to be said of the tables; of the root only.")
    n_warnings: int = Field(default=0, description="The rows of the table warnings; of the root only.")


class RowSet(_Payload):
    """Rows of a run: `start, start + step, …` (n of them), or a list."""

    start: int = 0
    step: int = 1
    n: int = 0
    rows: list[int] | None = None
    attempt: int = 1
    attempts: list[int] | None = None

    @classmethod
    def of(cls, rows: list[int], attempts: list[int]) -> RowSet:
        """The shortest form."""
        same = len(set(attempts)) == 1
        attempt = {"attempt": attempts[0]} if same else {"attempts": attempts}
        step = rows[1] - rows[0] if len(rows) > 1 else 1
        if step > 0 and rows == list(range(rows[0], rows[0] + step * len(rows), step)):
            return cls.model_validate({"start": rows[0], "step": step, "n": len(rows), **attempt})
        return cls.model_validate({"rows": rows, "n": len(rows), **attempt})

    @property
    def indices(self) -> list[int]:
        """The rows (`sort_index`)."""
        if self.rows is not None:
            return self.rows
        return list(range(self.start, self.start + self.step * self.n, self.step))

    @property
    def attempt_numbers(self) -> list[int]:
        """The number of the next attempt, by row."""
        return self.attempts if self.attempts is not None else [self.attempt] * self.n


class LeafAssignment(_Payload):
    """What a task is to do beyond the specs themselves."""

    run: RunPointer
    rows: RowSet
    part: str = Field(description="The name of the ledger's part for outcomes that are too large to be sent.")
    budget_s: float | None = Field(
        default=None, description="After how long no more rows are begun; None: all are run."
    )

    def to_metadata(self) -> str:
        """As JSON, without what the task's name and the spec itself say; a run stores this once for each spec."""
        run = self.run.model_dump(exclude_defaults=True, exclude=_SAID_BY_SPEC)
        return json.dumps([run, self.rows.attempt_numbers[0], self.part], separators=(",", ":"))

    @classmethod
    def from_metadata(cls, text: str, experiment: str, spec: Mapping[str, Any]) -> LeafAssignment:
        """Read what `to_metadata` wrote.

        Args:
            text: The JSON.
            experiment: The name of the task.
            spec: Its input.
        """
        run, attempt, part = json.loads(text)
        pointer = RunPointer(
            **run,
            experiment=experiment,
            experiment_id=spec["experiment_id"],
            root_workflow_run_id=spec["root_workflow_run_id"],
            session="",
            n_specs=0,
        )
        return cls(run=pointer, rows=RowSet(start=spec["sort_index"], n=1, attempt=attempt), part=part)


_SAID_BY_SPEC = {
    *("experiment", "experiment_id", "root_workflow_run_id", "session", "n_specs", "schedule_timeout_s"),
    *("task", "place", "labels", "priority", "owner"),
}


class LeafOutput(_Payload):
    """What a task has done.

    Attributes:
        n: The number of specs.
        states: How many are in which state.
        outcomes: The outcomes, `pack_outcomes`; None when they are in the part.
        part: The part that the task wrote itself.
        n_parts: How many parts that are; those after the first have a number behind the name.
        busy_s: The time that the specs took, all together.
        error: The first error, for people.
        rest: The specs that were not begun, and are to be asked for again.
        result: The scalar outputs of a spec that was triggered by itself.
    """

    n: int
    states: dict[str, int] = {}
    outcomes: list[str] | None = None
    part: str | None = None
    n_parts: int = 1
    busy_s: float = 0.0
    error: str | None = None
    rest: RowSet | None = None
    result: dict[str, Any] | None = None


def pack_outcomes(tables: list[pa.Table]) -> list[str] | None:
    """Outcomes as text (Arrow IPC, zstd, base64), a text for each table; None when they are too large."""
    packed: list[str] = []
    size = 0
    for table in tables:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        text = pack_bytes(sink.getvalue().to_pybytes())
        size += len(text)
        if size > INLINE_LIMIT_BYTES:
            return None
        packed.append(text)
    return packed


def unpack_outcomes(packed: list[str]) -> list[pa.Table]:
    """The tables of `pack_outcomes`."""
    tables: list[pa.Table] = []
    for text in packed:
        with pa.ipc.open_stream(unpack_bytes(text)) as reader:
            tables.append(reader.read_all())
    return tables


def pack_bytes(raw: bytes) -> str:
    """Compress, as text."""
    # all at once: of the outcome of one spec, most is the schema
    packed = pa.compress(raw, codec="zstd", asbytes=True)
    return base64.b64encode(len(raw).to_bytes(8, "little") + packed).decode()


def unpack_bytes(text: str) -> bytes:
    """The opposite of `pack_bytes`."""
    data = base64.b64decode(text)
    size = int.from_bytes(data[:8], "little")
    return pa.decompress(data[8:], decompressed_size=size, codec="zstd", asbytes=True)
