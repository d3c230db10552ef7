"""What an experiment and its versions can be called; loads nothing heavy, so that listing is quick."""

from __future__ import annotations

import re

from scythe_cli.errors import InvalidInputError

__all__ = ["check_experiment_name", "is_experiment_name", "parse_version"]

# as many digits as a version can have: what is written can be read again
_VERSION = re.compile(r"v(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}", re.ASCII)
# names that Windows keeps for devices: a store that is copied there would break
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


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
