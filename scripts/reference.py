"""The reference, written from the code: commands, configuration, environment.

    python scripts/reference.py commands       # prints one of PARTS as Markdown

When the documents are built, `<!-- reference: NAME -->` in a page is replaced by what `PARTS[NAME]` writes; see
`scripts/mkdocs_hooks.py`.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from scythe_cli.cli.app import app
from scythe_cli.cli.help import usage_line
from scythe_cli.config.schema import Config
from scythe_cli.settings import EngineSettings, ScytheStorageSettings, TimeoutSettings
from scythe_cli.worker import ScytheWorkerConfig

GLOBAL_PANEL = "Global options"
EVERYWHERE = {"--help"}


def commands() -> str:
    """All commands with their arguments and options, in the order of `scythe --help`."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    context = typer.Context(root, info_name="scythe")
    parts = ["## Global options", "Before or after the name of a command.", _options(root, context, shared=True)]
    for command, ctx in walk(root, context):
        parts.append(f"## {ctx.command_path}")
        parts.append(_prose(command.help))
        parts.append(f"```text\n{usage_line(command, ctx)}\n```")
        parts += [_arguments(command, ctx), _options(command, ctx, shared=False)]
        if isinstance(command, TyperGroup):
            names = [f"[`{ctx.command_path} {name}`](#{_anchor(ctx, name)})" for name in command.commands]
            parts.append(f"Commands: {', '.join(names)}")
    return "\n\n".join(part for part in parts if part)


def command_names() -> list[str]:
    """The full names of all commands, such as `scythe results plot`."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    return [ctx.command_path for _, ctx in walk(root, typer.Context(root, info_name="scythe"))]


def configuration() -> str:
    """The keys of experiments.toml: a table for each table of the file."""
    parts: list[str] = []
    for name, field in Config.model_fields.items():
        model, header = field.annotation, f"[{name}]"
        if get_origin(model) is dict:
            model, header = get_args(model)[1], f"[{name}.<name>]"
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        rows = [
            (f"`{key}`", _type(value), _default(value), _text(value.description))
            for key, value in model.model_fields.items()
        ]
        parts += [f"## `{header}`", _text(field.description), _table(("key", "value", "default", "what"), rows)]
    return "\n\n".join(parts)


def environment() -> str:
    """The variables that settings are read from."""
    about: list[tuple[str, type[BaseSettings]]] = [
        ("Storage", ScytheStorageSettings),
        ("Engine", EngineSettings),
        ("Time limits", TimeoutSettings),
        ("Workers", ScytheWorkerConfig),
    ]
    parts: list[str] = []
    for title, settings in about:
        prefix = str(settings.model_config.get("env_prefix", ""))
        rows = [
            (f"`{prefix}{key}`", _type(field), _default(field), _text(field.description))
            for key, field in settings.model_fields.items()
            if field.description
        ]
        parts += [f"## {title}", _table(("variable", "value", "default", "what"), rows)]
    return "\n\n".join(parts)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "configuration": configuration,
    "environment": environment,
}


def walk(group: TyperGroup, context: typer.Context) -> Iterator[tuple[TyperCommand | TyperGroup, typer.Context]]:
    """The commands of a group that are shown, those of its groups included, each with its context."""
    for name, command in group.commands.items():
        assert isinstance(command, (TyperCommand, TyperGroup))
        if command.hidden:
            continue
        ctx = typer.Context(command, info_name=name, parent=context)
        yield command, ctx
        if isinstance(command, TyperGroup):
            yield from walk(command, ctx)


def _anchor(ctx: typer.Context, name: str) -> str:
    return f"{ctx.command_path} {name}".replace(" ", "-")


def _arguments(command: TyperCommand | TyperGroup, ctx: typer.Context) -> str:
    rows = [
        (f"`{p.metavar or p.name.upper()}`", _text(p.help), _shown_default(p))
        for p in command.get_params(ctx)
        if isinstance(p, TyperArgument) and not p.hidden
    ]
    return _table(("argument", "what", "default"), rows) if rows else ""


def _options(command: TyperCommand | TyperGroup, ctx: typer.Context, *, shared: bool) -> str:
    rows: list[tuple[str, str, str]] = []
    for p in command.get_params(ctx):
        if not isinstance(p, TyperOption) or p.hidden or EVERYWHERE & set(p.opts):
            continue
        panel = p.rich_help_panel if isinstance(p.rich_help_panel, str) else ""
        if panel.startswith(GLOBAL_PANEL) == shared:
            rows.append((_label(p), _text(p.help), _shown_default(p)))
    return _table(("option", "what", "default"), rows) if rows else ""


def _label(option: TyperOption) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    choices = option.type_descriptor.choices
    if choices:
        return f"{names} " + " \\| ".join(f"`{choice}`" for choice in choices)
    return names if option.is_flag else f"{names} `{option.metavar or option.name.upper()}`"


def _shown_default(parameter: TyperArgument | TyperOption) -> str:
    default = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    flag = isinstance(parameter, TyperOption) and parameter.is_flag
    if flag or default is None or default == "" or not parameter.show_default or callable(default):
        return "required" if parameter.required else ""
    return f"`{default}`"


def _type(field: FieldInfo) -> str:
    """What may be written, in words."""
    bounds = [_bound(item) for item in field.metadata]
    return " ".join([_words(field.annotation), *(bound for bound in bounds if bound)])


_WORDS: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        if any(getattr(getattr(item, "func", None), "__name__", "") == "_size" for item in metadata):
            return "size"
        bounds = " ".join(_bound(item) for item in metadata)
        return f"{_words(inner)} {bounds}".strip()
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(part) for part in get_args(annotation) if part is not type(None))
    if annotation is timedelta:
        return "duration"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " or ".join(f"`{value}`" for value in annotation)
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bound(item: Any) -> str:
    """A bound of pydantic's, such as `≥ 1`; nothing for what is none."""
    if isinstance(item, FieldInfo):
        return " ".join(part for part in map(_bound, item.metadata) if part)
    names = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(item, name):,}" for name, sign in names.items() if getattr(item, name, None) is not None
    ]
    return " ".join(bounds)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "" if field.default_factory else "required"
    if field.default is None:
        return ""
    if isinstance(field.default, timedelta):
        return f"`{field.default.total_seconds() / 3600:g}h`"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    # a column that says nothing is left out
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    lines = [[header[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(text: str | None) -> str:
    """One line for a cell of a table; what Markdown would take for HTML stays text."""
    return _escaped(" ".join((text or "").split())).replace("|", "\\|")


def _prose(text: str | None) -> str:
    return "\n\n".join(_escaped(" ".join(paragraph.split())) for paragraph in (text or "").split("\n\n"))


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;")


if __name__ == "__main__":
    print(PARTS[sys.argv[1]]())
