"""Experiments: functions that are registered under a name, with the options that they run under."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    Protocol,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from pydantic import ValidationError

from scythe_cli.core.names import check_experiment_name
from scythe_cli.core.quantities import Duration, parse_duration, parse_size
from scythe_cli.errors import ConfigError, InvalidInputError, RegistrationError
from scythe_cli.model.columns import ColumnError, columns_of
from scythe_cli.model.models import (
    RESERVED_INPUT_FIELDS,
    SPEC_LEVELS,
    ExperimentInputSpec,
    ExperimentOutputSpec,
    index_columns,
    output_columns,
    output_files,
)
from scythe_cli.model.settings import TimeoutSettings

__all__ = [
    "ExperimentFunction",
    "ExperimentOptions",
    "ExperimentRegistry",
    "ExperimentTypeExists",
    "ExperimentTypeNotFound",
    "RegisteredExperiment",
    "WorkflowLike",
    "experiment_from_function",
]


TInput = TypeVar("TInput", bound=ExperimentInputSpec)
TOutput = TypeVar("TOutput", bound=ExperimentOutputSpec)

ExperimentFunction = Callable[..., Any]
"""`(input_spec) -> output` or `(input_spec, tempdir: Path) -> output`."""

LocalFileLocation = Literal["cache", "copied-to-tempdir"]


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


@dataclass(frozen=True, slots=True)
class ExperimentOptions:
    """What an experiment runs under.

    Attributes:
        retries: How often a spec that did not succeed is run again.
        execution_timeout: How long one attempt of a spec may take.
        schedule_timeout: How long a task may wait for a worker (Hatchet); None: derived from the work ahead.
        memory_limit_bytes: Memory that the process of one spec may use; None for no limit.
        desired_worker_labels: Which workers may run it (Hatchet).
        inject_workflow_run_id: Whether the function sees `workflow_run_id` on its spec.
        auto_fetch_files: Whether file references are fetched and replaced by local paths.
        local_file_location: Whether the function gets files in the shared cache or copies in its `tempdir`.
        task_config: Further options that are passed on to the engine.
    """

    retries: int = 1
    execution_timeout: timedelta = timedelta(hours=1)
    schedule_timeout: timedelta | None = None
    memory_limit_bytes: int | None = None
    desired_worker_labels: Mapping[str, Any] | None = None
    inject_workflow_run_id: bool = True
    auto_fetch_files: bool = True
    local_file_location: LocalFileLocation = "cache"
    task_config: Mapping[str, Any] = field(default_factory=dict[str, Any])


class RegisteredExperiment(Generic[TInput, TOutput]):
    """A function that is an experiment; calling it calls the function.

    Attributes:
        name: The name that it is registered under.
        description: What it does; the first paragraph of the docstring unless given.
        fn: The function.
        input_validator_type: The input model.
        output_validator_type: The output model.
        accepts_tempdir: Whether the function takes a `tempdir`.
        options: What it runs under.
    """

    def __init__(
        self,
        fn: Callable[..., TOutput],
        *,
        name: str,
        description: str,
        input_type: type[TInput],
        output_type: type[TOutput],
        accepts_tempdir: bool,
        options: ExperimentOptions,
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = name
        self.description = description
        self.input_validator_type = input_type
        self.output_validator_type = output_type
        self.accepts_tempdir = accepts_tempdir
        self.options = options

    def __call__(self, *args: Any, **kwargs: Any) -> TOutput:
        """Call the function, as if it were not registered."""
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<experiment {self.name!r}: {where_is(self.fn)}>"

    def configured(
        self, *, name: str | None = None, options: ExperimentOptions | None = None
    ) -> RegisteredExperiment[TInput, TOutput]:
        """The same experiment under another name or other options; the registry keeps the original."""
        return RegisteredExperiment(
            self.fn,
            name=name or self.name,
            description=self.description,
            input_type=self.input_validator_type,
            output_type=self.output_validator_type,
            accepts_tempdir=self.accepts_tempdir,
            options=options or self.options,
        )


def where_is(fn: Callable[..., Any]) -> str:
    """Name a function for a person: `simulate (experiments/building.py, line 12)`."""
    inner = inspect.unwrap(fn)
    name = getattr(inner, "__qualname__", repr(inner))
    try:
        file = inspect.getsourcefile(inner)
        line = inspect.getsourcelines(inner)[1]
    except (OSError, TypeError):
        return name
    return f"{name} ({_relative(file)}, line {line})"


def _relative(file: str | None) -> str:
    path = Path(file or "?")
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


class ExperimentRegistry:
    """All experiments of this process, by name."""

    _experiments: ClassVar[dict[str, RegisteredExperiment[Any, Any]]] = {}
    _workflows: ClassVar[dict[str, WorkflowLike]] = {}

    @classmethod
    def Register(  # noqa: N802 - the name that scythe-engine gave it
        cls,
        *,
        name: str | None = None,
        description: str | None = None,
        retries: int = 1,
        schedule_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        desired_worker_labels: Mapping[str, Any] | None = None,
        inject_workflow_run_id: bool = True,
        auto_fetch_files: bool = True,
        local_file_location: LocalFileLocation = "cache",
        memory_limit: str | int | None = None,
        **task_config: Any,
    ) -> Callable[[Callable[..., TOutput]], RegisteredExperiment[Any, TOutput]]:
        """Make an experiment of a function.

            @ExperimentRegistry.Register(execution_timeout="10m")
            def simulate(input_spec: Building) -> Demand: ...

        Args:
            name: The name to register it under; `scythe_experiment_<function>` unless given.
            description: What it does; the docstring unless given.
            retries: How often a spec that did not succeed is run again.
            schedule_timeout: How long a task may wait for a worker (Hatchet).
            execution_timeout: How long one attempt of a spec may take; `SCYTHE_TIMEOUT_EXPERIMENT_EXECUTION`, or 1 h.
            desired_worker_labels: Which workers may run it (Hatchet).
            inject_workflow_run_id: Whether the function sees `workflow_run_id` on its spec.
            auto_fetch_files: Whether file references are fetched and replaced by local paths.
            local_file_location: `cache`, or `copied-to-tempdir` to get copies that may be changed.
            memory_limit: Memory that one spec may use, such as `4GB`.
            task_config: Further options that are passed on to the engine.

        Returns:
            A decorator; what it returns can still be called like the function.

        Raises:
            RegistrationError: If function, models or options cannot be an experiment's, or the name is taken.
            ConfigError: If the environment variable is no duration.
        """

        def decorate(fn: Callable[..., TOutput]) -> RegisteredExperiment[Any, TOutput]:
            try:
                options = ExperimentOptions(
                    retries=_check_retries(retries),
                    execution_timeout=_default_timeout()
                    if execution_timeout is None
                    else parse_duration(execution_timeout),
                    schedule_timeout=None if schedule_timeout is None else parse_duration(schedule_timeout),
                    memory_limit_bytes=None if memory_limit is None else parse_size(memory_limit),
                    desired_worker_labels=desired_worker_labels,
                    inject_workflow_run_id=inject_workflow_run_id,
                    auto_fetch_files=auto_fetch_files,
                    local_file_location=_check_location(local_file_location),
                    task_config=task_config,
                )
            except (ValueError, TypeError) as error:
                raise RegistrationError(f"{where_is(fn)}: {error}") from None
            experiment = experiment_from_function(fn, name=name, description=description, options=options)
            cls._add(experiment)
            return experiment

        return decorate

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
        _check_input(input_type, f"workflow {task.name!r}")
        if cls._experiments.get(task.name) or cls._workflows.get(task.name, task) is not task:
            raise ExperimentTypeExists(task.name)
        cls._workflows[task.name] = task
        return task

    @classmethod
    def _add(cls, experiment: RegisteredExperiment[Any, Any]) -> None:
        present = cls._experiments.get(experiment.name)
        if experiment.name in cls._workflows or (present is not None and not _same_source(present, experiment)):
            raise ExperimentTypeExists(experiment.name, f": {where_is(present.fn)}" if present else "")
        cls._experiments[experiment.name] = experiment

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


def _same_source(a: RegisteredExperiment[Any, Any], b: RegisteredExperiment[Any, Any]) -> bool:
    """Whether both come from the same place: a module that is loaded again registers its functions again."""
    # a decorator below Register() gives its own code to all functions
    first, second = inspect.unwrap(a.fn), inspect.unwrap(b.fn)
    if first.__qualname__ != second.__qualname__:
        return False
    # each run of a notebook's cell is a file of its own
    in_notebook = first.__module__ == second.__module__ == "__main__"
    return in_notebook or first.__code__.co_filename == second.__code__.co_filename


def _default_timeout() -> timedelta:
    try:
        return TimeoutSettings().EXPERIMENT_EXECUTION
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        variable = f"SCYTHE_TIMEOUT_{found['loc'][0]}"
        raise ConfigError(
            f"the environment variable {variable} is {found['input']!r}, which is not a duration",
            hint="Write it like '90s', '10m' or '1h30m'.",
        ) from None


def _check_location(location: LocalFileLocation) -> LocalFileLocation:
    if location not in get_args(LocalFileLocation):
        raise ValueError(f"local_file_location={location!r} is neither 'cache' nor 'copied-to-tempdir'")
    return location


def _check_retries(retries: int) -> int:
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 100:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"retries={retries!r} is not a whole number from 0 to 100")
    return retries


def experiment_from_function(
    fn: Callable[..., TOutput],
    *,
    name: str | None = None,
    description: str | None = None,
    options: ExperimentOptions | None = None,
) -> RegisteredExperiment[Any, TOutput]:
    """Check a function and its models, and wrap it; the registry is not changed.

    Raises:
        RegistrationError: The message names function, file and line.
    """
    if not inspect.isfunction(fn):
        raise RegistrationError(f"{fn!r} is a {type(fn).__name__}; only a plain function can be an experiment")
    options = options or ExperimentOptions()
    where = where_is(fn)
    name = f"scythe_experiment_{fn.__name__}" if name is None else name
    try:
        check_experiment_name(name)
    except InvalidInputError as error:
        raise RegistrationError(f"{where}: {error.message}", hint=error.hint) from None
    if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise RegistrationError(f"{where}: an experiment is an ordinary function, not async and not a generator")
    hints = _type_hints(fn, where)
    first, accepts_tempdir = _check_parameters(fn, hints, where)
    input_type = _model_of(hints, first, ExperimentInputSpec, f"{where}: parameter {first!r}")
    output_type = _model_of(hints, "return", ExperimentOutputSpec, f"{where}: the return value")
    _check_input(input_type, where)
    _check_output(input_type, output_type, where)
    if options.local_file_location == "copied-to-tempdir" and options.auto_fetch_files and not accepts_tempdir:
        raise RegistrationError(
            f"{where}: local_file_location='copied-to-tempdir' needs a function that takes a tempdir",
            hint="Add the parameter `tempdir: Path`.",
        )
    return RegisteredExperiment(
        fn,
        name=name,
        description=description or _first_paragraph(fn),
        input_type=input_type,
        output_type=output_type,
        accepts_tempdir=accepts_tempdir,
        options=options,
    )


def _type_hints(fn: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return get_type_hints(fn, include_extras=True)
    except Exception as error:
        # an annotation is any expression
        raise RegistrationError(
            f"{where}: its annotations cannot be read: {error}",
            hint="Annotate with classes that are defined at the top of the module.",
        ) from error


def _check_parameters(fn: Callable[..., Any], hints: dict[str, Any], where: str) -> tuple[str, bool]:
    """Return the name of the first parameter, and whether there is a `tempdir`."""
    usage = (
        "An experiment looks like `def simulate(input_spec: MyInput) -> MyOutput`, with an optional `tempdir: Path`."
    )
    parameters = list(inspect.signature(fn).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional or parameters[0].name == "tempdir":
        raise RegistrationError(f"{where}: it takes no input spec", hint=usage)
    for parameter in parameters[1:]:
        optional = parameter.default is not parameter.empty or parameter.kind in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        )
        if parameter.name != "tempdir" and not optional:
            raise RegistrationError(f"{where}: it has a further parameter {parameter.name!r}", hint=usage)
    tempdir = next((p for p in parameters[1:] if p.name == "tempdir"), None)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if tempdir is not None and (_unannotated(hints.get("tempdir", Path)) is not Path or tempdir.kind not in by_name):
        raise RegistrationError(f"{where}: the parameter 'tempdir' must be a pathlib.Path, passed by name", hint=usage)
    return parameters[0].name, tempdir is not None


def _model_of(hints: dict[str, Any], key: str, base: type[Any], what: str) -> type[Any]:
    model = _unannotated(hints.get(key))
    if model is None:
        raise RegistrationError(f"{what} has no annotation", hint=f"Annotate it with a subclass of {base.__name__}.")
    if not (inspect.isclass(model) and issubclass(model, base)):
        raise RegistrationError(
            f"{what} is annotated with {getattr(model, '__name__', model)}, which is not a subclass of {base.__name__}"
        )
    return model


def _unannotated(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _check_input(model: type[ExperimentInputSpec], where: str) -> None:
    users = [cls for cls in model.__mro__ if cls not in ExperimentInputSpec.__mro__]
    for name in model.model_fields:
        if name in RESERVED_INPUT_FIELDS and any(name in vars(cls).get("__annotations__", {}) for cls in users):
            raise RegistrationError(
                f"{where}: the input field {model.__name__}.{name} has a name that is reserved for the run",
                hint=f"Rename it; reserved are {', '.join(sorted(RESERVED_INPUT_FIELDS))}.",
            )
        _check_field_name(model, name, ExperimentInputSpec, where)
    _check_columns(model, where)


def _check_output(input_type: type[ExperimentInputSpec], output_type: type[ExperimentOutputSpec], where: str) -> None:
    _check_columns(output_type, where)
    for name in output_type.model_fields:
        _check_field_name(output_type, name, ExperimentOutputSpec, where)
    levels = {*SPEC_LEVELS, "sort_subindex", "storage_settings", *(c.name for c in index_columns(input_type))}
    for column in (*output_columns(output_type), *output_files(output_type)):
        if column.name in levels:
            reserved = column.name in RESERVED_INPUT_FIELDS
            what = "a name that is reserved for the run" if reserved else "the name of an input field"
            raise RegistrationError(
                f"{where}: the output field {output_type.__name__}.{column.name} has {what}",
                hint="Both would be columns of the same table: rename one of them.",
            )


def _check_field_name(model: type[Any], name: str, base: type[Any], where: str) -> None:
    if hasattr(base, name):
        # pydantic takes what the base has there for the field's default
        raise RegistrationError(
            f"{where}: the field {model.__name__}.{name} has the name of an attribute of {base.__name__}",
            hint="Rename it.",
        )
    if not name.isidentifier() or len(name) > 128:
        raise RegistrationError(f"{where}: {model.__name__} has a field named {name!r}", hint="Use a Python name.")


def _check_columns(model: type[Any], where: str) -> None:
    try:
        columns_of(model)
    except ColumnError as error:
        raise RegistrationError(f"{where}: {error}") from None


def _first_paragraph(fn: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(fn) or "").split("\n\n")[0].split())


def with_options(options: ExperimentOptions, **changes: Any) -> ExperimentOptions:
    """The options with those changes that are not None."""
    return replace(options, **{name: value for name, value in changes.items() if value is not None})
