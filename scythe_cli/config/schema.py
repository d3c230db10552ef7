"""experiments.toml: found, read, and checked; every mistake names the file and the key."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, ValidationError, field_validator
from pydantic_core import ErrorDetails

from scythe_cli.config.file import (
    DEFAULT_STORAGE,
    read_config,
    show_path,
)
from scythe_cli.config.slurm import SlurmConfig
from scythe_cli.config.studies import StudyConfig
from scythe_cli.config.values import ConfigCores, ConfigDuration, ConfigMemory, ConfigNeed, ConfigSize, Section
from scythe_cli.core.distribution import ENGINES, entry_point, entry_point_names
from scythe_cli.core.names import check_experiment_name
from scythe_cli.core.states import Durability, Isolation, KeepFiles, RetryOn, StartMethod
from scythe_cli.errors import ConfigError, InvalidInputError

__all__ = ["Config", "ExperimentConfig", "load_config"]


_OWN_TABLES = {"hatchet", "slurm"}
"""Tables of engines that this module checks."""


def _engine(value: str) -> str:
    names = entry_point_names(ENGINES) if entry_point(ENGINES, value) is None else []
    if names:
        raise ValueError(f"it should be {', '.join(map(repr, names[:-1]))} or {names[-1]!r}")
    return value


_Engine = Annotated[str, AfterValidator(_engine)]


class ScytheConfig(Section):
    """The table `[scythe]`."""

    storage: str = Field(
        default=DEFAULT_STORAGE,
        min_length=1,
        description="Where runs are kept: a folder, seen from this file's folder, or `s3://bucket/prefix`.",
    )
    engine: _Engine = Field(
        default="local",
        description="Where specs run: `local`, `hatchet`, `slurm`, or an engine that was installed beside them.",
    )
    workers: int | None = Field(
        default=None, ge=1, le=1024, description="Specs that run at the same time on this machine; else one a core."
    )
    durability: Durability = Field(
        default="power",
        description="What a folder of runs survives: `power`: each case that counts as finished is on the disk; "
        "`process`: the system writes it when it likes, which is enough unless the machine itself stops.",
    )
    tokens: dict[str, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(
        default={}, description="How many there are of what cases share, by name: `{ licence = 3 }`."
    )


class HatchetConfig(Section):
    """The table `[hatchet]`."""

    embedded: bool = Field(
        default=False, description="Whether `allocate` starts a Hatchet engine and a worker beside itself."
    )
    namespace: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_\-]{1,64}$",
        description="What this project's tasks are named under on a shared engine; HATCHET_CLIENT_NAMESPACE wins.",
    )


class ExperimentConfig(Section):
    """A table `[experiments.<name>]`; what is None is left to `Register()`."""

    entrypoint: str = Field(description="The function, as `module:function`, importable from the folder of this file.")
    input_from: str | None = Field(
        default=None,
        min_length=1,
        description="The run whose rows are the cases when `allocate` gets no FILE: an experiment, for its latest run, "
        "or any other RUN.",
    )
    map: dict[str, str] = Field(
        default={},
        description="Of cases from a run: by input, the input or output of the run that it takes, such as "
        '`{ energy = "annual_yield" }`; others are taken by their names.',
    )
    group_by: list[str] = Field(
        default=[], description="Of cases from a run: the inputs or outputs whose equal rows become one case."
    )
    agg: list[str] = Field(
        default=[], description='Of cases from a run: what is made of the rows of a group: `["annual_yield:mean"]`.'
    )
    execution_timeout: ConfigDuration | None = Field(
        default=None, description="How long one spec may run: `90s`, `10m`, `1h30m`; else an hour."
    )
    schedule_timeout: ConfigDuration | None = Field(
        default=None, description="On a fleet: how long a task may wait for a worker; else 30 days."
    )
    memory_limit: ConfigSize | None = Field(
        default=None, description="What the process of one spec may take: `500MB`, `4GB`; else all there is."
    )
    retries: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="How many times a spec that did not succeed is tried again; else once, after a crash or a timeout.",
    )
    retry_on: list[RetryOn] | None = Field(
        default=None,
        description="After what a spec is tried again, a list: `failed` (an exception), `timeout`, `crashed`, and on a "
        "fleet `lost` (its worker is gone); else all of them where `retries` is set.",
    )
    isolation: Isolation | None = Field(
        default=None,
        description="`row`: each spec has a process of its own; `process`: specs share processes; else `auto`: each "
        "has its own where that costs less than a twentieth of its time.",
    )
    rows_per_process: int | None = Field(
        default=None, ge=1, description="How many specs one process runs at most; wins over `isolation`."
    )
    working_directory: str | None = Field(
        default=None,
        min_length=1,
        description="Where specs run: `row`, a new folder for each that shows the files of this one; `project`, the "
        "folder of this file; or a path seen from there; else `row`.",
    )
    keep_files: KeepFiles | None = Field(
        default=None,
        description="Whether files that specs write into their own folders are kept with the run: `failed`, for specs "
        "that did not succeed, `always`, or `never`; else `never`.",
    )
    startup_timeout: ConfigDuration | None = Field(
        default=None, description="How long a process may take to load the experiment; else 5 minutes."
    )
    start_method: StartMethod | None = Field(
        default=None,
        description="`fork`: processes are copies of one that has loaded the experiment; `spawn`: each loads it; else "
        "`auto`: copies where that does no harm.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Threads that numerical libraries start in a process; else its share of the cores.",
    )
    cpus: ConfigCores | None = Field(
        default=None, description="Cores that one case takes, or the input field that says it; else 1."
    )
    memory: ConfigMemory | None = Field(
        default=None,
        description="Memory that one case takes, such as `4GB`, or the input field that says it, in bytes: as many run "
        "at the same time as fit into the machine. `auto`: the most that a case of the last run took.",
    )
    gpus: ConfigNeed | None = Field(
        default=None,
        description="GPUs that one case has for itself, or the input field that says it: its process sees no others.",
    )
    tokens: dict[str, ConfigNeed] = Field(
        default={},
        description="What one case takes of what there are only some, such as licences: `{ licence = 1 }`; "
        "`[scythe] tokens` says how many there are.",
    )
    max_depth: int | None = Field(
        default=None,
        ge=0,
        le=10,
        description="On a fleet: how many levels of scatter/gather nodes there are; else 1, and none for 100,000 "
        "cases, or 1,000 where `specs_per_task` is a number.",
    )
    factor: int | None = Field(
        default=None, ge=1, le=100_000, description="On a fleet: how many child nodes a node has; else 10."
    )
    specs_per_task: Literal["auto"] | Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default="auto", description="On a fleet: specs of one task; `auto` follows what they take."
    )

    slurm: SlurmConfig = Field(default=SlurmConfig(), description="On Slurm: what is not as the table `[slurm]` says.")

    @field_validator("entrypoint")
    @classmethod
    def _check_entrypoint(cls, value: str) -> str:
        module, colon, function = value.partition(":")
        parts = [*module.split("."), *function.split(".")]
        if not colon or not all(part.isidentifier() for part in parts):
            raise ValueError("write it as 'module:function', such as 'experiments.building:simulate'")
        return value


class Config(Section):
    """The whole file."""

    scythe: ScytheConfig = Field(default=ScytheConfig(), description="What holds for all experiments.")
    hatchet: HatchetConfig = Field(default=HatchetConfig(), description="The engine `hatchet`.")
    slurm: SlurmConfig = Field(default=SlurmConfig(), description="The engine `slurm`.")
    experiments: dict[str, ExperimentConfig] = Field(
        default={}, description="The experiments by name. Where a key is missing, what `Register()` says holds."
    )
    studies: dict[str, StudyConfig] = Field(
        default={}, description="The studies by name: runs that choose their own next cases, for `scythe study NAME`."
    )
    _engines: dict[str, dict[str, Any]] = PrivateAttr(default_factory=dict[str, dict[str, Any]])

    def with_engine_settings(self, tables: Mapping[str, dict[str, Any]]) -> Config:
        """The same, with tables of engines that are not ours."""
        self._engines.update(tables)
        return self

    def engine_settings(self, name: str) -> dict[str, Any]:
        """What the file says in the table of an engine; empty where it has none."""
        if name not in _OWN_TABLES:
            return dict(self._engines.get(name, {}))
        settings: dict[str, Any] = getattr(self, name).model_dump(exclude_unset=True)
        own = {each: getattr(table, name, None) for each, table in self.experiments.items()}
        overrides = {each: table.model_dump(exclude_unset=True) for each, table in own.items() if table is not None}
        overrides = {each: table for each, table in overrides.items() if table}
        return settings | ({"experiments": overrides} if overrides else {})


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: If it cannot be read, is not TOML, or has a key or value that is not allowed.
    """
    document = dict(read_config(path))
    # an engine that is installed beside ours checks its table itself
    others = [name for name in document if name not in Config.model_fields and isinstance(document[name], dict)]
    engines = {name: document.pop(name) for name in others if entry_point(ENGINES, name) is not None}
    try:
        config = Config.model_validate(document).with_engine_settings(engines)
    except ValidationError as error:
        shown = [f"{show_path(path)}: {line}" for line in _mistakes(error)]
        more = [f"… and {len(shown) - 10} more"] if len(shown) > 10 else []
        raise ConfigError("\n".join(shown[:10] + more)) from None
    for table, name in [("experiments", n) for n in config.experiments] + [("studies", n) for n in config.studies]:
        try:
            check_experiment_name(name)
        except InvalidInputError as error:
            raise ConfigError(f"{show_path(path)}: [{table}]: {error.message}", hint=error.hint) from None
    return config


def _mistakes(error: ValidationError) -> list[str]:
    """Word each wrong key once: the key, what was found, what is allowed."""
    wrong: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        loc = [str(key) for key in details["loc"]]
        # deeper than the key, pydantic names the members of a union
        depth = 2 if loc[0] not in ("experiments", "studies") else 4 if len(loc) > 3 and loc[2] in _OWN_TABLES else 3
        wrong.setdefault(tuple(loc[:depth]), []).append(details)
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
    expected = " or ".join([one, *(other.removeprefix("it should ").removeprefix("be ") for other in others)])
    return f"{place!r} is {_shown(first['input'])}; {expected}"


def _expected(details: ErrorDetails) -> str:
    if details["type"] in ("model_type", "dict_type"):
        return "it should be a table"
    message = details["msg"]
    if message.startswith("Value error, "):
        return message.removeprefix("Value error, ")
    for said, words in _WORDS.items():
        message = re.sub(said, words, message)
    return message


_WORDS = {
    r"^(Input|String) should": "it should",
    r"be a valid integer.*": "be a whole number",
    r"be a valid (number|list|tuple|set)": r"be a \1",
    r"be a valid string": "be text",
    r"be a valid boolean.*": "be true or false",
    r"be a valid dictionary": "be a table",
    r"be greater than or equal to (.+)": r"be \1 or more",
    r"be less than or equal to (.+)": r"be \1 or less",
}
"""What pydantic says, and what people do who write a file in TOML."""


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
