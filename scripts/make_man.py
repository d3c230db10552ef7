"""Writes the manual page from the commands: `python -m scripts.make_man [--check]`.

`man scythe` shows it: the wheel installs it to share/man/man1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer
import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from scripts.made_files import ROOT, write_or_check
from scripts.reference import GLOBAL_PANEL, walk
from scythe_cli.cli.app import app
from scythe_cli.cli.help import usage_line
from scythe_cli.core.distribution import DISTRIBUTION

FILE = ROOT / "docs" / "man" / "scythe.1"

_EXIT_CODES = (
    ("0", "All well."),
    ("1", "Some cases did not succeed, or a comparison found differences."),
    ("2", "The command line is wrong, a name does not exist, or an extra is not installed."),
    ("3", "Configuration, module or sampling file are invalid."),
    ("4", "Storage or engine cannot be reached."),
    ("5", "A wait timed out."),
    ("130", "Interrupted."),
)


def page() -> str:
    """The page, in the macros of man(7)."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    context = typer.Context(root, info_name="scythe")
    lines = [r".\" -*- coding: utf-8 -*-", f'.TH SCYTHE 1 "" "{DISTRIBUTION}" "User Commands"', ".SH NAME"]
    lines += [r"scythe \- run a Python function over a table of cases", ".SH SYNOPSIS", ".B scythe", ".I COMMAND ..."]
    lines += [".SH DESCRIPTION", *_prose(root.help), ".SH GLOBAL OPTIONS", *_options(root, context, shared=True)]
    lines += [".SH COMMANDS"]
    for command, ctx in walk(root, context):
        lines += [f".SS {_plain(ctx.command_path)}", *_prose(command.help)]
        if not isinstance(command, TyperGroup):
            lines += [".PP", f".B {_plain(usage_line(command, ctx))}"]
            lines += [*_arguments(command, ctx), *_options(command, ctx, shared=False)]
    lines += [".SH EXIT STATUS"]
    for code, meaning in _EXIT_CODES:
        lines += [".TP", f".B {code}", meaning]
    return "\n".join([*lines, ""])


def _arguments(command: TyperCommand, ctx: typer.Context) -> Iterator[str]:
    for parameter in command.get_params(ctx):
        if isinstance(parameter, TyperArgument) and not parameter.hidden:
            yield from (".TP", f".I {_plain(parameter.metavar or parameter.name.upper())}", _line(parameter.help))


def _options(command: TyperCommand | TyperGroup, ctx: typer.Context, *, shared: bool) -> Iterator[str]:
    for option in command.get_params(ctx):
        if not isinstance(option, TyperOption) or option.hidden:
            continue
        panel = option.rich_help_panel if isinstance(option.rich_help_panel, str) else ""
        if panel.startswith(GLOBAL_PANEL) != shared or "--help" in option.opts:
            continue
        names = ", ".join(f"\\fB{_plain(name)}\\fR" for name in (*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else f" \\fI{_plain(option.metavar or option.name.upper())}\\fR"
        yield from (".TP", f"{names}{value}", _line(option.help))


def _prose(text: str | None) -> Iterator[str]:
    for paragraph in (text or "").split("\n\n"):
        yield from (".PP", _line(paragraph))


def _line(text: str | None) -> str:
    line = _plain(" ".join((text or "").split()))
    return f"\\&{line}" if line.startswith((".", "'")) or not line else line


def _plain(text: str) -> str:
    """Text in which nothing is a request: a hyphen stays one that can be copied."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")


def main() -> int:
    """Write the page, or compare it."""
    return write_or_check("scripts.make_man", {FILE: page()}, [FILE], made=f"{FILE.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
