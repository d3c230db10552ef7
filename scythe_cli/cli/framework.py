"""How commands are made: each takes the global options before and after its name, and works with a session.

    app = typer.Typer()

    @command(app, "status", panel="Follow a run")
    def status(session: Session, run: RunArgument = "latest") -> int | None: ...

A command's function gets a `Session` first, then its own parameters; it returns an exit code, or None for 0. It stays
callable as it is. `app.py` puts the `app` of every module of commands together.
"""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from scythe_cli.cli.help import GLOBALS_PANEL, help_text
from scythe_cli.cli.naming import run_parameters
from scythe_cli.cli.output import Output, configure_logging
from scythe_cli.errors import StoppedError

if TYPE_CHECKING:
    from scythe_cli.services.project import Project
    from scythe_cli.storage.base import Storage


__all__ = [
    "INTERRUPTED",
    "HelpfulCommand",
    "HelpfulGroup",
    "Options",
    "Session",
    "command",
    "group",
    "keep_pandas_out",
]


INTERRUPTED = 130
"""The exit code after Ctrl-C."""

P = ParamSpec("P")

_ADDRESS_SPACE_BYTES = 4_000_000_000
"""What the libraries reserve on a machine of some cores, and somewhat more."""


@dataclass(frozen=True, slots=True)
class Options:
    """The values of the global options.

    Attributes:
        config: The configuration file; None to look for experiments.toml.
        storage: Where runs are kept; None for what the configuration says.
        json: Whether stdout gets one JSON document.
        quiet: Whether progress and notes are left out.
        verbose: Whether logs, and tracebacks of errors, are shown.
        arguments: The whole command line.
    """

    config: Path | None = None
    storage: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    arguments: tuple[str, ...] = ()

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Options:
        """What the flags say before the command line is parsed: a line that cannot be parsed is an error, too."""
        options = arguments[: arguments.index("--")] if "--" in arguments else arguments
        return cls(
            config=Path(config) if (config := _value_of("--config", options)) else None,
            storage=_value_of("--storage", options),
            json="--json" in options,
            quiet="--quiet" in options or "-q" in options,
            verbose="--verbose" in options or "-v" in options,
            arguments=tuple(arguments),
        )

    def as_words(self) -> str:
        """What a command that is to be pasted needs to mean the same project and storage."""
        named = {"--config": self.config, "--storage": self.storage}
        return "".join(f" {name} {shlex.quote(str(value))}" for name, value in named.items() if value)

    def merged(self, values: dict[str, Any]) -> Options:
        """These options, with those that a later place on the command line gives."""
        return replace(self, **{name: value for name, value in values.items() if value})


def _value_of(name: str, arguments: Sequence[str]) -> str | None:
    """The value of an option on a command line, as `--name value` or `--name=value`; the last counts."""
    found: str | None = None
    for position, word in enumerate(arguments):
        if word == name and position + 1 < len(arguments):
            found = arguments[position + 1]
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


class Session:
    """What a command works with: the global options, the project they lead to, and where output goes."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.output = Output(as_json=options.json, quiet=options.quiet, added=options.as_words())

    def project(self, *, engine: str | None = None) -> Project:
        """Open the project that the options, the environment and the working directory lead to."""
        _require_address_space()
        from scythe_cli.services.project import open_project

        keep_pandas_out()
        return open_project(self.options.config, storage=self.options.storage, engine=engine)

    def storage(self) -> Storage:
        """Open the place where the project's runs are kept: for commands that list, and load nothing else."""
        from scythe_cli.config.location import find_storage

        return find_storage(self.options.config, storage=self.options.storage)


def _require_address_space() -> None:
    """Refuse to load libraries that would abort, or wait for ever.

    Raises:
        EngineError: If this process may have too few addresses.
    """
    from scythe_cli.core.processes import address_space

    limit = address_space()
    if limit is not None and limit < _ADDRESS_SPACE_BYTES:
        from scythe_cli.core.quantities import format_size
        from scythe_cli.errors import EngineError

        raise EngineError(
            f"processes may have {format_size(limit)} of addresses here (`ulimit -v`), and need "
            f"{format_size(_ADDRESS_SPACE_BYTES)}, of which they use little",
            hint="Say `ulimit -v unlimited` first; `memory_limit` in experiments.toml limits what rows use.",
        )


class _NotNow:
    """Finds no pandas."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("not now", name=name)


def keep_pandas_out() -> None:
    """Keep pyarrow from importing pandas, which takes longer than most commands do.

    The first call of `pyarrow.array` asks whether pandas can be imported, and remembers the answer. A command can
    import pandas as ever afterwards, but in its process pyarrow no longer knows pandas' missing values in lists: so
    this is for commands, and not for processes that run a user's function.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NotNow)  # pyright: ignore[reportArgumentType] - a finder needs no other method
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NotNow)  # pyright: ignore[reportArgumentType]


def _show_version(ctx: typer.Context, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from scythe_cli.core.distribution import installed_version

    number = installed_version()
    options = ctx.find_root().obj
    as_json = isinstance(options, Options) and options.json
    typer.echo(json.dumps({"version": number}) if as_json else f"scythe {number}")
    raise typer.Exit


class _AsItIs:
    """Stands in for Typer's conversion of one parameter, until there is something to convert."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None and param.nargs == 1 and not param.multiple:
            return None
        descriptor = param.type_descriptor
        if isinstance(value, str) and descriptor.annotation is str and descriptor.parameter_info.parser is None:
            return value
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _keep_plain_values(parameters: Iterable[Any]) -> None:
    """Keep Typer from loading pydantic for parameters that need no conversion.

    With a Typer that converts in another way, nothing changes.
    """
    for parameter in parameters:
        if isinstance(parameter, (TyperArgument, TyperOption)) and getattr(parameter, "_runtime_param", 0) is None:
            parameter._runtime_param = _AsItIs()  # type: ignore[assignment]


class HelpfulCommand(TyperCommand):
    """A command whose help text is `help_text`, and that is quick to take its options."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read a command line."""
        _keep_plain_values(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write the help text."""
        formatter.write(help_text(self, ctx))


class HelpfulGroup(TyperGroup):
    """A group of commands whose help text is `help_text`, and that is quick to take its options."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read a command line up to the command's name."""
        _keep_plain_values(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write the help text."""
        formatter.write(help_text(self, ctx))


_GLOBALS: dict[str, Any] = {
    "config": Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="PATH",
            help="The experiments.toml to use [default: the nearest, from this folder upwards].",
            rich_help_panel=GLOBALS_PANEL,
            show_default=False,
        ),
    ],
    "storage": Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="LOCATION",
            help="Where runs are kept: a folder or s3://bucket/prefix [default: from experiments.toml].",
            rich_help_panel=GLOBALS_PANEL,
            show_default=False,
        ),
    ],
    "json": Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel=GLOBALS_PANEL)
    ],
    "quiet": Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no progress and no notes.", rich_help_panel=GLOBALS_PANEL)
    ],
    "verbose": Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Print a log, and tracebacks of errors.", rich_help_panel=GLOBALS_PANEL),
    ],
    "version": Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version of scythe.",
            rich_help_panel=GLOBALS_PANEL,
            is_eager=True,
            callback=_show_version,
        ),
    ],
}

_DEFAULTS: dict[str, Any] = {"config": None, "storage": None}


def _parameters(taken: set[str]) -> list[inspect.Parameter]:
    """The global options as parameters; a command that has an option of that name keeps its own."""
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name, False), annotation=annotation
        )
        for name, annotation in _GLOBALS.items()
        if name not in taken
    ]


def _with_signature(function: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> Callable[..., Any]:
    """Give a function the signature that Typer makes options from."""
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    everything = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters)]
    function.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in everything}
    return function


def _options(ctx: typer.Context, values: dict[str, Any], own: set[str]) -> Options:
    """Take the global options out of what was parsed, on top of those that came before."""
    before = ctx.obj if isinstance(ctx.obj, Options) else Options()
    parsed = {name: values.pop(name) for name in _GLOBALS if name not in own}
    parsed.pop("version", None)
    return before.merged(parsed)


def group(app: typer.Typer) -> None:
    """Let a group of commands take the global options before the command's name."""

    def callback(*, ctx: typer.Context, **values: Any) -> None:
        ctx.obj = _options(ctx, values, set())

    app.callback()(_with_signature(callback, _parameters(set())))


def command(
    app: typer.Typer, name: str, *, panel: str | None = None
) -> Callable[[Callable[Concatenate[Session, P], int | None]], Callable[Concatenate[Session, P], int | None]]:
    """Make a command of a function; its docstring is the help text."""

    def decorate(
        function: Callable[Concatenate[Session, P], int | None],
    ) -> Callable[Concatenate[Session, P], int | None]:
        hints = get_type_hints(function, include_extras=True)
        own = [p.replace(annotation=hints[p.name]) for p in inspect.signature(function).parameters.values()][1:]
        names = {p.name for p in own}
        more, named = run_parameters(name, own)

        def run(*, ctx: typer.Context, **values: Any) -> int:
            options = _options(ctx, values, names)
            configure_logging(verbose=options.verbose, quiet=options.quiet)
            session = Session(options)
            named(values, session.output)
            try:
                return function(session, **values) or 0  # type: ignore[call-arg]
            except KeyboardInterrupt:
                raise StoppedError("interrupted") from None

        run.__doc__ = function.__doc__
        app.command(name, cls=HelpfulCommand, rich_help_panel=panel)(_with_signature(run, [*more, *_parameters(names)]))
        return function

    return decorate
