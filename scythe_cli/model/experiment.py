"""A function that is an experiment, and the options that it runs under."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, Literal, TypeVar, get_args

from pydantic import ValidationError

from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.names import check_experiment_name
from scythe_cli.core.quantities import Duration, parse_duration, parse_size
from scythe_cli.core.states import Isolation, KeepFiles, RetryOn, RetryRule, StartMethod
from scythe_cli.errors import ConfigError, InvalidInputError, RegistrationError
from scythe_cli.model.functions.signature import signature_of
from scythe_cli.model.models import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.model.needs import Needs, needs_of
from scythe_cli.model.settings import TimeoutSettings

__all__ = [
    "ExperimentFunction",
    "ExperimentOptions",
    "LocalFileLocation",
    "RegisteredExperiment",
    "experiment_from_function",
    "first_paragraph",
    "options_of",
    "where_is",
    "with_options",
]


TInput = TypeVar("TInput", bound=ExperimentInputSpec)
TOutput = TypeVar("TOutput", bound=ExperimentOutputSpec)

ExperimentFunction = Callable[..., Any]
"""`(input_spec) -> output` or `(input_spec, tempdir: Path) -> output`."""

LocalFileLocation = Literal["cache", "copied-to-tempdir"]


@dataclass(frozen=True, slots=True)
class ExperimentOptions:
    """What an experiment runs under.

    Attributes:
        retries: How often a spec that did not succeed is run again; None where nobody has said it: see `retry_rule`.
        execution_timeout: How long one attempt of a spec may take.
        schedule_timeout: How long a task may wait for a worker (Hatchet); None: derived from the work ahead.
        memory_limit_bytes: Memory that the process of one spec may use; None for no limit.
        desired_worker_labels: Which workers may run it (Hatchet).
        inject_workflow_run_id: Whether the function sees `workflow_run_id` on its spec.
        auto_fetch_files: Whether file references are fetched and replaced by local paths.
        local_file_location: Whether the function gets files in the shared cache or copies in its `tempdir`.
        task_config: Further options that are passed on to the engine.
        isolation: Whether specs share processes.
        rows_per_process: How many specs one process runs at most; None for what `isolation` says.
        working_directory: `row` for a folder of its own for each spec, `project` for the project's, or a path.
        keep_files: Whose files are kept, where each spec has a folder of its own.
        start_method: How processes are started.
        startup_timeout: How long loading the experiment may take in a process.
        retry_on: After what a spec is run again; None where nobody has said it: see `retry_rule`.
        needs: What a spec takes of a machine while it runs.
        threads: How many threads numerical libraries start in a process; None for its share of the cores.
    """

    retries: int | None = None
    execution_timeout: timedelta = timedelta(hours=1)
    schedule_timeout: timedelta | None = None
    memory_limit_bytes: int | None = None
    desired_worker_labels: Mapping[str, Any] | None = None
    inject_workflow_run_id: bool = True
    auto_fetch_files: bool = True
    local_file_location: LocalFileLocation = "cache"
    task_config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    isolation: Isolation = "auto"
    rows_per_process: int | None = None
    working_directory: str = "row"
    keep_files: KeepFiles = "never"
    start_method: StartMethod = "auto"
    startup_timeout: timedelta = timedelta(minutes=5)
    retry_on: tuple[RetryOn, ...] | None = None
    needs: Needs = field(default_factory=Needs)
    threads: int | None = None

    @property
    def retry_rule(self) -> RetryRule:
        """How often a spec is run again, and after what.

        Where nobody has said it, once after what may have come by chance: an exception would come again. What is said
        is for all that can become of a spec, unless `retry_on` names some.
        """
        if self.retry_on is not None:
            return RetryRule(1 if self.retries is None else self.retries, self.retry_on)
        if self.retries is None:
            return RetryRule(1, ("timeout", "crashed", "lost"))
        return RetryRule(self.retries)


class RegisteredExperiment(Generic[TInput, TOutput]):
    """A function that is an experiment; calling it calls the function.

    Attributes:
        name: The name that it is registered under.
        description: What it does; the first paragraph of the docstring by default.
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

    def __copy__(self) -> RegisteredExperiment[TInput, TOutput]:
        """Itself: an experiment is one thing, as a function is."""
        return self

    def __deepcopy__(self, memo: object) -> RegisteredExperiment[TInput, TOutput]:
        """Itself."""
        del memo
        return self

    @property
    def tasks(self) -> list[RegisteredExperiment[TInput, TOutput]]:
        """Itself: it is its only task."""
        return [self]

    def mock_run(self, input: TInput, **others: Any) -> TOutput:  # noqa: A002 - the name that the SDK gave it
        """Call the function with a spec as a run would, without any engine, for tests.

        Args:
            input: The spec; references to files are to be paths.
            others: Accepted for compatibility, and not used.
        """
        del others
        if not self.accepts_tempdir:
            return self.fn(input)
        with TemporaryDirectory(prefix=owned_prefix("mock")) as folder:
            return self.fn(input, tempdir=Path(folder))

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
    signature = signature_of(fn, where)
    needs_tempdir = options.local_file_location == "copied-to-tempdir" and options.auto_fetch_files
    if needs_tempdir and not signature.accepts_tempdir:
        raise RegistrationError(
            f"{where}: local_file_location='copied-to-tempdir' needs a function that takes a tempdir",
            hint="Add the parameter `tempdir: Path`.",
        )
    return RegisteredExperiment(
        fn,
        name=name,
        description=description or first_paragraph(fn),
        input_type=signature.input_type,
        output_type=signature.output_type,
        accepts_tempdir=signature.accepts_tempdir,
        options=options,
    )


def first_paragraph(fn: Callable[..., Any]) -> str:
    """The first paragraph of a docstring, in one line; empty where there is none."""
    return " ".join((inspect.getdoc(fn) or "").split("\n\n")[0].split())


def with_options(options: ExperimentOptions, **changes: Any) -> ExperimentOptions:
    """The options with those changes that are not None."""
    return replace(options, **{name: value for name, value in changes.items() if value is not None})


def options_of(
    fn: Callable[..., Any],
    *,
    retries: int | None,
    schedule_timeout: Duration | None,
    execution_timeout: Duration | None,
    local_file_location: LocalFileLocation,
    memory_limit: str | int | None,
    isolation: Isolation = "auto",
    rows_per_process: int | None = None,
    working_directory: str = "row",
    keep_files: KeepFiles = "never",
    start_method: StartMethod = "auto",
    startup_timeout: Duration | None = None,
    retry_on: Sequence[RetryOn] | None = None,
    **others: Any,
) -> ExperimentOptions:
    """Check what a function is registered with.

    Args:
        fn: The function, for messages.
        retries: How often a spec that did not succeed is run again; None where it is not said.
        schedule_timeout: How long a task may wait for a worker.
        execution_timeout: How long one attempt of a spec may take; None for what the environment says.
        local_file_location: Where the function gets its files.
        memory_limit: Memory that one spec may use.
        isolation: Whether specs share processes.
        rows_per_process: How many specs one process runs at most.
        working_directory: Where specs run.
        keep_files: Whose files are kept.
        start_method: How processes are started.
        startup_timeout: How long loading the experiment may take; None for 5 minutes.
        retry_on: After what a spec is run again; None where it is not said.
        others: `threads`, what a spec takes (see `needs_of`), and options that need no check.

    Raises:
        RegistrationError: If one is not allowed; the message names the function.
        ConfigError: If the environment variable is no duration.
    """
    try:
        return ExperimentOptions(
            retries=_check_retries(retries),
            execution_timeout=_default_timeout() if execution_timeout is None else parse_duration(execution_timeout),
            schedule_timeout=None if schedule_timeout is None else parse_duration(schedule_timeout),
            memory_limit_bytes=None if memory_limit is None else parse_size(memory_limit),
            local_file_location=_one_of("local_file_location", local_file_location, get_args(LocalFileLocation)),
            isolation=_one_of("isolation", isolation, get_args(Isolation)),
            rows_per_process=_check_count("rows_per_process", rows_per_process),
            working_directory=_check_directory(working_directory),
            keep_files=_one_of("keep_files", keep_files, get_args(KeepFiles)),
            start_method=_one_of("start_method", start_method, get_args(StartMethod)),
            startup_timeout=timedelta(minutes=5) if startup_timeout is None else parse_duration(startup_timeout),
            retry_on=_check_retry_on(retry_on),
            needs=needs_of(*(others.pop(name, None) for name in ("cpus", "memory", "gpus", "tokens"))),
            threads=_check_count("threads", others.pop("threads", None)),
            **others,
        )
    except (ValueError, TypeError) as error:
        raise RegistrationError(f"{where_is(fn)}: {error}") from None


def _default_timeout() -> timedelta:
    try:
        return TimeoutSettings().EXPERIMENT_EXECUTION
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        variable = f"SCYTHE_TIMEOUT_{details['loc'][0]}"
        raise ConfigError(
            f"the environment variable {variable} is {details['input']!r}, which is not a duration",
            hint="Write it like '90s', '10m' or '1h30m'.",
        ) from None


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        first, last = ", ".join(repr(each) for each in allowed[:-1]), repr(allowed[-1])
        raise ValueError(
            f"{name}={value!r} is {'neither' if len(allowed) == 2 else 'none of'} {first} "
            f"{'nor' if len(allowed) == 2 else 'and'} {last}"
        )
    return value


def _check_count(name: str, n: int | None) -> int | None:
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"{name}={n!r} is not a whole number from 1 on")
    return n


def _check_directory(directory: str) -> str:
    if not isinstance(directory, (str, Path)) or not str(directory):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"working_directory={directory!r} is not 'row', 'project' or a path")
    return str(directory)


def _check_retry_on(states: Sequence[RetryOn] | None) -> tuple[RetryOn, ...] | None:
    if states is None:
        return None
    allowed = get_args(RetryOn)
    if isinstance(states, str) or not all(state in allowed for state in states):
        names = ", ".join(repr(each) for each in allowed)
        raise ValueError(f"retry_on={states!r} is not a list of some of {names}")
    return tuple(dict.fromkeys(states))


def _check_retries(retries: int | None) -> int | None:
    if retries is None:
        return None
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 100:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"retries={retries!r} is not a whole number from 0 to 100")
    return retries
