"""Errors, told in one or a few lines on stderr, and the exit code that each gives."""

from __future__ import annotations

import difflib
import json
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from scythe_cli.cli.help import usage_line
from scythe_cli.cli.output import Output, write_stdout
from scythe_cli.core.text import plain_message
from scythe_cli.errors import ScytheError, first_line

if TYPE_CHECKING:
    from scythe_cli.cli.framework import Options


__all__ = ["Failure", "describe", "report"]


_USAGE = 2
_SEVERAL = re.compile(r"there are several experiments: ([^,\s]+),")
_MEANT = re.compile(r"Did you mean (?:'([^']+)'|(\S+))\?|A version comes after its experiment, as in (\S+)\.")
_INVALID = re.compile(r"Invalid value for '([^']*)'(?: / '[^']*')*: (.*)", re.DOTALL)


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
    message = _INVALID.sub(lambda m: f"{m[1]}: {plain_message(m[2].removeprefix('Value error, '))}", message)
    message = re.sub(r" / '--(out|dest)'(?: / '-d')?", "", message)
    suggested: list[str] | None = getattr(error, "possibilities", None)
    if context is not None and message.startswith("No such command") and isinstance(context.command, TyperGroup):
        word = next(iter(re.findall(r"'([^']+)'", message)), "")
        close = difflib.get_close_matches(word, context.command.commands, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"`{context.command_path} --help` lists the commands."
        return Failure("UsageError", f"No such command '{word}'", hint, error.exit_code)
    wrong = getattr(error, "option_name", None) or next(iter(re.findall(r"'([^']+)'", error.message)), "")
    if suggested:
        best = difflib.get_close_matches(wrong, suggested, n=1, cutoff=0.0)[0]
        message = f"{error.message.rstrip('.')}. Did you mean {best}?"
        return Failure("UsageError", message, f"Did you mean '{best}'?", error.exit_code)
    hint = None
    if context is not None:
        usage = usage_line(context.command, context)
        hint = f"Usage: {usage}; `{context.command_path} --help` tells more."
    return Failure("UsageError", message, hint, error.exit_code)


def _corrected(failure: Failure, arguments: Sequence[str]) -> str | None:
    """The hint, with the whole command line as it was meant where one word of it is to be another."""
    hint = failure.hint or ""
    if failure.type == "EntrypointError" and "`scythe" not in hint:
        return f"{hint} `scythe doctor` checks the set-up.".strip()
    several = _SEVERAL.match(failure.message)
    if several is not None:
        return f"Choose one: `{shlex.join(['scythe', *arguments, '-e', several[1]])}`."
    meant = _MEANT.search(hint)
    if meant is None:
        return failure.hint
    name = meant[1] or meant[2] or meant[3]
    said = [*re.findall(r"'([^']+)'", failure.message), failure.message.partition(": ")[0]]
    said += re.findall(r"No such option: (\S+?)\.? ", f"{failure.message} ")
    for wrong in said:
        for position, word in enumerate(arguments):
            parts = re.split(r"([/=])", word)
            whole = name if word == wrong else None
            if whole is None and wrong in parts:
                whole = "".join(name if part == wrong else part for part in parts)
            if whole is not None:
                line = shlex.join(["scythe", *arguments[:position], whole, *arguments[position + 1 :]])
                return hint.replace(meant[0], f"Did you mean `{line}`?")
    return failure.hint


def report(error: BaseException, options: Options) -> int:
    """Tell of an error on stderr, and with `--json` on stdout as well.

    Returns:
        The exit code.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        write_stdout(f"{error}\n")
        return _USAGE
    failure = describe(error, verbose=options.verbose)
    failure = replace(failure, hint=_corrected(failure, options.arguments))
    output = Output(as_json=options.json, quiet=options.quiet, added=options.as_words())
    if options.verbose and not isinstance(error, TyperException | KeyboardInterrupt | typer.Abort):
        sys.stderr.write("".join(traceback.format_exception(error)))
    output.error(failure.message, hint=failure.hint)
    if options.json:
        document = {
            "error": {
                "type": failure.type,
                "message": failure.message,
                "hint": failure.hint and output.completed(failure.hint),
                "exit_code": failure.exit_code,
            }
        }
        write_stdout(json.dumps(document, indent=2) + "\n")
    return failure.exit_code
