"""The registry: the experiments of this process by the names that they are registered under."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

from scythe_cli.core.names import is_experiment_name
from scythe_cli.core.quantities import Duration
from scythe_cli.core.states import Isolation, KeepFiles, RetryOn, StartMethod
from scythe_cli.core.text import hint_for
from scythe_cli.errors import InvalidInputError, RegistrationError
from scythe_cli.model.experiment import (
    ExperimentOptions,
    LocalFileLocation,
    RegisteredExperiment,
    experiment_from_function,
    options_of,
    where_is,
)
from scythe_cli.model.functions.plain import experiment_of
from scythe_cli.model.functions.signature import check_input_model
from scythe_cli.model.models import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.model.needs import Need

__all__ = ["ExperimentRegistry", "ExperimentTypeExists", "ExperimentTypeNotFound", "WorkflowLike", "experiment"]


TOutput = TypeVar("TOutput", bound=ExperimentOutputSpec)


class ExperimentTypeNotFound(InvalidInputError):  # noqa: N818 - the name that scythe-engine gave it
    """No experiment is registered under this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        known = ", ".join(sorted(ExperimentRegistry.names())) or "none"
        super().__init__(f"no experiment is registered as {name!r}", hint=f"Registered: {known}.")


class ExperimentTypeExists(RegistrationError):  # noqa: N818 - the name that scythe-engine gave it
    """Another experiment is registered under this name."""

    def __init__(self, name: str, where: str = "") -> None:
        self.name = name
        super().__init__(
            f"another experiment is registered as {name!r}{where}", hint="Give one of them another name in Register()."
        )


@runtime_checkable
class WorkflowLike(Protocol):
    """A Hatchet `Workflow` or `Standalone`, as far as the registry looks at it."""

    @property
    def name(self) -> str:
        """The name under which workers serve it."""
        ...

    @property
    def input_validator_type(self) -> type[Any]:
        """The input model."""
        ...


class ExperimentRegistry:
    """All experiments of this process, by name.

    @ExperimentRegistry.Register(execution_timeout="10m")
    def simulate(input_spec: Building) -> Demand: ...
    """

    _experiments: ClassVar[dict[str, RegisteredExperiment[Any, Any]]] = {}
    _workflows: ClassVar[dict[str, WorkflowLike]] = {}

    @classmethod
    def Register(  # noqa: N802 - the name that scythe-engine gave it
        cls,
        *,
        name: str | None = None,
        description: str | None = None,
        retries: int | None = None,
        schedule_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        desired_worker_labels: Mapping[str, Any] | None = None,
        inject_workflow_run_id: bool = True,
        auto_fetch_files: bool = True,
        local_file_location: LocalFileLocation = "cache",
        memory_limit: str | int | None = None,
        isolation: Isolation = "auto",
        rows_per_process: int | None = None,
        working_directory: str = "row",
        keep_files: KeepFiles = "never",
        start_method: StartMethod = "auto",
        startup_timeout: Duration | None = None,
        retry_on: Sequence[RetryOn] | None = None,
        threads: int | None = None,
        cpus: Need | None = None,
        memory: Need | None = None,
        gpus: Need | None = None,
        tokens: Mapping[str, Need] | None = None,
        **task_config: Any,
    ) -> Callable[[Callable[..., TOutput]], RegisteredExperiment[Any, TOutput]]:
        """Make an experiment of a function; what the decorator returns can still be called like it.

        Args:
            name: The name to register it under; by default `scythe_experiment_<function>`.
            description: What it does; the docstring by default.
            retries: How often a spec that did not succeed is run again; by default once after a crash or a timeout.
            schedule_timeout: How long a task may wait for a worker (Hatchet).
            execution_timeout: How long one attempt of a spec may take; `SCYTHE_TIMEOUT_EXPERIMENT_EXECUTION`, or 1 h.
            desired_worker_labels: Which workers may run it (Hatchet).
            inject_workflow_run_id: Whether the function sees `workflow_run_id` on its spec.
            auto_fetch_files: Whether file references are fetched and replaced by local paths.
            local_file_location: `cache`, or `copied-to-tempdir` to get copies that may be changed.
            memory_limit: Memory that one spec may use, such as `4GB`.
            isolation: Whether specs share processes; see `Isolation`.
            rows_per_process: Of how many specs at most; wins over `isolation`.
            working_directory: `row` for a new folder for each spec, `project` for the project's, or a path.
            keep_files: Of which specs the files in such a folder are kept; see `KeepFiles`.
            start_method: How processes are started; see `StartMethod`.
            startup_timeout: How long loading the experiment may take; 5 minutes by default.
            retry_on: After what: a list of some of `failed`, `timeout`, `crashed` and `lost`; see `RetryOn`.
            threads: How many threads numerical libraries start in a process.
            cpus: The cores that a spec takes, or the input field that says it; 1 by default.
            memory: The memory that it takes, such as `4GB`, or the input field that says it, in bytes.
            gpus: The GPUs that it has for itself, or the input field that says it; none by default.
            tokens: By name, of what there are only some: how many it takes, or the input field that says it.
            task_config: Further options that are passed on to the engine.

        Raises:
            RegistrationError: If function, models or options cannot be an experiment's, or the name is taken.
            ConfigError: If the environment variable is no duration.
        """
        values = {key: value for key, value in locals().items() if key not in {"cls", "name", "description"}}
        return lambda fn: cls._registered(fn, name, description, options_of(fn, **values))

    @classmethod
    def _registered(
        cls, fn: Callable[..., TOutput], name: str | None, description: str | None, options: ExperimentOptions
    ) -> RegisteredExperiment[Any, TOutput]:
        experiment = experiment_from_function(fn, name=name, description=description, options=options)
        return cls._add(experiment, is_named=name is not None)

    @classmethod
    def Include(cls, task: Any) -> Any:  # noqa: N802 - the name that scythe-engine gave it
        """Register an experiment that exists already: a Hatchet `Workflow` or `Standalone`.

        Returns:
            The same object.

        Raises:
            RegistrationError: If its input model is no `ExperimentInputSpec`, or the name is taken.
        """
        if isinstance(task, RegisteredExperiment):
            experiment = cast("RegisteredExperiment[Any, Any]", task)
            cls._add(experiment)
            return experiment
        if not isinstance(task, WorkflowLike):
            raise RegistrationError(
                f"Include() takes a Hatchet Workflow or Standalone, not a {type(task).__name__}",
                hint="Use @ExperimentRegistry.Register() for a function.",
            )
        input_type = task.input_validator_type
        if not (inspect.isclass(input_type) and issubclass(input_type, ExperimentInputSpec)):
            raise RegistrationError(
                f"workflow {task.name!r}: its input model is {getattr(input_type, '__name__', input_type)}, "
                "not a subclass of ExperimentInputSpec"
            )
        check_input_model(input_type, f"workflow {task.name!r}")
        if cls._experiments.get(task.name) or cls._workflows.get(task.name, task) is not task:
            raise ExperimentTypeExists(task.name)
        cls._workflows[task.name] = task
        return task

    @classmethod
    def _add(
        cls, experiment: RegisteredExperiment[Any, TOutput], *, is_named: bool = True
    ) -> RegisteredExperiment[Any, TOutput]:
        """Register it; where functions of two modules have one name that nobody chose, the second gets its module's.

        Experiments of a project have the name that experiments.toml gives them, so this one is hardly ever seen.
        """
        present = cls._experiments.get(experiment.name)
        if experiment.name in cls._workflows or (present is not None and not _same_source(present, experiment)):
            full = f"{experiment.fn.__module__}.{experiment.fn.__name__}"
            if is_named or full == experiment.name or not is_experiment_name(full):
                raise ExperimentTypeExists(experiment.name, f": {where_is(present.fn)}" if present else "")
            return cls._add(experiment.configured(name=full))
        cls._experiments[experiment.name] = experiment
        return experiment

    @classmethod
    def get_runnable(cls, name: str) -> Any:
        """The experiment or workflow of this name.

        Raises:
            ExperimentTypeNotFound: If there is none.
        """
        if name in cls._experiments:
            return cls._experiments[name]
        if name in cls._workflows:
            return cls._workflows[name]
        raise ExperimentTypeNotFound(name)

    @classmethod
    def experiments(cls) -> list[RegisteredExperiment[Any, Any]]:
        """All registered functions."""
        return list(cls._experiments.values())

    @classmethod
    def workflows(cls) -> list[WorkflowLike]:
        """All included workflows."""
        return list(cls._workflows.values())

    @classmethod
    def names(cls) -> list[str]:
        """The names of all experiments and workflows."""
        return [*cls._experiments, *cls._workflows]

    @classmethod
    def clear(cls) -> None:
        """Forget all of them, for tests."""
        cls._experiments.clear()
        cls._workflows.clear()


def experiment(
    fn: Callable[..., Any] | None = None, /, *, name: str | None = None, description: str | None = None, **options: Any
) -> Any:
    """Make an experiment of a function; no class is needed.

        @experiment
        def yield_of(tilt: float, site: str = "Oslo") -> dict: ...

        @experiment(execution_timeout="10m", retries=0)
        def simulate(spec: Building) -> Demand: ...

    A function that takes an `Input` gets the whole spec; any other gets its inputs one by one, and what it returns
    becomes columns, as with `scythe_cli.map`.

    Args:
        fn: The function.
        name: The name to register it under; the function's by default.
        description: What it does; the docstring by default.
        options: As `ExperimentRegistry.Register` takes them.

    Returns:
        The experiment, which can still be called like the function; or a decorator, when there are only options.

    Raises:
        RegistrationError: If function, models or options cannot be an experiment's, or the name is taken.
    """
    bound = inspect.signature(ExperimentRegistry.Register).bind(**options)
    unknown = list(bound.arguments.get("task_config", {}))
    if unknown:
        known = inspect.signature(ExperimentRegistry.Register).parameters
        raise RegistrationError(f"there is no option {unknown[0]!r}", hint=hint_for(unknown[0], known))
    bound.apply_defaults()
    values = {key: value for key, value in bound.arguments.items() if key not in ("name", "description")}

    def decorate(function: Callable[..., Any]) -> RegisteredExperiment[Any, Any]:
        made = experiment_of(function, name=name, options=options_of(function, **values))
        made.description = description or made.description
        return ExperimentRegistry._add(made, is_named=name is not None)  # pyright: ignore[reportPrivateUsage]

    return decorate if fn is None else decorate(fn)


def _same_source(a: RegisteredExperiment[Any, Any], b: RegisteredExperiment[Any, Any]) -> bool:
    """Whether both come from the same place: a module that is loaded again registers its functions again."""
    # a decorator below Register() gives its own code to all functions
    first, second = inspect.unwrap(a.fn), inspect.unwrap(b.fn)
    if first.__qualname__ != second.__qualname__:
        return False
    # each run of a notebook's cell is a file of its own
    in_notebook = first.__module__ == second.__module__ == "__main__"
    return in_notebook or first.__code__.co_filename == second.__code__.co_filename
