"""The command line as a whole: its commands, its start and end, and the one place where errors become exit codes."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
import typer.main

from scythe_cli.cli.errors import report
from scythe_cli.cli.framework import HelpfulGroup, Options, group
from scythe_cli.cli.output import Output, close_stdout
from scythe_cli.cli.plain import prepare_streams

__all__ = ["COMMANDS", "SYNONYMS", "QuickEnd", "ScytheGroup", "app", "main", "spelled_out"]


app: typer.Typer
"""All commands; they are loaded when this is asked for."""

PROGRAM = "scythe"

COMMANDS = {
    "commands.init": ("init",),
    "commands.experiments": ("experiments",),
    "commands.sample": ("sample",),
    "commands.doctor": ("doctor",),
    "commands.allocate": ("validate", "allocate"),
    "commands.study": ("study",),
    "commands.recover": ("retry", "logs", "rerun", "verify"),
    "commands.worker": ("cancel", "worker", "workers"),
    "commands.runs": ("status", "errors", "runs", "versions"),
    "commands.prune": ("prune",),
    "commands.explain": ("explain",),
    "commands.report": ("report",),
    "commands.reproduce": ("reproduce",),
    "commands.ui": ("ui",),
    "results.app": ("results",),
}
"""The modules of this package with commands, and which; in the order of the help text. Each has its `app`."""

SYNONYMS = {
    "run": ("allocate",),
    "submit": ("allocate",),
    "check": ("validate",),
    "resume": ("retry",),
    "new": ("init",),
    "list": ("runs",),
    "ls": ("runs",),
    "show": ("results", "show"),
    "plot": ("results", "plot"),
    "query": ("results", "query"),
    "export": ("results", "export"),
    "fetch": ("results", "fetch"),
    "diff": ("results", "diff"),
}
"""Other words for commands; `help` is one for `--help`."""

_WITH_VALUE = ("--config", "--storage")
_YOUNG_OBJECTS = 200_000


class ScytheGroup(HelpfulGroup):
    """The root command: runs a command line, reports what goes wrong, and ends with the exit code for it."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; `standalone_mode` off returns the exit code instead of ending the process."""
        del prog_name
        args = list(sys.argv[1:] if args is None else args)
        options = Options.from_arguments(args)
        prepare_streams()
        given, args = args, spelled_out(args)
        word = _first_word(given) or ""
        if args != given and word in SYNONYMS and "help" not in given and not options.quiet:
            spelled = " ".join(SYNONYMS[word])
            Output(as_json=options.json, quiet=False).note(f"`scythe {word}` is short for `scythe {spelled}`")
        try:
            returned = super().main(
                args,
                prog_name=PROGRAM,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                obj=options,
                **extra,
            )
            code = returned if isinstance(returned, int) else 0
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place that maps every error
            code = report(error, options)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # which Polars and pydantic raise when their own code gives up
                raise
            code = report(error, options)
        close_stdout()
        if standalone_mode:
            sys.exit(code)
        return code


def _assembled(modules: Iterable[str]) -> typer.Typer:
    """The command line with the commands of some modules.

    Typer works out the options of all commands for each command line, which takes longer than most commands do.
    """
    root = typer.Typer(
        name=PROGRAM,
        cls=ScytheGroup,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help=(
            "Run a Python function over every case of a sampling file, and get one tidy Parquet table back.\n\n"
            "New here? `scythe init DIR` creates a small project that runs."
        ),
    )
    group(root)
    for module in modules:
        root.add_typer(importlib.import_module(f"scythe_cli.cli.{module}").app)
    return root


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = whole = _assembled(COMMANDS)
    return whole


def main() -> None:
    """Run the command line of this process, and end it."""
    end = QuickEnd()
    _relax_collector()
    try:
        typer.main.get_command(_assembled(_needed(sys.argv[1:])))()
    except SystemExit as ended:
        end.code = ended.code if isinstance(ended.code, int) else None
        raise


def _first_word(arguments: Sequence[str]) -> str | None:
    """The name of the command on a command line, as it is written there."""
    words = iter(arguments)
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """A command line with the names of commands in place of other words for them."""
    arguments = list(arguments)
    word = _first_word(arguments)
    if word is None:
        return arguments
    at = arguments.index(word)
    if word == "help":
        return [*arguments[:at], *arguments[at + 1 :], "--help"]
    if arguments[at : at + 2] == ["runs", "prune"]:  # an experiment of this name is `--experiment prune`
        return [*arguments[:at], *arguments[at + 1 :]]
    return [*arguments[:at], *SYNONYMS.get(word, (word,)), *arguments[at + 1 :]]


def _needed(arguments: Sequence[str]) -> Sequence[str]:
    """The modules that a command line needs: that of its command, or all where it names none that there is."""
    everything = tuple(COMMANDS)
    if any(name.endswith("_COMPLETE") for name in os.environ):
        return everything  # the shell asks what there is
    word = _first_word(spelled_out(arguments))
    return [module for module, commands in COMMANDS.items() if word in commands] or everything


def _relax_collector() -> None:
    """Let the garbage collector look less often.

    While libraries are loaded, hundreds of thousands of objects come into being and stay, and looking through them
    takes a fifth of a command's start.
    """
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


class QuickEnd:
    """Ends this process without taking apart what it has loaded, which takes half a second where that is much.

    To be made before anything else that is to be done at exit, since that is done in reverse order: temporary files
    are removed, and threads are waited for, as ever.

    Attributes:
        code: The exit code; None leaves the end to Python.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._pid = os.getpid()
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is None or self._pid != os.getpid():
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # Python says what is wrong with them
        os._exit(self.code)
