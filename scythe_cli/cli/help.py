"""Help texts: short, in 80 columns, and without loading anything for it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from scythe_cli.cli.plain import as_shown

__all__ = ["GLOBALS_PANEL", "HIDDEN_NAMES", "help_text", "usage_line"]


GLOBALS_PANEL = "Global options, before or after the command"
"""The section of the options that every command takes; below `scythe --help` alone it is written out."""

HIDDEN_NAMES = frozenset({"--out", "--dest"})
"""Earlier names of options: they work, and help texts do not list them."""


_WIDEST = 100
_LONGEST_LABEL = 26
_OTHER = "Options"


def help_text(command: TyperCommand | TyperGroup, ctx: typer.Context) -> str:
    """What a command does, its commands, arguments and options."""
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = min(shutil.get_terminal_size().columns if has_width else 80, _WIDEST) - 1
    usage = _wrapped(f"Usage: {usage_line(command, ctx)}", width, indent="       ")
    blocks = ["\n".join([_bold("Usage:") + usage[0].removeprefix("Usage:"), *usage[1:]])]
    blocks += [textwrap.fill(" ".join(paragraph.split()), width) for paragraph in (command.help or "").split("\n\n")]
    sections: dict[str, list[tuple[str, str]]] = {}
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            panel = getattr(child, "rich_help_panel", None)
            sections.setdefault(panel if isinstance(panel, str) else "Commands", []).append(
                (name, _summary(child.help))
            )
    for parameter in command.get_params(ctx):
        if isinstance(parameter, TyperArgument):
            sections.setdefault("Arguments", []).append(_argument(parameter))
    for parameter in command.get_params(ctx):
        if isinstance(parameter, TyperOption) and not parameter.hidden:
            panel = parameter.rich_help_panel if isinstance(parameter.rich_help_panel, str) else _OTHER
            if "--help" not in parameter.opts:
                sections.setdefault(panel, []).append(_option(parameter))
    folded = sections.pop(GLOBALS_PANEL) if ctx.parent is not None and GLOBALS_PANEL in sections else []
    if not folded:
        sections[GLOBALS_PANEL] = sections.pop(GLOBALS_PANEL, [])  # they come last
        sections.setdefault(GLOBALS_PANEL, []).append(("-h, --help", "Print this text."))
    commands = command.commands if isinstance(command, TyperGroup) else {}
    longest = max((len(name) for name in commands), default=0)
    for title, rows in sections.items():
        least = longest if rows[0][0] in commands else 0
        blocks.append("\n".join([*map(_bold, _wrapped(f"{title}:", width)), _listed(rows, width, least)]))
    if folded:
        names = " ".join(label.split()[0].rstrip(",") for label, _ in folded if label.split()[0] != "--version")
        line = f"Global options: {names} -h; see `{ctx.find_root().command_path} --help`."
        blocks.append("\n".join(_wrapped(line, width)))
    return as_shown("\n\n".join(blocks), width + 1) + "\n"


def usage_line(command: TyperCommand | TyperGroup, ctx: typer.Context) -> str:
    """How a command is written: `scythe allocate FILE [OPTIONS]`."""
    arguments = [p for p in command.get_params(ctx) if isinstance(p, TyperArgument)]
    required = [
        f"{p.opts[0]} {p.metavar}" for p in command.get_params(ctx) if isinstance(p, TyperOption) and p.required
    ]
    last = ["COMMAND …"] if isinstance(command, TyperGroup) else [p.metavar or p.name.upper() for p in arguments]
    return " ".join([ctx.command_path, *required, *last, "[OPTIONS]"])


def _summary(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).rstrip(".")


def _argument(parameter: TyperArgument) -> tuple[str, str]:
    return parameter.metavar or parameter.name.upper(), _with_default(parameter.help or "", parameter)


def _option(parameter: TyperOption) -> tuple[str, str]:
    short = [name for name in parameter.opts if not name.startswith("--")]
    long = [name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--")]
    long = [name for name in long if name not in HIDDEN_NAMES]
    label = ", ".join([*short, "/".join(long)] if long else short)
    if not short:
        label = f"    {label}"
    choices = parameter.type_descriptor.choices
    if choices:
        label += f" {'|'.join(str(choice) for choice in choices)}"
    elif not parameter.is_flag:
        label += f" {parameter.metavar or parameter.name.upper()}"
    return label, _with_default(parameter.help or "", parameter)


def _with_default(text: str, parameter: TyperArgument | TyperOption) -> str:
    default = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    is_flag = isinstance(parameter, TyperOption) and parameter.is_flag
    if is_flag or default is None or default == "" or not parameter.show_default or callable(default):
        return text
    return f"{text} [default: {default}]"


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]


def _listed(rows: Sequence[tuple[str, str]], width: int, least: int) -> str:
    longest = min(_LONGEST_LABEL, width // 2)
    label_width = max([least, *(len(label) for label, _ in rows if len(label) <= longest)])
    words = max((len(word) for _, text in rows for word in text.split()), default=0)
    if label_width > width // 2 or label_width + 4 + words > width:  # beside them there is no room
        label_width = 0
    indent = " " * (label_width + 4)
    lines: list[str] = []
    for label, text in rows:
        wrapped = textwrap.wrap(text, max(width - len(indent), 12), break_long_words=False, break_on_hyphens=False)
        if len(label) > label_width:
            lines += [*_label_lines(label, width), *(indent + line for line in wrapped)]
        else:
            lines += [f"  {label:<{label_width}}  {(wrapped or [''])[0]}".rstrip()]
            lines += [indent + line for line in wrapped[1:]]
    return "\n".join(lines)


def _label_lines(label: str, width: int) -> list[str]:
    """A label on lines of its own; choices are cut between `|` where they do not fit."""
    if len(label) + 2 <= width:
        return [f"  {label}"]
    lines = ["  "]
    for part in re.split(r"(?<=\|)|(?<= )(?=\S)", label):
        if len(lines[-1]) + len(part.rstrip()) > width and lines[-1].strip():
            lines.append("      ")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text
