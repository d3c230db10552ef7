"""`Engine` on a Slurm cluster: a run is one job array, with a job behind it that gathers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scythe_cli.config.slurm import SlurmConfig
from scythe_cli.core.names import timed_name
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.core.quantities import format_duration
from scythe_cli.engines.base import CANCEL_GRACE_S, Engine, EngineCheck, Execution, Job
from scythe_cli.engines.cancelled import write_cancelled
from scythe_cli.engines.outline import Outline
from scythe_cli.engines.slurm.assignment import (
    Assignment,
    closing_name,
    limits_document,
    read_end,
    read_wave,
    write_stop,
)
from scythe_cli.engines.slurm.commands import Slurm
from scythe_cli.engines.slurm.probe import probe_node
from scythe_cli.engines.slurm.queue import RUNNING, QueuedTask, parse_queue, seconds_of, told_reasons
from scythe_cli.engines.slurm.sizing import wave_of, with_memory_of
from scythe_cli.engines.slurm.submitting import sized, submit_wave
from scythe_cli.engines.slurm.waiting import SlurmRunRef
from scythe_cli.errors import ConfigError, EngineError, EntrypointError, UsageError
from scythe_cli.executor.code import target_of_code
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.model.needs import Needs
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import read_manifest
from scythe_cli.run.outcomes.durations import earlier_durations
from scythe_cli.run.records import QueueRecord
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from scythe_cli.run.manifest import RecursionRecord

__all__ = ["SlurmEngine"]


_DEFAULT_ARRAY = 1000
_LOOKS_S = 1.0


class SlurmEngine(Engine):
    """Executes cases in jobs of a Slurm cluster.

    Attributes:
        config: What the table `[slurm]` says.
        slurm: Slurm's commands.
    """

    name = "slurm"
    needs_lease = False  # a case belongs to one task of the one array that is in the queue

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        """Make the engine of a project.

        Args:
            settings: The keys of `SlurmConfig`, and `experiments`: by name, what is not the same for one.

        Raises:
            UsageError: If something in it is wrong.
        """
        super().__init__(settings)
        self._overrides: Mapping[str, Any] = self.settings.get("experiments", {})
        self._table = {name: value for name, value in self.settings.items() if name != "experiments"}
        try:
            self.config = SlurmConfig.model_validate(self._table)
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(f"[slurm]: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        self.slurm = Slurm()

    @property
    def outlives_client(self) -> bool:
        """Whether a run goes on when the process ends that has submitted it."""
        return True

    def for_experiment(self, name: str) -> SlurmEngine:
        """The engine with what `[experiments.<name>.slurm]` says."""
        if name not in self._overrides:
            return self
        engine = SlurmEngine({**self._table, **self._overrides[name]})
        engine.slurm = self.slurm
        return engine

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute a job, and wait for its end; see `Engine.execute`. When `stop` ends the wait, the run goes on."""
        if not job.n_rows:
            return Execution()
        return self.submit(job).wait(stop=stop, progress=progress, timeout_s=job.wait_timeout_s)

    def submit(self, job: Job) -> SlurmRunRef:
        """Queue the array of a job and the job behind it, and return at once.

        Raises:
            UsageError: If jobs of the run are still in the queue.
            EntrypointError: If the function is in no module, or its code is not what it has to be.
            ConfigError: If the settings ask for what the cluster does not have.
            EngineError: If Slurm refuses the jobs, or does not answer.
        """
        engine = self.for_experiment(job.experiment.name)
        if engine is not self:
            return engine.submit(job)
        name = _job_name(job.run, job.workflow_run_id)
        if job.todo is not None and self._is_at_work(job, name):
            raise UsageError(
                f"{job.run.experiment_id} is still in Slurm's queue",
                hint="`scythe status` shows its progress, `scythe cancel` stops it.",
            )
        assignment = self._assignment(job, name)
        known = earlier_durations(job.storage, job.run.experiment)
        row_s = None if known is None else known.mean_s
        assignment = sized(assignment, row_s, self.slurm.max_array_size())
        record = submit_wave(self.slurm, job.storage, assignment, job.todo)
        return SlurmRunRef(job, record.array, assignment.session, name, assignment.log_folder, self.slurm)

    def _is_at_work(self, job: Job, name: str) -> bool:
        """Whether jobs of a run are in the queue; a closing job that has said its last word takes a moment to end."""
        record = read_wave(job.storage, job.run)
        if record is not None and read_end(job.storage, job.run, record.session) is not None:
            return False
        return any(task.is_active for task in self._tasks(name))

    def _assignment(self, job: Job, name: str) -> Assignment:
        target = target_of_code(job.experiment, job.root, job.code)
        if target.is_by_value:
            raise EntrypointError(
                f"{job.experiment.name!r} is in no module, so that nodes of a cluster cannot load it",
                hint="Put the function into a .py file and import it from there.",
            )
        session = timed_name("slurm")
        return Assignment(
            storage=job.storage.location,
            experiment_id=job.run.experiment_id,
            experiment=job.experiment.name,
            workflow_run_id=job.workflow_run_id,
            session=session,
            n_specs=job.n_specs,
            n_rows=job.n_rows,
            is_whole=job.todo is None,
            seed=job.seed,
            max_failures=job.max_failures,
            code_mark=job.code_mark,
            target=_document(target.to_bytes()),
            limits=limits_document(Limits.of(job.experiment.options)),
            settings=with_memory_of(self.config, job.experiment.options.needs),
            job_name=name,
            log_folder=_log_folder(job),
        )

    def check(self) -> str:
        """See that Slurm answers and has the partition; returns what is known of it.

        Raises:
            ConfigError: If there is no such partition, or the time is longer than it allows.
            EngineError: If sbatch is not installed, or the controller does not answer.
        """
        version = self.slurm.version()
        partitions = self.slurm.partitions()
        wanted = self.config.partition
        unknown = [each for each in (wanted or "").split(",") if each and each not in partitions]
        if unknown:
            raise ConfigError(
                f"[slurm] partition: there is no {unknown[0]!r} on this cluster",
                hint=f"It has {', '.join(sorted(partitions)) or 'none that you may use'}.",
            )
        limits_s = [seconds_of(partitions[each]) for each in (wanted or "").split(",") if each]
        time = self.config.time
        # a quality of service may allow more than its partition
        if time is not None and self.config.qos is None and limits_s:
            longest_s = max(float("inf") if limit is None else limit for limit in limits_s)
            if time.total_seconds() > longest_s:
                raise ConfigError(
                    f"[slurm] time: {format_duration(time.total_seconds())} is longer than partition {wanted!r} allows",
                    hint=f"It allows {format_duration(longest_s)}.",
                )
        return f"Slurm {version}, partition {wanted or 'of the cluster’s choice'}"

    def check_needs(
        self, needs: Needs, inputs: pa.Table, *, workers: int, row_label: Callable[[int], str]
    ) -> list[str]:
        """See that every spec fits into a task; see `Engine.check_needs`."""
        del workers
        if needs.tokens:
            raise ConfigError(
                "on Slurm, tokens are licences of the cluster, which a task reserves as a whole",
                hint='Take tokens out of the experiment, and ask for them with [slurm] extra = ["--licenses=NAME:N"].',
            )
        config = self.config
        remedy = "Ask for larger tasks: [slurm] cpus, memory and gpus."
        memory = None if config.memory is None else int(config.memory)
        if needs.memory is not None and memory is None and not needs.learns_memory:
            raise ConfigError(
                "cases say what memory they take, and tasks do not", hint="Set [slurm] memory to that of a task."
            )
        if needs.gpus and config.gpus is None:
            raise ConfigError("cases take GPUs, and tasks do not", hint="Set [slurm] gpus to those of a task.")
        n_gpus = config.n_gpus
        needs.check(inputs, config.cpus, memory_bytes=memory, n_gpus=n_gpus, label=row_label, remedy=remedy)
        return []

    def examine(self, storage: Storage) -> list[EngineCheck]:
        """What limits a run, and whether a node sees the storage; see `Engine.examine`."""
        limits = self.slurm.limits()
        shown = ", ".join(f"{name} {limits[name]}" for name in ("MaxArraySize", "MaxJobCount") if name in limits)
        return [EngineCheck("limits", ok=True, detail=shown), probe_node(self.slurm, storage, self.config)]

    def queue(self, storage: Storage, run: RunLayout) -> QueueRecord | None:
        """What of a run is in Slurm's queue; see `Engine.queue`."""
        manifest = read_manifest(storage, run)
        record = read_wave(storage, run)
        if manifest is None or record is None:
            return None
        name = _job_name(run, manifest.workflow_run_id)
        tasks = [task for task in self._tasks(name) if task.is_active]
        closing = [task for task in tasks if task.name == closing_name(name)]
        tasks = [task for task in tasks if task.name == name]
        running = sum(task.state in RUNNING for task in tasks)
        waiting = [task for task in tasks if task.state not in RUNNING]
        return QueueRecord(
            jobs=[record.array, record.closing],
            queued=len(waiting),
            running=running,
            done=max(0, record.n_tasks - len(tasks)),
            closing=bool(closing),
            reasons=told_reasons(waiting if tasks else closing),
        )

    def cancel(self, storage: Storage, run: RunLayout, *, grace_s: float = CANCEL_GRACE_S) -> int:
        """Cancel tasks that wait, and let those that run begin no more cases before they end; see `Engine.cancel`."""
        record, manifest = read_wave(storage, run), read_manifest(storage, run)
        if record is not None:
            # first of all: the closing job looks for it before it submits anything
            write_stop(storage, run, record.session, "the run was cancelled")
        n = write_cancelled(storage, run)
        if record is not None and manifest is not None:
            name = _job_name(run, manifest.workflow_run_id)
            if active := self._active(name):
                self.slurm.cancel(active, "--state=PENDING")
                self.slurm.cancel(active, "--signal=USR1", "--batch")
            ends_s = time.monotonic() + grace_s
            while (active := self._active(name)) and time.monotonic() < ends_s:
                time.sleep(_LOOKS_S)
            if active:
                self.slurm.cancel(active)
        return n

    def _active(self, name: str) -> list[str]:
        """The jobs of a run that wait or run."""
        return sorted({task.job for task in self._tasks(name) if task.is_active and task.name == name})

    def outline(
        self,
        n: int,
        *,
        workers: int,
        recursion: RecursionRecord,
        specs_per_task: int | str,
        spec_s: float | None,
    ) -> Outline:
        """How a cluster would cut a run; see `Engine.outline`."""
        del workers, recursion, specs_per_task
        cpus = self.config.cpus
        if spec_s is None or not n:
            return Outline(cores_per_task=cpus)
        limit_s = None if self.config.time is None else self.config.time.total_seconds()
        wave = wave_of(
            n,
            spec_s,
            cpus=cpus,
            task_s=60 * self.config.task_minutes,
            time_limit_s=limit_s,
            max_tasks=self._max_tasks(),
        )
        at_once = min(wave.n_tasks, self.config.array_limit or wave.n_tasks)
        return Outline(tasks=wave.n_tasks, rows_per_task=wave.rows_per_task, cores_per_task=cpus, tasks_at_once=at_once)

    def _max_tasks(self) -> int:
        with suppress(EngineError, ConfigError):
            return self.slurm.max_array_size()
        return _DEFAULT_ARRAY

    def _tasks(self, name: str) -> list[QueuedTask]:
        return parse_queue(self.slurm.queue([name, closing_name(name)]))


def _job_name(run: RunLayout, workflow_run_id: str) -> str:
    """The name of the jobs of a run, by which they are found in the queue."""
    experiment = "".join(c if c.isalnum() or c in "-_." else "-" for c in run.experiment)
    return f"{experiment}-{run.version}-{workflow_run_id[:8]}"


def _log_folder(job: Job) -> str:
    """Where jobs write what they have to say: in the run's folder, or beside the project for a run in S3."""
    here = job.storage.local_path(job.run.experiment_id)
    folder = (job.root or Path.cwd()).absolute() / ".scythe" / "slurm" if here is None else here / "slurm"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"{folder} cannot be made for the logs of jobs: {error.strerror or error}") from None
    return str(folder)


def _document(data: bytes) -> dict[str, Any]:
    import json

    return json.loads(data)
