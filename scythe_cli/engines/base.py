"""The seam between a run and what executes its specs.

An engine takes rows and gives outcomes: it reads the rows that a `Job` has to execute from the run's `specs.pq`, and
writes what became of each to the run's ledger. Claiming a run, retrying, gathering tables and telling of them is the
services' business and the same for every engine.

Engines are found by name through the entry point group `scythe_cli.engines`; `scythe_cli.testing` has the tests that
each must pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from scythe_cli.core.progress import ProgressCallback
from scythe_cli.core.records import FleetWorker
from scythe_cli.engines.job import Execution, Job, Priority, with_attempts
from scythe_cli.engines.outline import Outline, local_outline
from scythe_cli.errors import ConfigError, UsageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.needs import Needs
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.records import QueueRecord
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from scythe_cli.run.manifest import RecursionRecord

__all__ = [
    "CANCEL_GRACE_S",
    "Engine",
    "EngineCheck",
    "Execute",
    "Execution",
    "Job",
    "Priority",
    "Submitted",
    "with_attempts",
]

CANCEL_GRACE_S = 30.0
"""How long specs of a run that is cancelled may take to finish."""


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """One thing that an engine has tried out.

    Attributes:
        name: What was tried.
        ok: Whether it works.
        detail: What was seen.
        remedy: What to do when it does not work.
    """

    name: str
    ok: bool
    detail: str
    remedy: str | None = None


class Submitted(Protocol):
    """A job that an engine works on by itself."""

    @property
    def workflow_run_id(self) -> str:
        """The id of the execution, as the engine's own tools show it."""
        ...

    @property
    def look(self) -> str | None:
        """A command of the engine's own that shows the execution; None where there is none."""
        ...

    def wait(
        self,
        *,
        stop: StopSignal | None = None,
        progress: ProgressCallback | None = None,
        timeout_s: float | None = None,
    ) -> Execution:
        """Wait for the end of the run.

        Args:
            stop: Ends the wait; the run goes on.
            progress: Called as the run goes on.
            timeout_s: How long to wait at most.

        Raises:
            WaitTimeoutError: If the run is not done in time; it goes on.
            EngineError: If the run failed as a whole, or the engine cannot be reached for minutes.
        """
        ...


class Execute(Protocol):
    """Executes a job; see `Engine.execute`."""

    def __call__(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute it to its end, or until `stop` says otherwise."""
        ...


class Engine(ABC):
    """Executes the specs of a job and writes their outcomes to the run's ledger.

    An engine belongs to one project: it is made from the table of its name in experiments.toml, and has no state
    beside what it was made from, and what it has started ahead.

    Attributes:
        name: The name that the configuration and `--engine` use.
        needs_lease: Whether one process at a time is at work on a run, which holds the run's lease as long.
    """

    name: str
    needs_lease: ClassVar[bool] = True

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        """Make the engine of a project.

        Args:
            settings: What the table of its name in the configuration says.

        Raises:
            UsageError: If something in it is wrong.
        """
        self.settings = dict(settings or {})

    @property
    def label(self) -> str:
        """What people call it: 'local', 'embedded Hatchet'."""
        return self.name

    @property
    def outlives_client(self) -> bool:
        """Whether a run goes on when the process ends that has submitted it."""
        return False

    def check(self) -> str | None:
        """See that the engine can be used; returns what is known of it, None where there is nothing to reach.

        Raises:
            EngineError: If it cannot be reached.
        """
        return None

    def check_needs(
        self, needs: Needs, inputs: pa.Table, *, workers: int, row_label: Callable[[int], str]
    ) -> list[str]:
        """See that every spec can get what it takes, before a run is written.

        An engine that reserves nothing for a spec runs specs of a fixed size as its workers have slots, and refuses
        those of which only some may run at the same time.

        Args:
            needs: What a spec takes; never what takes one core and nothing else.
            inputs: The inputs of all specs.
            workers: The number of processes that were asked for.
            row_label: Names a row for a person.

        Returns:
            Notices for the user.

        Raises:
            ConfigError: If the engine cannot give what is asked for.
            InvalidInputError: If a spec takes more than there is.
        """
        del inputs, workers, row_label
        if needs.tokens or not needs.is_fixed:
            what = "tokens" if needs.tokens else f"cores, memory or GPUs for each case ({', '.join(needs.fields)})"
            raise ConfigError(
                f"the {self.label} engine does not keep account of {what}",
                hint="Run it with --engine local, or take that out of the experiment's options.",
            )
        if needs.gpus:
            raise ConfigError(
                f"the {self.label} engine gives no GPUs to single cases",
                hint="Start a worker for each GPU with one slot, with CUDA_VISIBLE_DEVICES set, and leave `gpus` out.",
            )
        return [f"{self.label} does not reserve cores or memory for cases: its workers run as many as they have slots"]

    def examine(self, storage: Storage) -> list[EngineCheck]:
        """Try out what `check` does not, since it takes longer: what `scythe doctor` asks as well.

        Args:
            storage: Where runs are kept.

        Raises:
            EngineError: If it cannot be tried out.
        """
        del storage
        return []

    def for_experiment(self, name: str) -> Engine:
        """The engine with the settings of one experiment, where experiments may have their own."""
        del name
        return self

    def prepare(self) -> None:  # noqa: B027 - most engines have nothing to load
        """Load what `check` and `submit` will need; called beside the reading of a large file."""

    @contextmanager
    def warmed_up(self, workers: int) -> Generator[None]:
        """Surrounds the checking of cases and their execution: what takes time to start may be started at once.

        Args:
            workers: The number of processes that will execute them, as far as it is known.
        """
        del workers
        yield

    @contextmanager
    def loading(self) -> Generator[None]:
        """Surrounds the loading of the project's modules, which may use the engine's own objects."""
        yield

    def experiment_of(self, workflow: Any) -> RegisteredExperiment[Any, Any] | None:
        """A workflow of several tasks in the form of an experiment; None where the engine cannot run one."""
        del workflow
        return None

    @abstractmethod
    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute a job to its end, or until `stop` says otherwise.

        Raises:
            EntrypointError: If the experiment cannot be loaded where specs run.
            EngineError: If no process can be started, or the engine cannot be reached.
            StorageError: If outcomes cannot be written.
        """

    @contextmanager
    def kept(self, job: Job) -> Generator[Execute]:
        """Execute several jobs of one run while inside, and keep from one to the next what can be kept.

        Args:
            job: One of them: they differ in which specs they have.

        Returns:
            What executes a job; see `execute`.
        """
        del job
        yield self.execute

    def submit(self, job: Job) -> Submitted:
        """Hand a job over, and return while the engine works on it.

        Raises:
            UsageError: If the engine does not outlive its client, or is still at work on the run.
            EngineError: If the engine cannot be reached.
        """
        del job
        raise UsageError(f"the {self.label} engine runs cases in this process, so it has to be waited for")

    def workers(self, experiment: str) -> list[str] | None:
        """The names of the workers that serve an experiment; None for an engine that has no workers.

        Raises:
            EngineError: If the engine cannot be asked.
        """
        del experiment
        return None

    def queue(self, storage: Storage, run: RunLayout) -> QueueRecord | None:
        """What of a run is in the queue of the engine; None for an engine that has none to show.

        Raises:
            EngineError: If the engine cannot be asked.
        """
        del storage, run
        return None

    def fleet(
        self, experiments: Sequence[RegisteredExperiment[Any, Any]], root: Path | None
    ) -> list[FleetWorker] | None:
        """The workers that are alive; None for an engine that has no workers.

        Args:
            experiments: Those of this project, with whose code that of the workers is compared.
            root: The project's folder.

        Raises:
            EngineError: If the engine cannot be asked.
        """
        del experiments, root
        return None

    def unserved(self, storage: Storage, run: RunLayout, experiment: str) -> str | None:
        """Why no worker can be at work on a run, for people; None when one can, or the engine has no workers.

        Args:
            storage: Where the run is kept.
            run: The run.
            experiment: The name of its experiment.

        Raises:
            EngineError: If the engine cannot be asked.
        """
        del storage, run
        workers = self.workers(experiment)
        return f"no worker serves {experiment!r}; `scythe worker` starts one" if workers == [] else None

    def unserved_experiment(
        self, experiment: RegisteredExperiment[Any, Any], root: Path | None, location: str
    ) -> str | None:
        """Why no worker could be at work on a run of an experiment as it is here, for people; None when one could.

        Args:
            experiment: The experiment.
            root: The project's folder.
            location: Where runs are kept.

        Raises:
            EngineError: If the engine cannot be asked.
        """
        del experiment, root, location
        return None

    def cancel(self, storage: Storage, run: RunLayout, *, grace_s: float = CANCEL_GRACE_S) -> int:
        """Give `cancelled` to every spec that has no outcome, stop what has not been started, and then what runs.

        Args:
            storage: Where the run is kept.
            run: The run.
            grace_s: How long specs that are being run may take to finish, so that their outcomes take the place of
                `cancelled`, before they are stopped as well.

        Returns:
            The number of specs that were given the outcome.

        Raises:
            UsageError: If runs of this engine are stopped where they run.
            EngineError: If the engine cannot be reached.
            StorageError: If the run cannot be read or written.
        """
        del storage, grace_s
        raise UsageError(
            f"{run.experiment_id} does not run on a fleet",
            hint="Stop a local run with Ctrl-C where it runs; `scythe retry` resumes it.",
        )

    def outline(
        self,
        n: int,
        *,
        workers: int,
        recursion: RecursionRecord,
        specs_per_task: int | str,
        spec_s: float | None,
    ) -> Outline:
        """How a run would be cut into pieces, as far as it is known before.

        Args:
            n: The number of specs to execute.
            workers: The number of processes that were asked for.
            recursion: The shape of scatter/gather.
            specs_per_task: Specs of one task, or `auto`.
            spec_s: How long one spec takes, in seconds; None when it is not known.
        """
        del recursion, specs_per_task
        return local_outline(n, workers, spec_s)
