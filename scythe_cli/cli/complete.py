"""What the shell offers after Tab, from names that `services.completions` has kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from scythe_cli.services.completions import Names


__all__ = ["columns", "experiments", "files_and_runs", "runs", "runs_and_versions", "tables", "versions"]


_MOST = 100
_MOST_LOOKED_AT = 10_000

T = TypeVar("T")


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Runs: `latest` and experiments; with a beginning, versions; after a second slash, time stamps."""
    known, _ = _known(ctx)
    offered = ["latest", *known]
    for experiment, by_version in known.items():
        if (incomplete and f"{experiment}/".startswith(incomplete)) or incomplete.startswith(f"{experiment}/"):
            offered += [f"{experiment}/{version}" for version in by_version]
            offered += [
                f"{experiment}/{version}/{stamp}"
                for version, stamps in by_version.items()
                if incomplete.startswith(f"{experiment}/{version}/")
                for stamp in stamps
            ]
    return _fitting(offered, incomplete)


def experiments(ctx: typer.Context, incomplete: str) -> list[str]:
    """Experiments: those of the configuration, and those that have runs."""
    known, _ = _known(ctx)
    return _fitting([*_configured(ctx), *known], incomplete)


def studies(ctx: typer.Context, incomplete: str) -> list[str]:
    """Studies of the configuration."""
    return _fitting(_configured(ctx, "studies"), incomplete)


def versions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Versions of the experiment on the command line, or of all."""
    known, _ = _known(ctx)
    return _fitting([version for each in _named(ctx, known) for version in known.get(each, {})], incomplete)


def runs_and_versions(ctx: typer.Context, incomplete: str) -> list[str]:
    """What a comparison takes."""
    return [*runs(ctx, incomplete), *versions(ctx, incomplete)]


def files_and_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """What cases are read from: files and folders, then runs."""
    return [*_safely(lambda: _files(incomplete), []), *runs(ctx, incomplete)]


def _files(incomplete: str) -> list[str]:
    """The sampling files, and the folders, whose path begins like that."""
    from itertools import islice

    from scythe_cli.core.names import is_sampling_name

    folder, slash, start = incomplete.rpartition("/")
    place = Path(f"{folder}{slash}" or ".").expanduser()
    found: list[str] = []
    for entry in islice(place.iterdir(), _MOST_LOOKED_AT):
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start):
            continue
        is_folder = entry.is_dir()
        if is_folder or is_sampling_name(entry.name):
            found.append(f"{folder}{slash}{entry.name}{'/' if is_folder else ''}")
    return sorted(found)[:_MOST]


def columns(ctx: typer.Context, incomplete: str) -> list[str]:
    """Columns of the experiment on the command line, or of all; of one table when it is named."""
    known, by_experiment = _known(ctx)
    table = ctx.params.get("table")
    offered: list[str] = []
    for each in _named(ctx, known):
        names = by_experiment.get(each, {})
        chosen = [table] if isinstance(table, str) and table in names else list(names)
        offered += [name for one in chosen for name in names[one]]
    return _fitting(offered, incomplete)


def tables(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tables of the experiment on the command line, or of all."""
    known, by_experiment = _known(ctx)
    return _fitting(
        ["scalars", *(table for each in _named(ctx, known) for table in by_experiment.get(each, {}) if table)],
        incomplete,
    )


def _fitting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)][:_MOST]


def _named(ctx: typer.Context, known: Names) -> list[str]:
    """The experiment that the command line names so far, else all."""
    named = [ctx.params.get(name) for name in ("run", "name", "experiment", "a")]
    # before the value of an option that is being completed, arguments are not told apart yet
    for value in [*named, *ctx.args]:
        if isinstance(value, str) and value.split("/")[0] in known:
            return [value.split("/")[0]]
    return list(known)


def _option(ctx: typer.Context, name: str) -> Any:
    """The value of a global option, which stands before or after the command's name."""
    context: typer.Context | None = ctx
    while context is not None:
        if context.params.get(name):
            return context.params[name]
        parent: Any = context.parent
        context = parent
    return None


def _safely(call: Callable[[], T], otherwise: T) -> T:
    """A completion says nothing of what is wrong: there is no place for it on a line that is being typed."""
    from scythe_cli.errors import ScytheError

    try:
        return call()
    except (ScytheError, OSError, ValueError):
        return otherwise


def _known(ctx: typer.Context) -> tuple[Names, Names]:
    from scythe_cli.config.location import find_location
    from scythe_cli.services.completions import recall

    nothing: tuple[Names, Names] = ({}, {})
    config, storage = _option(ctx, "config"), _option(ctx, "storage")
    return _safely(lambda: recall(find_location(Path(config) if config else None, storage=storage)), nothing)


def _configured(ctx: typer.Context, table: str = "experiments") -> list[str]:
    from scythe_cli.config.file import find_config, read_config

    def names() -> list[str]:
        config = _option(ctx, "config")
        path = Path(config) if config else find_config(Path.cwd())
        found = read_config(path.absolute()).get(table) if path is not None else None
        return list(found) if isinstance(found, dict) else []

    return _safely(names, [])
