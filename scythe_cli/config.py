"""experiments.toml: found, read, and checked; every mistake names the file and the key."""

from __future__ import annotations

import difflib
import os
import tomllib
import types
import typing
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from scythe_cli.errors import ConfigError, InvalidInputError
from scythe_cli.layout import check_experiment_name
from scythe_cli.quantities import parse_duration, parse_size

__all__ = ["CONFIG_NAME", "Config", "EngineName", "ExperimentConfig", "find_config", "load_config"]

CONFIG_NAME = "experiments.toml"
EngineName = Literal["local", "hatchet"]

_MAX_CONFIG_BYTES = 1_000_000
_T = TypeVar("_T")


def _duration(value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, timedelta)):
        raise ValueError("write it like '90s', '10m' or '1h30m'")
    return _parsed(parse_duration, value)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("write it like '500MB' or '4GB'")
    return _parsed(parse_size, value)


def _parsed(parse: Callable[[Any], _T], value: Any) -> _T:
    try:
        return parse(value)
    except ValueError as error:
        # the value is shown already
        raise ValueError(str(error).replace(repr(value), "it", 1)) from None


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
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIG_BYTES + 1)  # a device has no size that could be asked for
        if len(data) > _MAX_CONFIG_BYTES:
            raise ConfigError(f"{_show(path)}: larger than 1 MB; that is not a configuration file")
        document = tomllib.loads(data.decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            f"{_show(path)}: there is no such file", hint="`scythe init` makes a working project."
        ) from None
    except OSError as error:
        raise ConfigError(f"{_show(path)}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_show(path)}: byte {error.start} is not UTF-8", hint="Save the file as UTF-8.") from None
    except ValueError as error:  # a TOMLDecodeError, or an integer of thousands of digits
        raise ConfigError(f"{_show(path)}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{_show(path)}: not valid TOML: nested too deeply") from None
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        shown = [f"{_show(path)}: {line}" for line in _mistakes(error)]
        more = [f"… and {len(shown) - 10} more"] if len(shown) > 10 else []
        raise ConfigError("\n".join(shown[:10] + more)) from None
    for name in config.experiments:
        try:
            check_experiment_name(name)
        except InvalidInputError as error:
            raise ConfigError(f"{_show(path)}: [experiments]: {error.message}", hint=error.hint) from None
    return config


def _show(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _mistakes(error: ValidationError) -> list[str]:
    """Word each wrong key once: the key, what was found, what is allowed."""
    wrong: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        loc = [str(key) for key in details["loc"]]
        # deeper than the key, pydantic names the members of a union
        wrong.setdefault(tuple(loc[: 3 if loc[0] == "experiments" else 2]), []).append(details)
    return [_mistake(keys, found) for keys, found in wrong.items()]


def _mistake(keys: tuple[str, ...], found: Sequence[ErrorDetails]) -> str:
    place, first = ".".join(keys), found[0]
    if first["type"] == "extra_forbidden":
        allowed = _allowed_keys(keys[:-1])
        close = difflib.get_close_matches(keys[-1], allowed, n=1)
        suggestion = f"did you mean '{close[0]}'?" if close else f"allowed are {', '.join(allowed)}"
        return f"unknown key {place!r}; {suggestion}"
    if first["type"] == "missing":
        return f"{place!r} is missing"
    one, *others = dict.fromkeys(_expected(details) for details in found)
    expected = " or ".join([one, *(other.removeprefix("it should ") for other in others)])
    return f"{place!r} is {_shown(first['input'])}; {expected}"


def _expected(details: ErrorDetails) -> str:
    if details["type"] in ("model_type", "dict_type"):
        return "it should be a table"
    message = details["msg"]
    if message.startswith("Value error, "):
        return message.removeprefix("Value error, ")
    return message.replace("Input should", "it should").replace("String should", "it should")


def _shown(found: object) -> str:
    if isinstance(found, dict):
        return "a table"
    if isinstance(found, bool):
        return str(found).lower()
    try:
        text = repr(found)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) < 80 else text[:77] + "..."


def _allowed_keys(keys: Sequence[str]) -> list[str]:
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
