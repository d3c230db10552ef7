"""The installed distribution: its version, and the entry points by which others add to it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, distribution, entry_points
from importlib.metadata import version as _version_of

__all__ = ["DISTRIBUTION", "ENGINES", "FOREIGN", "entry_point", "entry_point_names", "installed_version"]

DISTRIBUTION = "scythe-experiments"
"""The name under which the package is installed."""

FOREIGN = "scythe-cli"
"""The distribution of another program, a client of a time tracker, whose command and package have the same names."""

ENGINES = "scythe_cli.engines"
"""The group of entry points that name engines; each is a subclass of `scythe_cli.engines.base.Engine`."""


_FIRST = {"local": 0, "hatchet": 1}
"""What needs nothing is named first; an installer sorts the names."""


def installed_version() -> str:
    """The version of this program."""
    return _version_of(DISTRIBUTION)


def entry_point(group: str, name: str) -> EntryPoint | None:
    """The entry point of a name; one of our own comes before one of another distribution.

    Args:
        group: The group, such as `ENGINES`.
        name: Its name there.
    """
    own = _own(group).get(name)
    # to look through all that is installed takes ten times longer
    return own or next(iter(entry_points(group=group, name=name)), None)


def entry_point_names(group: str) -> list[str]:
    """The names of a group, our own first, then the others sorted."""
    own = _own(group)
    return [*own, *sorted({point.name for point in entry_points(group=group)} - set(own))]


@cache
def _own(group: str) -> dict[str, EntryPoint]:
    points = [point for point in distribution(DISTRIBUTION).entry_points if point.group == group]
    return {point.name: point for point in sorted(points, key=lambda point: _FIRST.get(point.name, 2))}
