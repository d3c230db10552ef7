"""What an experiment can be called."""

from __future__ import annotations

import re

from scythe_cli.errors import InvalidInputError

__all__ = ["check_experiment_name", "is_experiment_name"]

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
