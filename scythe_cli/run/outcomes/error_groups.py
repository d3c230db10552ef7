"""What went wrong in a run, grouped by what is alike."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import polars as pl

from scythe_cli.core.states import State
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.outcomes.effective import effective_outcomes, failing_outcomes
from scythe_cli.run.records import ErrorGroup, SpecError
from scythe_cli.storage.base import Storage

__all__ = [
    "ERROR_COLUMNS",
    "Alike",
    "alike_key",
    "group_errors",
    "groups_of_run",
    "place_of",
    "read_errors",
    "spec_errors",
]


ERROR_COLUMNS = ["sort_index", "state", "attempt", "error_type", "message", "traceback", "duration_s"]
"""What `read_errors` tells of a spec."""
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


def read_errors(ledger: Ledger, effective: pl.DataFrame) -> pl.DataFrame:
    """The outcomes that count of the specs that ended without success.

    Args:
        ledger: The run's ledger, open.
        effective: What `effective_outcomes` makes of its outcomes.

    Returns:
        A frame with `sort_index`, `state`, `attempt`, `error_type`, `message`, `traceback` and `duration_s`, sorted by
        `sort_index`; specs that are pending are not in it.
    """
    bad = effective.filter(pl.col("state") != State.SUCCEEDED.value)
    frames: list[pl.DataFrame] = []
    for (position,), group in bad.group_by("part", maintain_order=True):
        part = ledger.parts[int(position)]  # pyright: ignore[reportArgumentType]
        read: Any = pl.from_arrow(read_part(part, ERROR_COLUMNS))
        frames.append(read[group["row"]])
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(ERROR_COLUMNS, pl.String))
    return pl.concat(frames).sort("sort_index")


def spec_errors(errors: pl.DataFrame, limit: int | None = None) -> list[SpecError]:
    """The rows of `read_errors` as records, at most `limit` of them."""
    shown = errors if limit is None else errors.head(limit)
    return [SpecError.model_validate(row) for row in shown.iter_rows(named=True)]


def groups_of_run(storage: Storage, run: RunLayout) -> tuple[list[ErrorGroup], list[ErrorGroup]]:
    """What went wrong in a run, for who has not opened its ledger.

    Returns:
        The specs that ended without success, and those that failed and are pending.
    """
    with Ledger.open(storage, run) as ledger:
        outcomes = ledger.outcomes()
        effective = effective_outcomes(outcomes)
        failing = failing_outcomes(outcomes, effective)
        return group_errors(read_errors(ledger, effective)), group_errors(read_errors(ledger, failing))


def group_errors(errors: pl.DataFrame) -> list[ErrorGroup]:
    """Group the rows of `read_errors` by state, type and place; the largest group first."""
    if not errors.height:
        return []
    places = [place_of(text) for text in errors["traceback"]]
    grouped = (
        errors.with_columns(pl.Series("place", places, pl.String), pl.col("error_type").fill_null("?"))
        .group_by("state", "error_type", "place", maintain_order=True)
        .agg(
            pl.col("message").first(),
            pl.len().alias("count"),
            pl.col("sort_index").head(20).alias("rows"),
        )
        .sort("count", descending=True, maintain_order=True)
    )
    return [
        ErrorGroup.model_validate({**row, "message": row["message"] or ""}) for row in grouped.iter_rows(named=True)
    ]


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
