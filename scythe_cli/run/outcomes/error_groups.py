"""What went wrong in a run, grouped by what is alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import polars as pl

from scythe_cli.core.states import State
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.standings import Standings, bad_outcomes, standings_of
from scythe_cli.run.records import ErrorGroup, SpecError
from scythe_cli.storage.base import Storage

__all__ = [
    "ERROR_COLUMNS",
    "Alike",
    "CollectedErrors",
    "alike_key",
    "groups_of_run",
    "place_of",
    "read_errors",
]


ERROR_COLUMNS = ["sort_index", "state", "attempt", "error_type", "message", "traceback", "duration_s"]
"""What `read_errors` tells of a spec."""

_ROWS_SHOWN = 20
_FRAME = re.compile(r'^(?:  \| )?  File "(.+)", line (\d+), in (.+)$', re.MULTILINE)
_FOLLOWS = re.compile(
    r"^(?:  \| )?(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$",
    re.MULTILINE,
)
# the lines of frames are indented, and what follows is not; a long text has lost its middle, maybe inside a line
_STACK = re.compile(
    r"^(?:  [+] Exception Group )?Traceback \(most recent call last\):\n(?:(?:  .*|… .* left out …\n.*)(?:\n|\Z))*",
    re.MULTILINE,
)
_LIBRARY = re.compile(r"^<frozen |[/\\](?:site-packages|dist-packages|lib(?:64)?[/\\]python3[.]\d+t?)[/\\]")
_INSTALLED = re.compile(r".*[/\\](?:site-packages|dist-packages)[/\\][^/\\]+")
_SPARE = 4


def read_errors(
    ledger: Ledger, standings: Standings, limit: int | None = None
) -> tuple[CollectedErrors, CollectedErrors]:
    """What the ledger tells of the specs that did not succeed.

    Args:
        ledger: The run's ledger, open.
        standings: What has become of each spec.
        limit: How many specs are told of one by one; None for all.

    Returns:
        The specs that ended without success, and those that failed and are pending.
    """
    ended, failing = CollectedErrors(limit), CollectedErrors(limit, keeps="last")
    for frame in bad_outcomes(ledger, standings, ERROR_COLUMNS):
        ended.add(frame)
    for frame in bad_outcomes(ledger, standings, ERROR_COLUMNS, failing=True):
        failing.add(frame)
    return ended, failing


def groups_of_run(storage: Storage, run: RunLayout, n_specs: int) -> tuple[list[ErrorGroup], list[ErrorGroup]]:
    """What went wrong in a run, for who has not opened its ledger.

    Returns:
        The specs that ended without success, and those that failed and are pending.
    """
    with Ledger.open(storage, run) as ledger:
        ended, failing = read_errors(ledger, standings_of(ledger, n_specs), 0)
        return ended.groups(), failing.groups()


@dataclass(slots=True)
class CollectedErrors:
    """What specs that did not succeed have in common, and the first of them; not all need be in memory.

    Attributes:
        limit: How many specs are kept; None for all.
        keeps: Which counts where a spec comes twice, of two that come at once; one that came before counts.
    """

    limit: int | None = None
    keeps: Literal["first", "last"] = "first"
    _groups: dict[Alike, _Group] = field(default_factory=dict["Alike", "_Group"])
    _kept: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])

    def add(self, errors: pl.DataFrame) -> None:
        """Take rows with `ERROR_COLUMNS`, of some more specs."""
        if not _is_ascending(errors["sort_index"]):
            errors = errors.unique("sort_index", keep=self.keeps, maintain_order=True).sort("sort_index")
        # of many that failed, few differ in their texts: places are told of these alone
        alike = errors.group_by("state", "error_type", "traceback", maintain_order=True).agg(
            pl.len().alias("n"), pl.col("sort_index").head(_ROWS_SHOWN).alias("rows"), pl.col("message").first()
        )
        for row in alike.iter_rows(named=True):
            self._groups.setdefault(alike_key(row["state"], row["error_type"], row["traceback"]), _Group()).add(row)
        self._kept.append(errors if self.limit is None else errors.head(self.limit))
        if self.limit is not None and sum(frame.height for frame in self._kept) > _SPARE * self.limit:
            self._kept = [self._sorted()]

    def groups(self) -> list[ErrorGroup]:
        """What failed alike: the largest group first, of two that are as large that which comes first in the run."""
        ordered = sorted(self._groups.items(), key=lambda item: (-item[1].n, item[1].rows[0]))
        return [
            ErrorGroup(
                state=State(alike.state),
                error_type=alike.error_type,
                place=alike.place,
                message=group.message,
                count=group.n,
                rows=group.rows,
            )
            for alike, group in ordered
        ]

    def first(self) -> list[SpecError]:
        """The first specs."""
        return [SpecError.model_validate(row) for row in self._sorted().iter_rows(named=True)] if self._kept else []

    def _sorted(self) -> pl.DataFrame:
        kept = pl.concat(self._kept).sort("sort_index", maintain_order=True)
        return kept if self.limit is None else kept.head(self.limit)


def _is_ascending(rows: pl.Series) -> bool:
    return bool((rows.diff().drop_nulls() > 0).all())


@dataclass(slots=True)
class _Group:
    """Specs that failed alike: how many, the first of them, and what is said of the very first."""

    n: int = 0
    rows: list[int] = field(default_factory=list[int])
    message: str = ""

    def add(self, row: Mapping[str, Any]) -> None:
        if not self.rows or row["rows"][0] < self.rows[0]:
            self.message = row["message"] or ""
        self.n += row["n"]
        self.rows = sorted([*self.rows, *row["rows"]])[:_ROWS_SHOWN]


class Alike(NamedTuple):
    """What specs have in common that failed alike."""

    state: str
    error_type: str
    place: str | None


def alike_key(state: str, error_type: str | None, traceback: str | None) -> Alike:
    """What tells failures that are alike from others."""
    return Alike(state, error_type or "?", place_of(traceback))


def place_of(traceback: str | None) -> str | None:
    """Where an error is to be mended: the last frame of the user's own code, and not a frame deep inside a library.

    Args:
        traceback: As Python writes it; where errors follow from one another, that of the last one is looked at.

    Returns:
        File, line and function; the last frame where all are of libraries, None where there is none.
    """
    frames = _frames(traceback or "")
    if not frames:
        return None
    own = [frame for frame in frames if not _LIBRARY.search(frame[0])]
    if not own:
        # the function is first: it can be installed as a package itself
        package = _package_of(frames[0][0])
        own = [frame for frame in frames if package is not None and _package_of(frame[0]) == package]
    file, line, function = (own or frames)[-1]
    return f"{file}:{line} in {function}"


def _frames(traceback: str) -> list[tuple[str, str, str]]:
    """File, line and function of the frames of the last error; what a message quotes are no frames."""
    text = _FOLLOWS.split(traceback)[-1]
    stack = _STACK.search(text)
    return _FRAME.findall(text if stack is None else stack[0])


def _package_of(file: str) -> str | None:
    """The folder, or the module, that a file of an installed package belongs to."""
    match = _INSTALLED.match(file)
    return None if match is None else match[0]
