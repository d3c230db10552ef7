"""The command line as a whole: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
import typer.main

from scythe_cli.cli import allocate, doctor, experiments, explain, init, recover, results, runs, sample, worker
from scythe_cli.cli import report as report_command
from scythe_cli.cli.failures import report
from scythe_cli.cli.help import HelpfulGroup
from scythe_cli.cli.options import Options, group
from scythe_cli.cli.output import close_stdout, prepare_streams
from scythe_cli.cli.startup import relax_collector

__all__ = ["ScytheGroup", "app", "main"]

PROGRAM = "scythe"


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


app = typer.Typer(
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
for module in (init, experiments, sample, doctor, allocate, recover, worker, runs, explain, results, report_command):
    module.add_to(app)


def main() -> None:
    """Run the command line of this process."""
    relax_collector()
    typer.main.get_command(app)()
