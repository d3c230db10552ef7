"""A task: some specs of a run, through the worker's processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from scythe_cli.arrow.build import array_of
from scythe_cli.arrow.seeds import CONTENT, HIDDEN, REPETITION
from scythe_cli.core.states import State
from scythe_cli.engines.hatchet.nodes.matching import Matching
from scythe_cli.engines.hatchet.nodes.process_pool import ProcessPool
from scythe_cli.engines.hatchet.nodes.results import failed_lines, failure_rows, part_names, rest_of
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore
from scythe_cli.engines.hatchet.payloads import (
    META_LEAF,
    ROWS_KEY,
    LeafAssignment,
    LeafOutput,
    RowSet,
    RunPointer,
    pack_outcomes,
)
from scythe_cli.engines.hatchet.routing import ANY_CODE
from scythe_cli.errors import CodeChangedError, EntrypointError, ScytheError
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.protocol import ATTEMPT
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.executor.rows.failure import Failure, failure_from
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.reference import ExperimentTarget
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.model.outcome_schema import SCALAR, with_code
from scythe_cli.model.spec_rows import table_from_specs, with_meta
from scythe_cli.run.ledger import merge_outcomes, write_part

if TYPE_CHECKING:
    from hatchet_sdk import Context


__all__ = ["LeafRunner", "OutdatedWorkerError", "SpecFailedError", "leaf_timeout"]


_GRACE = timedelta(minutes=5)


class OutdatedWorkerError(ScytheError):
    """A worker has other code by now than it has told the engine; another one runs the task."""


class SpecFailedError(ScytheError):
    """A spec that was triggered by itself did not succeed."""


def leaf_timeout(execution_timeout_s: float, retries: int, n_rows: int = 1) -> timedelta:
    """How long a task may take: all attempts of all of its specs, and the start of a process for each."""
    return timedelta(seconds=execution_timeout_s * (retries + 1) * n_rows) + _GRACE


@dataclass
class LeafRunner:
    """Runs the tasks of one experiment on this worker.

    Attributes:
        experiment: What to call.
        root: The project's folder.
        pool: The worker's processes.
        threads: One for each slot.
        specs: The specs of runs.
        worker: The name that outcomes tell.
        default_storage: Where output files of a spec go that was triggered by itself.
        allow_mismatch: Whether runs of another version of the experiment are executed.
        further_names: Names of tasks to serve beside those that fit the experiment.
        outdated: Called, with a reason, when the code is not any more what the worker has told the engine.
    """

    experiment: RegisteredExperiment[Any, Any]
    root: Path | None
    pool: ProcessPool
    threads: ThreadPoolExecutor
    specs: SpecStore
    worker: str
    default_storage: str
    allow_mismatch: bool = False
    further_names: Collection[str] = ()
    outdated: Callable[[str], None] = lambda reason: None
    names: list[str] = field(init=False)
    matching: Matching = field(init=False)
    timeout: timedelta = field(init=False)

    def __post_init__(self) -> None:
        self.matching = Matching(self.experiment, self.root, allows_mismatch=self.allow_mismatch)
        self.names = sorted({self.experiment.name, self.matching.route, *self.further_names})
        if self.allow_mismatch:
            self.names.append(f"{self.experiment.name}.{ANY_CODE}")
        options = self.experiment.options
        self.timeout = leaf_timeout(options.execution_timeout.total_seconds(), options.retry_rule.times)

    async def run(self, task_input: Mapping[str, Any], ctx: Context) -> LeafOutput:
        """Run one task.

        Args:
            task_input: A spec, or `ROWS_KEY` with rows of a run.
            ctx: What the engine says about the task.

        Raises:
            SpecFailedError: If the spec was triggered by itself, and did not succeed.
            StorageError: If this worker does not accept runs at that place, specs cannot be read, or large outcomes
                cannot be written; the engine tries again.
        """
        told = ctx.additional_metadata.get(META_LEAF)
        if ROWS_KEY in task_input:
            assignment = LeafAssignment.model_validate(task_input[ROWS_KEY])
        elif isinstance(told, str) and ctx.parent_workflow_run_id is not None:
            assignment = LeafAssignment.from_metadata(told, self.experiment.name, task_input)
        else:
            return await self._run_by_itself(task_input, ctx)
        run, rows = assignment.run, assignment.rows
        self.specs.admit(run)
        needed = leaf_timeout(run.execution_timeout_s, run.retries, rows.n)
        if needed > self.timeout:
            await ctx.aio_refresh_timeout(needed)
        tables = await self._outcomes(assignment, None if ROWS_KEY in task_input else task_input, ctx)
        packed = pack_outcomes(tables)
        part, n_parts = None, 1
        if packed is None:
            part = assignment.part
            n_parts = await asyncio.to_thread(_write_parts, run, part, tables)
        for line in failed_lines(tables):
            ctx.log(line)  # seen with the task in the dashboard, and in what the worker prints
        rest = None if assignment.budget_s is None else rest_of(rows, tables)
        return _output(rows.n, tables, packed, part).model_copy(update={"rest": rest, "n_parts": n_parts})

    async def _outcomes(
        self, assignment: LeafAssignment, spec: Mapping[str, Any] | None, ctx: Context
    ) -> list[pa.Table]:
        run, rows = assignment.run, assignment.rows
        target, reason = await self.matching.target_for(run)
        if reason is not None:
            if self.matching.is_outdated():
                self._hand_back(reason)
            return [self._failed(run, rows, Failure(State.FAILED, "SchemaMismatch", f"{reason}; worker {self.worker}"))]
        try:
            table = (
                await asyncio.to_thread(self.specs.read, run, rows.indices) if spec is None else self._table_of(spec)
            )
        except ValidationError as error:
            return [self._failed(run, rows, failure_from(error))]
        if rows.n == 1:
            # the id that the dashboard shows
            table = _replaced(table, "workflow_run_id", array_of([ctx.workflow_run_id], pa.string()))
        table = table.append_column(ATTEMPT, array_of(rows.attempt_numbers, pa.int32()))
        context = RunContext(run.storage, run.experiment_id, run.root_workflow_run_id, self.worker, run.seed)
        limits = replace(
            Limits.of(self.experiment.options),
            execution_timeout_s=run.execution_timeout_s,
            memory_limit_bytes=run.memory_limit_bytes,
            retries=run.retries,
            retry_on=run.retry_on,
        )
        try:
            return await self._execute(target, context, limits, table, assignment.budget_s)
        except CodeChangedError as error:
            self._hand_back(error.message)
        except EntrypointError as error:
            failure = Failure(State.FAILED, type(error).__name__, f"on worker {self.worker}: {error.message}")
            return [self._failed(run, rows, failure)]

    def _hand_back(self, reason: str) -> NoReturn:
        """Let another worker run a task: no row fails because a file was edited here since this worker started."""
        self.outdated(reason)
        raise OutdatedWorkerError(f"handed back by worker {self.worker}, whose code has changed: {reason}")

    async def _execute(
        self,
        target: ExperimentTarget,
        context: RunContext,
        limits: Limits,
        table: pa.Table,
        budget_s: float | None = None,
    ) -> list[pa.Table]:
        stop = StopSignal()
        batches = table.combine_chunks().to_batches()
        loop = asyncio.get_running_loop()
        run = partial(self.pool.run, target, context, limits, batches, stop, budget_s)
        future = loop.run_in_executor(self.threads, run)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.kill()
            await asyncio.wait([future])
            raise

    def _table_of(self, spec: Mapping[str, Any]) -> pa.Table:
        model: type[ExperimentInputSpec] = self.experiment.input_validator_type
        # as JSON, and not as Python objects: a strict model takes a date as text only from JSON
        cells = {name: value for name, value in spec.items() if name not in HIDDEN}
        instance = model.model_validate_json(json.dumps(cells), by_alias=True, by_name=True)
        table = with_meta(table_from_specs([instance], model), instance.experiment_id, instance.root_workflow_run_id)
        if CONTENT in spec:
            table = table.append_column(CONTENT, array_of([spec[CONTENT]], pa.string()))
        if REPETITION in spec:
            table = table.append_column(REPETITION, array_of([spec[REPETITION]], pa.int32()))
        return _replaced(table, "sort_index", array_of([instance.sort_index], pa.int64()))

    def _failed(self, run: RunPointer, rows: RowSet, failure: Failure) -> pa.Table:
        return failure_rows(run, rows, failure, worker=self.worker)

    async def _run_by_itself(self, task_input: Mapping[str, Any], ctx: Context) -> LeafOutput:
        """Run a spec that belongs to no run: it was triggered by hand, and nothing goes to any ledger."""
        table = self._table_of(task_input)
        table = _replaced(table, "workflow_run_id", array_of([ctx.workflow_run_id], pa.string()))
        experiment_id = task_input.get("experiment_id") or f"{self.experiment.name}/by-hand/{ctx.workflow_run_id}"
        context = RunContext(self.default_storage, str(experiment_id), ctx.workflow_run_id, self.worker)
        limits = Limits.of(self.experiment.options)
        tables = await self._execute(self.matching.target, context, limits, table)
        row = next(row for t in tables for row in t.filter(t.column("final")).to_pylist())
        if row["state"] != State.SUCCEEDED.value:
            raise SpecFailedError("\n".join(filter(None, (f"{row['error_type']}: {row['message']}", row["traceback"]))))
        scalars = {name.removeprefix(SCALAR): row[name] for name in row if name.startswith(SCALAR)}
        return _output(1, tables, None, None).model_copy(update={"result": to_jsonable_python(scalars)})


def _write_parts(run: RunPointer, name: str, tables: list[pa.Table]) -> int:
    storage = run.open_storage()
    merged = merge_outcomes(tables)
    for part, table in zip(part_names(name, len(merged)), merged, strict=True):
        write_part(storage, run.layout, part, with_code(table, run.code_mark))
    return len(merged)


def _output(n: int, tables: list[pa.Table], packed: list[str] | None, part: str | None) -> LeafOutput:
    states: dict[str, int] = {}
    error: str | None = None
    busy_s = 0.0
    for table in tables:
        busy_s += sum(duration or 0.0 for duration in table.column("duration_s").to_pylist())
        for row in table.select(["state", "final", "error_type", "message"]).to_pylist():
            if row["final"]:
                states[row["state"]] = states.get(row["state"], 0) + 1
            if error is None and row["error_type"]:
                error = f"{row['error_type']}: {row['message']}"[:500]
    return LeafOutput(n=n, states=states, outcomes=packed, part=part, busy_s=busy_s, error=_without_nul(error))


def _without_nul(text: str | None) -> str | None:
    # the engine's database takes no NUL in a document
    return None if text is None else text.replace("\0", "�")


def _replaced(table: pa.Table, name: str, values: pa.Array[Any]) -> pa.Table:
    position = table.schema.get_field_index(name)
    return table.set_column(position, table.schema.field(position), values)
