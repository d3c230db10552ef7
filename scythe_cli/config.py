"""experiments.toml: found, read, and checked; every mistake names the file and the key."""

from __future__ import annotations

import difflib
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from scythe_cli.errors import ConfigError, InvalidInputError
from scythe_cli.layout import check_experiment_name
from scythe_cli.quantities import parse_duration, parse_size

__all__ = ["CONFIG_NAME", "Config", "EngineName", "ExperimentConfig", "find_config", "load_config"]

CONFIG_NAME = "experiments.toml"
EngineName = Literal["local", "hatchet"]

_MAX_CONFIG_BYTES = 1_000_000


def _duration(value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, timedelta)):
        raise ValueError("write it like \"90s\", \"10m\" or \"1h30m\"")  # noqa: Q003
    return parse_duration(value)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("write it like \"500MB\" or \"4GB\"")  # noqa: Q003
    return parse_size(value)


_Duration = Annotated[timedelta, BeforeValidator(_duration)]
_Size = Annotated[int, BeforeValidator(_size)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ScytheConfig(_Section):
    """The table `[scythe]`."""

    storage: str = Field(default="runs", min_length=1)
    engine: EngineName = "local"
    workers: int | None = Field(default=None, ge=1, le=1024)


class HatchetConfig(_Section):
    """The table `[hatchet]`."""

    embedded: bool = False


class ExperimentConfig(_Section):
    """A table `[experiments.<name>]`; what is None is left to `Register()`."""

    entrypoint: str
    execution_timeout: _Duration | None = None
    schedule_timeout: _Duration | None = None
    memory_limit: _Size | None = None
    retries: int | None = Field(default=None, ge=0, le=100)
    max_depth: int | None = Field(default=None, ge=0, le=10)
    factor: int | None = Field(default=None, ge=1, le=100_000)
    specs_per_task: Literal["auto"] | Annotated[int, Field(ge=1, le=1_000_000)] = "auto"

    @field_validator("entrypoint")
    @classmethod
    def _check_entrypoint(cls, value: str) -> str:
        module, colon, function = value.partition(":")
        parts = [*module.split("."), *function.split(".")]
        if not colon or not all(part.isidentifier() for part in parts):
            raise ValueError("write it as 'module:function', such as 'experiments.building:simulate'")
        return value


class Config(_Section):
    """The whole file."""

    scythe: ScytheConfig = ScytheConfig()
    hatchet: HatchetConfig = HatchetConfig()
    experiments: dict[str, ExperimentConfig] = {}


def find_config(start: Path) -> Path | None:
    """Look for experiments.toml in a folder and in those above it."""
    for folder in (start, *start.parents):
        candidate = folder / CONFIG_NAME
        if candidate.is_file():
            return candidate
    return None


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: If it cannot be read, is not TOML, or has a key or value that is not allowed.
    """
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ConfigError(f"{_show(path)}: larger than 1 MB; that is not a configuration file")
        text = path.read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(
            f"{_show(path)}: there is no such file", hint="`scythe init` makes a working project."
        ) from None
    except OSError as error:
        raise ConfigError(f"{_show(path)}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_show(path)}: byte {error.start} is not UTF-8", hint="Save the file as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{_show(path)}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{_show(path)}: not valid TOML: nested too deeply") from None
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        lines = [_mistake(details) for details in error.errors(include_url=False)]
        shown = [f"{_show(path)}: {line}" for line in dict.fromkeys(lines)]
        more = [f"… and {len(shown) - 10} more"] if len(shown) > 10 else []
        raise ConfigError("\n".join(shown[:10] + more)) from None
    for name in config.experiments:
        try:
            check_experiment_name(name)
        except InvalidInputError as error:
            raise ConfigError(f"{_show(path)}: [experiments.{name}]: {error.message}", hint=error.hint) from None
    return config


def _show(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _mistake(details: Mapping[str, Any]) -> str:
    """Word one error: the key, what was found, what is allowed."""
    # pydantic adds the names of union members to the place; they are no keys
    keys = [str(key) for key in details["loc"] if not _is_union_tag(str(key))]
    place = ".".join(keys)
    if details["type"] == "extra_forbidden":
        allowed = _allowed_keys(keys[:-1])
        close = difflib.get_close_matches(keys[-1], allowed, n=1)
        suggestion = f"did you mean '{close[0]}'?" if close else f"allowed are {', '.join(allowed)}"
        return f"unknown key '{place}'; {suggestion}"
    if details["type"] == "missing":
        return f"'{place}' is missing"
    message = str(details["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    prefix = "" if str(details["msg"]).startswith("Value error") else "it should be "
    found = details["input"]
    shown = "a table" if isinstance(found, dict) else repr(found)
    return f"'{place}' is {shown if len(shown) < 80 else shown[:77] + '...'}; {prefix}{message}"


def _is_union_tag(key: str) -> bool:
    return key in {"int", "constrained-int"} or key.startswith(("literal[", "function-"))


def _allowed_keys(keys: list[str]) -> list[str]:
    model: type[BaseModel] = Config
    position = 0
    while position < len(keys):
        annotation = model.model_fields[keys[position]].annotation
        if typing.get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            position += 1
        if isinstance(annotation, types.GenericAlias) or not isinstance(annotation, type):
            break
        model = annotation
        position += 1
    return list(model.model_fields)
