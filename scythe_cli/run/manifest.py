"""`manifest.yml` and the other YAML documents of a run."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scythe_cli.core.processes import user_and_host
from scythe_cli.core.text import redact_text
from scythe_cli.errors import StorageError, first_line
from scythe_cli.run.chain.records import UpstreamRecord
from scythe_cli.run.design_record import DesignRecord, StudyRecord
from scythe_cli.run.layout import RunLayout, check_format
from scythe_cli.storage.base import ForeignKeyError, MissingKeyError, Storage

__all__ = [
    "ExtensionRecord",
    "IoSchema",
    "Provenance",
    "RecursionRecord",
    "ReuseRecord",
    "RunManifest",
    "UnreadableManifestError",
    "command_line",
    "dump_yaml",
    "load_yaml",
    "provenance",
    "read_io_schema",
    "read_manifest",
    "read_yaml",
]


_MAX_YAML_BYTES = 50_000_000
MAX_MANIFEST_BYTES = 20_000_000
_MAX_BRIEF_BYTES = 1_000_000
_MAX_FLOW_DEPTH = 100
# those inside quotes are no brackets
_BRACKETS = re.compile(rb"""\"(?:[^\"\\]|\\.)*\"|'[^']*'|[\[{\]}]""", re.DOTALL)


class UnreadableManifestError(StorageError):
    """A manifest is there, and is none."""


_LEASED_ENGINES = {"local"}
"""Engines of the runs whose manifests do not say whether they are leased: those of 0.1."""


Count = Annotated[int, Field(ge=0, le=10**12)]


class Provenance(BaseModel):
    """Where a run comes from: enough to run it again, and no secret."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    git_commit: str | None = None
    git_dirty: bool | None = None
    python: str = ""
    platform: str = ""
    user: str | None = None
    host: str | None = None
    command: str = ""
    packages: dict[str, str] = {}


class RecursionRecord(BaseModel):
    """The shape of scatter/gather."""

    model_config = ConfigDict(extra="ignore")

    factor: Count
    max_depth: Count


class ReuseRecord(BaseModel):
    """What a run took over from earlier ones."""

    model_config = ConfigDict(extra="ignore")

    n_reused: Count
    runs: dict[str, Count] = {}
    searched: list[str] = []
    ignore_code: bool = False


class ExtensionRecord(BaseModel):
    """Cases that a run got after it was allocated: `rows` of them, the first with the `sort_index` `first_row`."""

    extended_at: datetime
    first_row: Count
    rows: Count
    known: Count = 0
    sampling_file: str | None = None
    sample_seed: int | None = None
    design: DesignRecord | None = None
    upstream: UpstreamRecord | None = None
    code: dict[str, str] | None = None
    study: StudyRecord | None = None
    command: str = ""


class RunManifest(BaseModel):
    """What a run is. The first six fields are also those of scythe-engine's manifests, which have no others."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    workflow_run_id: str
    experiment_id: str
    experiment_name: str
    specs_uri: str = ""
    io_spec: str = ""
    input_artifacts: str | None = None
    format: Count | None = None
    state: Literal["allocating", "allocated"] = "allocated"
    experiment: str | None = None
    version: str | None = None
    created_at: datetime | None = None
    engine: str | None = None
    leased: bool | None = None
    recursion: RecursionRecord | None = None
    specs_per_task: Count | str | None = None
    n_specs: Count | None = None
    specs_sha256: str | None = None
    cases_sha256: str | None = None
    entrypoint: str | None = None
    retries: Count | None = None
    retry_on: list[str] | None = None
    execution_timeout_s: Annotated[float, Field(ge=0, le=1e12)] | None = None
    memory_limit_bytes: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    sampling_file: str | None = None
    seed: int | None = None
    study: StudyRecord | None = None
    # from here on, what `read_manifest` leaves out of a brief one
    provenance: Provenance | None = None
    design: DesignRecord | None = None
    upstream: UpstreamRecord | None = None
    file_fields: list[str] | None = None
    code: dict[str, str] | None = None
    function_source: str | None = None
    reuse: ReuseRecord | None = None
    n_duplicates: Count | None = None
    extensions: list[ExtensionRecord] | None = None

    @property
    def needs_lease(self) -> bool:
        """Whether one process at a time is at work on the run, and holds its lease as long."""
        return self.engine in _LEASED_ENGINES if self.leased is None else self.leased

    def to_yaml(self) -> bytes:
        """The document, in the order of the fields."""
        return dump_yaml(self.model_dump(mode="json", exclude_none=True))


def dump_yaml(document: Mapping[str, Any]) -> bytes:
    """Write plain data as YAML."""
    from scythe_cli.storage import yaml_text

    return yaml_text.dump(document)


def load_yaml(data: bytes, name: str) -> dict[str, Any]:
    """Read a YAML document of plain data; tags are refused.

    Raises:
        StorageError: If it is not YAML, too large, or not a mapping.
    """
    from yaml import YAMLError

    from scythe_cli.storage import yaml_text

    if len(data) > _MAX_YAML_BYTES:
        raise StorageError(f"{name}: larger than {_MAX_YAML_BYTES // 1_000_000} MB")
    if _flow_depth(data) > _MAX_FLOW_DEPTH:
        raise StorageError(f"{name}: not readable as YAML: nested too deeply")
    try:
        document = yaml_text.load(data.decode("utf-8"))
    except (YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise StorageError(f"{name}: not readable as YAML: {first_line(error)}") from None
    if not isinstance(document, dict):
        raise StorageError(f"{name}: not a YAML mapping")
    return {str(key): value for key, value in document.items()}


def read_yaml(storage: Storage, key: str) -> dict[str, Any]:
    """Read a YAML document of a run; an empty one where there is none.

    Raises:
        StorageError: If it cannot be read, is not YAML, too large, or not a mapping.
    """
    try:
        return load_yaml(storage.read_bytes(key, max_bytes=_MAX_YAML_BYTES), storage.uri(key))
    except MissingKeyError:
        return {}


class IoSchema(BaseModel):
    """`experiment_io_spec.yml`: the JSON schemas of input and output, as far as they have the shape of such."""

    definitions: dict[str, dict[str, Any]]
    sides: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> IoSchema:
        """Take from a document what is a schema."""
        return cls(definitions=_mappings(document.get("$defs")), sides=_mappings(document.get("properties")))

    def properties_of(self, schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The fields of a schema, by name."""
        return _mappings(schema.get("properties"))

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The definition that a schema refers to; the schema itself when it refers to none."""
        parts = [schema]
        for word in ("allOf", "anyOf"):
            inner = schema.get(word)
            parts += [part for part in inner if isinstance(part, dict)] if isinstance(inner, list) else []
        reference = next((part["$ref"] for part in parts if isinstance(part.get("$ref"), str)), None)
        return schema if reference is None else self.definitions.get(reference.rsplit("/", 1)[-1], schema)


def read_io_schema(storage: Storage, run: RunLayout) -> IoSchema:
    """The schemas of input and output of a run; without any where it has no such document.

    Raises:
        StorageError: If the document cannot be read, or is no YAML.
    """
    return IoSchema.of(read_yaml(storage, run.io_spec))


def _mappings(value: object) -> dict[str, dict[str, Any]]:
    """The values of a mapping that are mappings themselves."""
    if not isinstance(value, dict):
        return {}
    items = cast("dict[object, object]", value).items()
    return {str(name): cast("dict[str, Any]", inner) for name, inner in items if isinstance(inner, dict)}


def _flow_depth(data: bytes) -> int:
    """How deep brackets are nested: the time that the parser takes grows with the square of that."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(data):
        depth += (match[0] in b"[{") - (match[0] in b"]}")
        deepest = max(deepest, depth)
    return deepest


def read_manifest(storage: Storage, run: RunLayout, *, brief: bool = False) -> RunManifest | None:
    """The manifest of a run; None when it has none, as a folder of an unfinished allocation or an old one may.

    Args:
        storage: Where the run is kept.
        run: The run.
        brief: Whether to leave out `provenance` and what comes after it, nine tenths of the document: for lists of
            many runs.

    Raises:
        UnreadableManifestError: If it is no manifest.
        StorageError: If it is there and cannot be read.
    """
    uri = storage.uri(run.manifest)
    try:
        data = storage.read_bytes(run.manifest, max_bytes=MAX_MANIFEST_BYTES)
    except MissingKeyError:
        return None
    except ForeignKeyError as error:
        raise UnreadableManifestError(error.message, hint=error.hint) from None
    if brief:
        # no line inside of a value begins in the first column
        data = data.partition(b"\nprovenance:")[0]
        if len(data) > _MAX_BRIEF_BYTES:  # it would take minutes, and others of the list wait for it
            raise UnreadableManifestError(f"{uri}: larger than any manifest")
    try:
        document = load_yaml(data, uri)
        check_format(document.get("format"), uri)  # first: what is newer may have other fields
        return RunManifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UnreadableManifestError(f"{uri}: {place}: {first['msg']}") from None
    except StorageError as error:
        raise UnreadableManifestError(error.message, hint=error.hint) from None


def provenance(folder: Path) -> Provenance:
    """Describe this process and the git checkout of a folder."""
    commit, dirty = _git_state(folder)
    user, host = user_and_host()
    return Provenance(
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        platform=platform.platform(),
        user=user,
        host=host,
        command=command_line(),
        packages=_packages(),
    )


@cache
def _packages() -> dict[str, str]:
    """The installed packages and their versions, by name."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        # the headers alone: `distribution.metadata` parses a package's whole description, each time
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        headers = dict(line.split(": ", 1) for line in text.partition("\n\n")[0].splitlines() if ": " in line)
        if "Name" in headers and "Version" in headers:
            found.setdefault(headers["Name"].strip(), headers["Version"].strip())
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def command_line() -> str:
    """The command that this process was started with, without secrets."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv else []
    return redact_text(" ".join(words))


_NO_PROGRAMS = [
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.pager=cat"),
    *("-c", "core.alternateRefsCommand=true", "-c", "core.sshCommand=false", "-c", "credential.helper="),
]


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str | None:
        # a repository says what to run in its own configuration, and it may be anybody's
        command = ["git", *_NO_PROGRAMS, "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, env=env)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None, None
    # a filter of the repository's own runs for each file that was touched
    filters = git("config", "--show-scope", "--get-regexp", r"^filter\..*\.(clean|process)$") or ""
    if any(line.startswith(("local", "worktree")) for line in filters.splitlines()):
        return commit, None
    status = git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    return commit, None if status is None else bool(status)
