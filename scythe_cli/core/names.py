"""What an experiment, its versions and its parts can be called; loads nothing heavy, so that listing is quick."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import UTC, datetime

from scythe_cli.errors import InvalidInputError

__all__ = [
    "check_experiment_name",
    "check_run_name",
    "is_experiment_name",
    "is_folder_name",
    "is_sampling_name",
    "parse_version",
    "time_in",
    "timed_name",
]

# as many digits as a version can have: what is written can be read again
_VERSION = re.compile(r"v(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}", re.ASCII)
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}", re.ASCII)
_MAX_RUN_NAME = 512
_TIME = "%Y%m%dT%H%M%S"
# names that Windows keeps for devices: a store that is copied there would break
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}

_SAMPLING = (
    *(".csv", ".tsv", ".txt", ".parquet", ".pq", ".arrow", ".feather"),
    *(".jsonl", ".ndjson", ".xlsx", ".gz", ".zst"),
)


def is_sampling_name(name: str) -> bool:
    """Whether a name ends as those of sampling files do."""
    return name.lower().endswith(_SAMPLING)


def check_experiment_name(name: str) -> str:
    """Return the name when it can be the name of a folder on every system.

    Raises:
        InvalidInputError: If it is anything but letters, digits, `_`, `-` and `.`, beginning with a letter or digit.
    """
    if not _NAME.fullmatch(name) or name.endswith(".") or name.split(".")[0].lower() in _DEVICES:
        raise InvalidInputError(
            f"{name!r} cannot be the name of an experiment",
            hint="Use letters, digits, '_', '-' and '.', beginning with a letter or a digit, at most 128 of them.",
        )
    if name == "latest":
        raise InvalidInputError("an experiment cannot be called 'latest'", hint="'latest' means the newest run.")
    return name


def check_run_name(name: str) -> str:
    """Return the name when runs can be kept under it: names as those of experiments, which may hold spaces.

    Several are parted by `/`, as in `City 1/baseline`; the first ones may be those of a run, in whose folder it is.

    Raises:
        InvalidInputError: If it cannot be a folder below the storage on every system, or is that of a version or run.
    """
    parts = name.split("/")
    for number, part in enumerate(parts, 1):
        if part != part.strip() or (number == len(parts) and (parse_version(part) or _STAMP.fullmatch(part))):
            raise InvalidInputError(
                f"{name!r} cannot be the name of runs",
                hint="Each of its parts begins and ends with a letter or a digit, and the last one is not a version.",
            )
        check_experiment_name(part.replace(" ", "_"))
    if len(name) > _MAX_RUN_NAME:
        raise InvalidInputError(f"the name of runs {name[:40]!r}… is longer than {_MAX_RUN_NAME} characters")
    return name


def is_folder_name(name: str) -> bool:
    """Whether a folder of this name can hold runs, those of older programs included."""
    return bool(name) and name[0] != "." and "\\" not in name and name.isprintable()


def is_experiment_name(name: str) -> bool:
    """Whether a name can be that of an experiment."""
    try:
        check_experiment_name(name)
    except InvalidInputError:
        return False
    return True


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Read `vMAJOR.MINOR.PATCH`, whole numbers without leading zeros; None for anything else."""
    match = _VERSION.fullmatch(text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def timed_name(what: str, *, not_before: datetime | None = None) -> str:
    """A name that nothing else has, and that says when it was made, in UTC: such as `slurm-20260101T090000-1a2b3c4d`.

    Args:
        what: What it begins with, without a dash.
        not_before: The time that it says at least, whatever the clock of this machine.
    """
    now = datetime.now(UTC)
    at = now if not_before is None else max(now, not_before)
    return f"{what}-{at:{_TIME}}-{os.urandom(4).hex()}"


def time_in(name: str) -> datetime | None:
    """When something was made whose name begins as `timed_name` has it; None for other names."""
    with suppress(ValueError, LookupError):
        return datetime.strptime(name.split("-")[1], _TIME).replace(tzinfo=UTC)
    return None
