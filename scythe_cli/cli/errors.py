"""Errors, told in one or a few lines on stderr, and the exit code that each gives."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer
from typer.exceptions import TyperException

from scythe_cli.cli.help import usage_line
from scythe_cli.cli.output import Output, write_stdout
from scythe_cli.errors import ScytheError, first_line

if TYPE_CHECKING:
    from scythe_cli.cli.framework import Options


__all__ = ["Failure", "describe", "report"]


_USAGE = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told of an error.

    Attributes:
        type: The name of the error's class.
        message: What is wrong.
        hint: What to do about it.
        exit_code: What the command ends with.
    """

    type: str
    message: str
    hint: str | None
    exit_code: int


def describe(error: BaseException, *, verbose: bool = False) -> Failure:
    """Find the words and the exit code for an error."""
    name = type(error).__name__
    if isinstance(error, ScytheError):
        return Failure(name, error.message, error.hint, error.exit_code)
    if isinstance(error, TyperException):
        return _usage(error, name)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Failure("StoppedError", "interrupted", None, 130)
    said = str(error).strip()
    if name == "PanicException":
        hint = "A file may be damaged." if verbose else "A file may be damaged; --verbose tells where it happened."
        return Failure(name, f"a library gave up: {first_line(error)}", hint, 1)
    what = f"{name}: {said}" if said else name
    hint = None if verbose else "Run again with --verbose for the traceback."
    return Failure(name, f"unexpected error: {what}", hint, 1)


def _usage(error: TyperException, name: str) -> Failure:
    """A command line that cannot be parsed: say how the command is used."""
    context = getattr(error, "ctx", None)
    message = error.format_message().strip().rstrip(".")
    suggested = getattr(error, "possibilities", None)
    if suggested:
        message = f"{error.message.rstrip('.')}. Did you mean {' or '.join(sorted(suggested))}?"
    hint = None
    if context is not None:
        usage = usage_line(context.command, context)
        hint = f"Usage: {usage}; `{context.command_path} --help` tells more."
    return Failure("UsageError", message, hint, error.exit_code)


def report(error: BaseException, options: Options) -> int:
    """Tell of an error on stderr, and with `--json` on stdout as well.

    Returns:
        The exit code.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        write_stdout(f"{error}\n")
        return _USAGE
    failure = describe(error, verbose=options.verbose)
    output = Output(as_json=options.json, quiet=options.quiet)
    if options.verbose and not isinstance(error, TyperException | KeyboardInterrupt | typer.Abort):
        sys.stderr.write("".join(traceback.format_exception(error)))
    output.error(failure.message, hint=failure.hint)
    if options.json:
        document = {
            "error": {
                "type": failure.type,
                "message": failure.message,
                "hint": failure.hint,
                "exit_code": failure.exit_code,
            }
        }
        write_stdout(json.dumps(document, indent=2) + "\n")
    return failure.exit_code
