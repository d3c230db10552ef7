"""experiments.toml as a document: found, and read; `config` checks what it says."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from scythe_cli.errors import ConfigError

__all__ = ["CONFIG_NAME", "DEFAULT_STORAGE", "find_config", "read_config", "show_path"]


CONFIG_NAME = "experiments.toml"

DEFAULT_STORAGE = "runs"
"""The folder of runs, beside the configuration, where nothing names another."""

_MAX_CONFIG_BYTES = 1_000_000


def find_config(start: Path) -> Path | None:
    """Look for experiments.toml in a folder and in those above it.

    Raises:
        ConfigError: If the one that is found is neither the user's own nor root's.
    """
    for folder in (start, *start.parents):
        candidate = folder / CONFIG_NAME
        if candidate.is_file():
            _check_owner(candidate)
            return candidate
    return None


def _check_owner(path: Path) -> None:
    """Refuse a file that was found and not named, when it is somebody else's: it says which code is run.

    In a folder such as /tmp, anybody can put one above the folders of others. As git does, root is trusted, and who
    has become root by sudo trusts the own files as before.
    """
    if not hasattr(os, "geteuid"):
        return
    trusted = {0, os.geteuid()}
    sudo = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and sudo.isascii() and sudo.isdigit():
        trusted.add(int(sudo))
    for place in (path, path.parent):
        try:
            owner = place.stat().st_uid
        except OSError:
            continue  # it is gone; whoever reads it says so
        if owner not in trusted:
            raise ConfigError(
                f"{show_path(path)} belongs to another user, who could make it run any code",
                hint=f"If you trust it, say so with --config {show_path(path)}",
            )


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file, unchecked.

    Raises:
        ConfigError: If it cannot be read, or is not TOML.
    """
    name = show_path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIG_BYTES + 1)  # a device has no size that could be asked for
        if len(data) > _MAX_CONFIG_BYTES:
            raise ConfigError(f"{name}: larger than 1 MB, so not a configuration file")
        return tomllib.loads(data.decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{name}: there is no such file", hint="`scythe init` makes a working project.") from None
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: byte {error.start} is not UTF-8", hint="Save the file as UTF-8.") from None
    except ValueError as error:  # a TOMLDecodeError, or an integer of thousands of digits
        raise ConfigError(f"{name}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{name}: not valid TOML: nested too deeply") from None


def show_path(path: Path) -> str:
    """The path as messages show it: from the working directory, where that is not longer."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
