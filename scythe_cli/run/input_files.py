"""The input files of a run: checked and hashed before anything is written, then uploaded once each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scythe_cli.core.files import ForeignFileError, open_regular
from scythe_cli.core.text import gives_access
from scythe_cli.errors import StorageError
from scythe_cli.run.manifest import read_yaml
from scythe_cli.storage.cache import ArtifactCache
from scythe_cli.storage.download import safe_name, uri_scheme

if TYPE_CHECKING:
    import polars as pl

    from scythe_cli.run.chain.files import StoredFile
    from scythe_cli.run.layout import RunLayout
    from scythe_cli.storage.base import Storage


__all__ = [
    "ArtifactPlan",
    "ArtifactProblem",
    "InputArtifact",
    "ListedFile",
    "PlannedArtifact",
    "UploadedArtifacts",
    "collect_artifacts",
    "read_listed_files",
    "upload_artifacts",
]


_REMOTE_SCHEMES = {"s3", "http", "https"}
_SYSTEM = (Path("/proc"), Path("/sys"), Path("/dev"))
_SHARED_MEMORY = Path("/dev/shm")
_HASHING_THREADS = 4
_TRANSFER_THREADS = 4
_READING_THREADS = 16


class InputArtifact(BaseModel):
    """A file that was uploaded, as `input_artifacts.yml` lists it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    source_name: str
    uri: str
    size_bytes: int
    sha256: str


class ListedFile(BaseModel):
    """What a run's list of input files says of one: also that of an older program, which says less."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    uri: str
    sha256: str | None = Field(default=None, min_length=1, max_length=128)
    source_name: str | None = None
    size_bytes: int | None = Field(default=None, ge=0)


def read_listed_files(storage: Storage, run: RunLayout) -> list[ListedFile]:
    """The input files of a run, wherever its list has them; entries that are of no such shape are passed over.

    Raises:
        StorageError: If the list cannot be read, or is no YAML.
    """
    listed: list[ListedFile] = []
    nodes: list[Any] = [read_yaml(storage, run.input_artifacts)]
    seen: set[int] = set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(node, (dict, list)):
            continue
        seen.add(id(node))  # a document can hold itself
        inner = cast("list[Any]", node)
        if isinstance(node, dict):
            with suppress(ValidationError):
                listed.append(ListedFile.model_validate(node))
            inner = list(cast("dict[Any, Any]", node).values())
        nodes.extend(reversed(inner))
    return listed


@dataclass(frozen=True, slots=True)
class ArtifactProblem:
    """A reference that cannot be used.

    Attributes:
        field: The input field.
        value: The reference as it was given.
        reason: What is wrong with it; holds no secret of a URL.
    """

    field: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedArtifact:
    """A file that is to be uploaded.

    Attributes:
        path: The file on this machine.
        source_name: The name that it was given under.
        size_bytes: Its size.
        sha256: The hash (hex) of its content.
        target: Where it goes below the run's folder of artifacts.
        is_fetched: Whether it was brought here from elsewhere.
        stored: The file of another run that it is; then only a path on this machine is one that can be read.
    """

    path: Path
    source_name: str
    size_bytes: int
    sha256: str
    target: str
    is_fetched: bool = False
    stored: StoredFile | None = None


@dataclass(frozen=True, slots=True)
class ArtifactPlan:
    """What is to be uploaded.

    Attributes:
        files: By field, then by reference as it was given; remote files that stay where they are are not among them.
        problems: References that cannot be used; nothing may be uploaded then.
    """

    files: dict[str, dict[str, PlannedArtifact]]
    problems: list[ArtifactProblem]

    @property
    def uploads(self) -> dict[str, PlannedArtifact]:
        """One file for each place that something is uploaded to."""
        return {file.target: file for references in self.files.values() for file in references.values()}

    def outside(self, folder: Path) -> list[Path]:
        """The files that do not lie in a folder, which somebody may not know of who did not write the references."""
        base = Path(os.path.realpath(folder))
        local = {file.path for file in self.uploads.values() if not file.is_fetched and file.stored is None}
        return sorted(path for path in local if not Path(os.path.realpath(path)).is_relative_to(base))

    @property
    def total_bytes(self) -> int:
        """How much is to be uploaded."""
        return sum(file.size_bytes for file in self.uploads.values())


@dataclass(frozen=True, slots=True)
class UploadedArtifacts:
    """What was uploaded.

    Attributes:
        uris: Where each file is now, by field, then by reference as it was given.
        records: One for each source file of each field.
    """

    uris: dict[str, dict[str, str]]
    records: list[InputArtifact]


@dataclass(frozen=True, slots=True)
class _Hashed:
    path: Path
    size_bytes: int
    sha256: str
    stored: StoredFile | None = None

    def name(self, reference: str) -> str:
        """What it is called where it is uploaded to."""
        return safe_name(reference if self.stored is None else self.stored.name)


def collect_artifacts(
    columns: Mapping[str, pl.Series],
    base_dir: Path,
    *,
    copy_inputs: bool = False,
    cache: ArtifactCache | None = None,
    stored: Mapping[str, StoredFile] | None = None,
) -> ArtifactPlan:
    """Find, check and hash the input files of a run; nothing is written but the cache.

    Args:
        columns: By field, the references of all specs: paths or URLs, String, null where there is none.
        base_dir: The folder that relative paths are taken from.
        copy_inputs: Whether files in S3 and on web servers are copied into the run as well. Those whose URL may hold
            a secret always are: the URL must not be kept, and would not work for long.
        cache: Where these are fetched to; the user's cache unless given.
        stored: The references that are files of another run: these are hashed where they are.

    Returns:
        What is to be uploaded, and what cannot be used: all of it, not the first only.
    """
    # a million specs may refer to three files
    references = {
        field: sorted(str(value) for value in column.drop_nulls().unique().to_list())
        for field, column in columns.items()
    }
    every = sorted({value for values in references.values() for value in values})
    of_runs = {value: file for value in every if stored and (file := stored.get(value)) is not None}
    wanted = [value for value in every if value not in of_runs]
    local = [value for value in wanted if uri_scheme(value) is None]
    plain = _plain_parameters()
    remote = [
        value
        for value in wanted
        if uri_scheme(value) in _REMOTE_SCHEMES and (copy_inputs or gives_access(value, plain))
    ]
    found: dict[str, _Hashed | str] = {
        value: f"{scheme}:// is not supported"
        for value in wanted
        if (scheme := uri_scheme(value)) is not None and scheme not in _REMOTE_SCHEMES
    }
    paths = {value: _local_path(value, base_dir) for value in local}
    with ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="scythe-hash") as pool:
        distinct = sorted(set(paths.values()))
        hashed = dict(zip(distinct, pool.map(_hash, distinct), strict=True))
        found.update((value, hashed[path]) for value, path in paths.items())
    if remote:
        fetch = partial(_fetch, cache or ArtifactCache())
        with ThreadPoolExecutor(_TRANSFER_THREADS, thread_name_prefix="scythe-fetch") as pool:
            found.update(zip(remote, pool.map(fetch, remote), strict=True))
    if of_runs:
        with ThreadPoolExecutor(_READING_THREADS, thread_name_prefix="scythe-hash") as pool:
            found.update(zip(of_runs, pool.map(_hash_stored, of_runs.values()), strict=True))
    return _plan_of(references, found)


def _plan_of(references: Mapping[str, Sequence[str]], found: Mapping[str, _Hashed | str]) -> ArtifactPlan:
    targets = _targets(found)
    files: dict[str, dict[str, PlannedArtifact]] = {}
    problems: list[ArtifactProblem] = []
    for field, values in references.items():
        files[field] = {}
        for value in values:
            result = found.get(value)
            if isinstance(result, _Hashed):
                files[field][value] = PlannedArtifact(
                    result.path,
                    _source_name(value) if result.stored is None else result.stored.name,
                    result.size_bytes,
                    result.sha256,
                    targets[value],
                    is_fetched=result.stored is None and uri_scheme(value) is not None,
                    stored=result.stored,
                )
            elif result is not None:
                problems.append(ArtifactProblem(field, value, result))
    return ArtifactPlan(files, problems)


def _plain_parameters() -> frozenset[str]:
    """The names of parameters of URLs that the user says are no secrets."""
    text = os.environ.get("SCYTHE_PLAIN_URL_PARAMETERS", "")
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


def upload_artifacts(plan: ArtifactPlan, storage: Storage, prefix: str) -> UploadedArtifacts:
    """Upload each distinct content once.

    Args:
        plan: What `collect_artifacts` found, without problems.
        storage: Where to.
        prefix: The run's folder of artifacts.

    Raises:
        StorageError: If the storage cannot be written, or a file has changed since it was hashed.
    """
    uploads = sorted(plan.uploads.items())
    with ThreadPoolExecutor(_TRANSFER_THREADS, thread_name_prefix="scythe-upload") as pool:
        futures = [pool.submit(_put, storage, file, f"{prefix}/{target}") for target, file in uploads]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    uris = {
        field: {value: storage.uri(f"{prefix}/{file.target}") for value, file in references.items()}
        for field, references in plan.files.items()
    }
    return UploadedArtifacts(uris, list(_records(plan, uris)))


def _put(storage: Storage, file: PlannedArtifact, key: str) -> None:
    if file.stored is None or file.stored.path is not None:
        storage.put_file(file.path, key, sha256=file.sha256)
    else:
        file.stored.copy_to(storage, key)


def _records(plan: ArtifactPlan, uris: dict[str, dict[str, str]]) -> Iterator[InputArtifact]:
    for field, references in plan.files.items():
        seen: set[Path] = set()
        for value, file in references.items():
            if file.path in seen:
                continue  # the same file written in two ways: `a.csv` and `./a.csv`
            seen.add(file.path)
            yield InputArtifact(
                field=field,
                source_name=file.source_name,
                uri=uris[field][value],
                size_bytes=file.size_bytes,
                sha256=file.sha256,
            )


def _local_path(value: str, base_dir: Path) -> Path:
    return Path(os.path.normpath(base_dir.absolute() / value)) if value else Path()


def _hash(path: Path) -> _Hashed | str:
    """Hash a file, or say why it cannot be used."""
    if path == Path():
        return "the reference is empty"
    try:
        # also behind links: what the system describes itself is no input, and may be secret
        real = Path(os.path.realpath(path))
        if any(real.is_relative_to(folder) for folder in _SYSTEM) and not real.is_relative_to(_SHARED_MEMORY):
            return f"it is in {real.parts[0]}{real.parts[1]}, where the system describes itself"
        with open_regular(real) as file:
            digest = hashlib.file_digest(file, "sha256")
            return _Hashed(path, file.tell(), digest.hexdigest())
    except IsADirectoryError:
        return "it is a folder"
    except ForeignFileError:
        return "it is not a regular file"
    except (FileNotFoundError, NotADirectoryError):
        return "it does not exist"
    except PermissionError:
        return "permission denied"
    except OSError as error:
        return f"it cannot be read: {error.strerror or type(error).__name__}"
    except ValueError:
        return "it holds a NUL character"


def _hash_stored(file: StoredFile) -> _Hashed | str:
    """Hash a file of another run, or say why it cannot be used."""
    try:
        path = file.path
        if path is None:
            return _Hashed(Path(file.key), *file.measured(), file)
    except StorageError as error:
        return error.message
    result = _hash(path)
    return result if isinstance(result, str) else replace(result, stored=file)


def _fetch(cache: ArtifactCache, uri: str) -> _Hashed | str:
    try:
        path = cache.fetch(uri)
    except StorageError as error:
        return error.message
    return _hash(path)


def _targets(found: Mapping[str, _Hashed | str]) -> dict[str, str]:
    """Where each file goes: `<its hash>/<name>`, one place for one content, and no two contents in one.

    The name is the first one that the content has. A content under names with different suffixes gets a place for
    each suffix, since programs go by the suffix.
    """
    names: dict[tuple[str, str], str] = {}
    targets: dict[str, str] = {}
    for value, file in sorted(found.items()):
        if isinstance(file, _Hashed):
            name = file.name(value)
            kept = names.setdefault((file.sha256, Path(name).suffix.lower()), name)
            targets[value] = f"{file.sha256}/{kept}"
    return targets


def _source_name(value: str) -> str:
    return safe_name(value) if uri_scheme(value) in _REMOTE_SCHEMES else Path(value).name
