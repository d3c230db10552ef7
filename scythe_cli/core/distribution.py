"""The installed distribution: its version, its extras, and the entry points by which others add to it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, distribution, entry_points
from importlib.metadata import version as _version_of

from scythe_cli.errors import MissingExtraError, first_line

__all__ = [
    "DISTRIBUTION",
    "ENGINES",
    "EXTRAS",
    "FOREIGN",
    "PAGES",
    "entry_point",
    "entry_point_names",
    "installed_version",
    "needs_extra",
]

DISTRIBUTION = "scythe-experiments"
"""The name under which the package is installed."""

FOREIGN = "scythe-cli"
"""The distribution of another program, a client of a time tracker, whose command and package have the same names."""

ENGINES = "scythe_cli.engines"
"""The group of entry points that name engines; each is a subclass of `scythe_cli.engines.base.Engine`."""

PAGES = "scythe_cli.pages"
"""The group of entry points that show runs; `ui` is a function that serves the page in the background.

Rooms import only downward: a project, which lies below the page, asks for it by its name.
"""

EXTRAS: dict[str, tuple[str, ...]] = {
    "boto3": ("boto3",),
    "notebook": ("altair",),
    "pandas": ("pandas",),
    "plot": ("vl_convert",),
    "sample": ("scipy",),
    "sql": ("duckdb",),
    "study": ("sklearn", "optuna", "gest_api", "threadpoolctl"),
    "ui": ("orjson", "starlette", "uvicorn"),
    "xlsx": ("fastexcel", "xlsxwriter"),
}
"""The modules that each extra brings; the core has what it takes to run cases and to serve a fleet."""


_FIRST = {"local": 0, "hatchet": 1}
"""What needs nothing is named first; an installer sorts the names."""


def installed_version() -> str:
    """The version of this program."""
    return _version_of(DISTRIBUTION)


class needs_extra:  # noqa: N801 - it is read as a statement
    """Around the import of a module that an extra brings: says how to install it where it is missing.

    ```python
    with needs_extra("sql", "SQL"):
        import duckdb
    ```

    A module that is there and cannot be loaded is another matter, and its own message is shown.

    Args:
        extra: A name of `EXTRAS`.
        what: What the module is for, as the subject of "needs".
    """

    def __init__(self, extra: str, what: str) -> None:
        self._extra = extra
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, ImportError):
            return
        module = next((name for name in EXTRAS[self._extra] if (error.name or "").partition(".")[0] == name), None)
        install = f"pip install '{DISTRIBUTION}[{self._extra}]'"
        if isinstance(error, ModuleNotFoundError) and module is not None:
            raise MissingExtraError(
                f"{self._what} needs {_name(module)}, which is not installed", hint=f"Install it with: {install}"
            ) from None
        names = ", ".join(map(_name, EXTRAS[self._extra]))
        raise MissingExtraError(
            f"{self._what} needs {names}, which cannot be loaded: {first_line(error)}",
            hint=f"Install it again with: {install}",
        ) from error


def _name(module: str) -> str:
    """What people call the library of a module."""
    return {"sklearn": "scikit-learn"}.get(module, module.replace("_", "-"))


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
