"""The engine without a server: processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from scythe_cli.core.cores import share_of_cores
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Engine, Execute, Execution, Job
from scythe_cli.errors import EngineError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.executor.starting.interpreter import Interpreter, can_fork
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.needs import Needs
from scythe_cli.model.workflows.declared import DeclaredWorkflow

if TYPE_CHECKING:
    import pyarrow as pa

    from scythe_cli.executor.pool import Executor

__all__ = ["LocalEngine"]


class LocalEngine(Engine):
    """Executes specs in a pool of processes of this machine."""

    name = "local"

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        """See `Engine`."""
        super().__init__(settings)
        self._ahead: list[Interpreter] = []

    @contextmanager
    def warmed_up(self, workers: int) -> Generator[None]:
        """Start the interpreter of a pool, which loads this package's libraries meanwhile; see `Engine.warmed_up`."""
        with ExitStack() as steps:
            # without it, the pool starts one and tells why that cannot be done
            with suppress(EngineError):
                if can_fork():
                    interpreter = Interpreter(share_of_cores(workers))
                    self._ahead.append(interpreter)
                    steps.callback(self._close_unused, interpreter)
            yield

    def _close_unused(self, interpreter: Interpreter) -> None:
        if interpreter in self._ahead:
            self._ahead.remove(interpreter)
            interpreter.close()

    def check_needs(
        self, needs: Needs, inputs: pa.Table, *, workers: int, row_label: Callable[[int], str]
    ) -> list[str]:
        """See that every spec fits into this machine; see `Engine.check_needs`."""
        needs.check(inputs, workers, label=row_label)
        return []

    def experiment_of(self, workflow: Any) -> RegisteredExperiment[Any, Any] | None:
        """A workflow whose tasks are run one after the other, in the process of a spec."""
        return workflow.as_experiment() if isinstance(workflow, DeclaredWorkflow) else None

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute a job; see `Engine.execute`."""
        with self.kept(job) as execute:
            return execute(job, stop=stop, progress=progress)

    @contextmanager
    def kept(self, job: Job) -> Generator[Execute]:
        """Keep the processes; see `Engine.kept`."""
        with ExitStack() as steps:
            interpreter = self._ahead.pop() if self._ahead else None
            if interpreter is not None:
                steps.callback(interpreter.close)
            executor = steps.enter_context(job.executor(interpreter=interpreter))
            yield partial(self._execute, executor)

    def _execute(
        self, executor: Executor, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None
    ) -> Execution:
        # on use, so that the interpreter is started before they are loaded
        from scythe_cli.engines.tally import Tally
        from scythe_cli.run.active import RunningFile

        writer = job.writer(self.name)
        published = RunningFile(job.run.experiment_id)
        tally = Tally(job)
        stopped = False
        with published, job.rows() as rows:
            try:
                for outcomes in executor.run(rows, stop=stop):
                    if outcomes.num_rows:
                        writer.add(outcomes)
                        tally.add(outcomes)
                    else:
                        writer.flush_if_due()
                    published.write_if_due(executor.running)
                    if progress:
                        progress(tally.progress())
                    if tally.has_too_many_failures and not stopped:
                        stopped = True
                        stop.drain()
            finally:
                writer.flush()  # what has finished is kept, whatever ended the loop
            notices = executor.notices
        # told at the end, when the specs that were running then are counted as well
        return Execution([*notices, *([tally.why_stopped()] if stopped else [])], n_ended=tally.finished or None)
