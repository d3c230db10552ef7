"""The command line as a whole: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
import typer.main

from scythe_cli.cli.errors import report
from scythe_cli.cli.help import HelpfulGroup
from scythe_cli.cli.options import Options, group
from scythe_cli.cli.output import close_stdout, prepare_streams
from scythe_cli.cli.startup import QuickEnd, relax_collector

__all__ = ["COMMANDS", "ScytheGroup", "app", "main"]


PROGRAM = "scythe"

COMMANDS = {
    "commands.init": ("init",),
    "commands.experiments": ("experiments",),
    "commands.sample": ("sample",),
    "commands.doctor": ("doctor",),
    "commands.allocate": ("validate", "allocate"),
    "commands.recover": ("retry", "logs", "rerun"),
    "commands.worker": ("cancel", "worker"),
    "commands.runs": ("status", "errors", "runs", "versions"),
    "commands.explain": ("explain",),
    "results.commands": ("results",),
    "commands.report": ("report",),
}
"""The modules of this package that add commands, and which; in the order of the help text."""

_WITH_VALUE = ("--config", "--storage")


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
        close_stdout()
        if standalone_mode:
            sys.exit(code)
        return code


class _LazyTyper(typer.Typer):
    """Makes its commands when they are asked for.

    Typer works out the options of all commands for each command line, which takes longer than most commands do.
    """

    def __init__(self, **options: Any) -> None:
        self.modules: Sequence[str] = ()
        super().__init__(**options)
        self.modules = tuple(COMMANDS)

    def _fill(self) -> None:
        modules, self.modules = self.modules, ()
        for name in modules:
            importlib.import_module(f"scythe_cli.cli.{name}").add_to(self)

    @property
    def registered_commands(self) -> list[Any]:
        """What Typer makes commands of."""
        self._fill()
        return self._commands

    @registered_commands.setter
    def registered_commands(self, commands: list[Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._commands = commands

    @property
    def registered_groups(self) -> list[Any]:
        """What Typer makes groups of."""
        self._fill()
        return self._groups

    @registered_groups.setter
    def registered_groups(self, groups: list[Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._groups = groups


app = _LazyTyper(
    name=PROGRAM,
    cls=ScytheGroup,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Run a Python function over every row of a sampling file, and get one tidy Parquet table back.\n\n"
        "New here? `scythe init` writes a small project that runs."
    ),
)

group(app)


def main() -> None:
    """Run the command line of this process, and end it."""
    end = QuickEnd()
    relax_collector()
    app.modules = _needed(sys.argv[1:])
    try:
        typer.main.get_command(app)()
    except SystemExit as ended:
        end.code = ended.code if isinstance(ended.code, int) else None
        raise


def _needed(arguments: Sequence[str]) -> Sequence[str]:
    """The modules that a command line needs: that of its command, or all where it names none that there is."""
    everything = tuple(COMMANDS)
    if any(name.endswith("_COMPLETE") for name in os.environ):
        return everything  # the shell asks what there is
    words = iter(arguments)
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return [module for module, commands in COMMANDS.items() if word in commands] or everything
    return everything
