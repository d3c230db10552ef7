"""A run in one file: `scythe results pack`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from scythe_cli.analysis.files import check_target, placing
from scythe_cli.analysis.packing.archive import (
    METADATA_NAME,
    PROJECT_FOLDER,
    README_NAME,
    RUNS_FOLDER,
    ArchiveWriter,
    ProgressOfFiles,
)
from scythe_cli.analysis.packing.crate import CrateContent, crate_document
from scythe_cli.analysis.packing.project_files import ProjectFiles, included_files, project_files
from scythe_cli.analysis.packing.readme import readme_of
from scythe_cli.analysis.records import PackResult
from scythe_cli.config.file import CONFIG_NAME, find_config
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.run.input_files import read_listed_files
from scythe_cli.run.layout import LEASE_NAME
from scythe_cli.run.lease import read_owner
from scythe_cli.run.manifest import RunManifest
from scythe_cli.storage.base import MissingKeyError

if TYPE_CHECKING:
    from scythe_cli.run.records import RunStatus
    from scythe_cli.run.stored_run import StoredRun

__all__ = ["PackOptions", "pack_run"]


_OF_ENGINES = ("hatchet", "slurm")
_OF_CASES = ("artifacts", "files", "results")


class PackOptions(TypedDict, total=False):
    """How a run is packed.

    Attributes:
        root: The project's folder; that of experiments.toml in the working directory or above it unless given.
        include: Further files and folders of the project that its code reads.
        license: Under which others may use it: an SPDX name such as `CC-BY-4.0`, or a URL.
        partial: Whether a run that is at work is packed as it is now.
        overwrite: Whether a file of that name is replaced.
        progress: Called for each file.
    """

    root: Path | None
    include: Sequence[str | Path]
    license: str | None
    partial: bool
    overwrite: bool
    progress: ProgressOfFiles | None


def pack_run(run: StoredRun, target: Path, options: PackOptions) -> PackResult:
    """Pack a run into a zip; see `Run.pack`."""
    partial = options.get("partial", False)
    check_target(target, overwrite=options.get("overwrite", False))
    root, config = _project_of(options.get("root"))
    included = included_files(root, options.get("include", ()))
    manifest, status = _packable(run, partial=partial)
    keys = _keys(run)
    project = project_files(manifest, run.layout.experiment, root, config)
    try:
        with placing(target) as unfinished, unfinished.open("xb") as file:
            with ArchiveWriter.to(file, run.layout.timestamp) as writer:
                gone = _add_run(writer, run, keys, options.get("progress"))
                if not partial:
                    _check_unchanged(run, keys, gone)
                _add_project(writer, project, included)
                _describe(writer, run, manifest, status, project, options.get("license"))
                writer.finish()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    pending = status.counts.pending if status.counts is not None else 0
    notices = [*project.notices, *_others(run)]
    if pending:
        notices.insert(0, f"{pending:,} cases have no outcome yet")
    return PackResult(
        experiment_id=run.experiment_id,
        path=str(target),
        size_bytes=target.stat().st_size,
        n_files=len(writer.files),
        counts=status.counts,
        code=project.sources,
        notices=notices,
    )


def _project_of(root: Path | None) -> tuple[Path, Path | None]:
    """The folder of the project, and its configuration."""
    if root is None:
        config = find_config(Path.cwd())
        return (Path.cwd() if config is None else config.parent), config
    config = root / CONFIG_NAME
    return root, config if config.is_file() else None


def _packable(run: StoredRun, *, partial: bool) -> tuple[RunManifest, RunStatus]:
    """The manifest and the status of a run that nobody is at work on."""
    manifest = run.manifest
    if manifest is None or manifest.state == "allocating":
        raise UsageError(f"the allocation of {run.experiment_id} did not finish: there is nothing to pack")
    status = run.status()
    counts = status.counts
    hint = "Wait until it has finished, or add --partial to pack what there is now."
    if not partial and status.at_work is not None:
        raise UsageError(f"{run.experiment_id} is still running: {status.at_work}", hint=hint)
    if not partial and counts is not None and counts.pending and not manifest.needs_lease:
        raise UsageError(
            f"{run.experiment_id} may still be running on the fleet: {counts.pending:,} cases are pending", hint=hint
        )
    return manifest, status


def _keys(run: StoredRun) -> list[str]:
    """The files to pack: all but leases, and what engines note down while they work."""
    prefix = f"{run.experiment_id}/"
    keys: list[str] = []
    for key in run.storage.list_tree(run.experiment_id):
        first, _, rest = key.removeprefix(prefix).partition("/")
        name = key.rpartition("/")[2]
        is_lease = name == LEASE_NAME or name.startswith(f"{LEASE_NAME}-") or name.endswith(".claim")
        if not (rest and first in _OF_ENGINES) and not (is_lease and first not in _OF_CASES):
            keys.append(key)
    return keys


def _others(run: StoredRun) -> list[str]:
    others = run.storage.list_others(run.experiment_id)
    return [f"{name} in the run's folder is not a regular file, and is not packed" for name in others]


def _add_run(writer: ArchiveWriter, run: StoredRun, keys: Sequence[str], progress: ProgressOfFiles | None) -> list[str]:
    """Add the files of the run; returns the keys of those that have gone since they were listed."""
    gone: list[str] = []
    for number, key in enumerate(keys, 1):
        if progress is not None:
            progress("packing", key.removeprefix(f"{run.experiment_id}/"), number, len(keys))
        try:
            with run.storage.open_remote(key) as source:
                writer.add(f"{RUNS_FOLDER}/{key}", source.read, source.size_bytes)
        except MissingKeyError:
            gone.append(key)
    return gone


def _check_unchanged(run: StoredRun, keys: Sequence[str], gone: Sequence[str]) -> None:
    if gone or _keys(run) != keys or read_owner(run.storage, run.layout) is not None:
        raise UsageError(
            f"{run.experiment_id} changed while it was packed",
            hint="Wait until nothing works on it, or add --partial to pack what there is now.",
        )


def _add_project(writer: ArchiveWriter, project: ProjectFiles, included: dict[str, Path]) -> None:
    for name, data in sorted(project.files.items()):
        writer.add_bytes(f"{PROJECT_FOLDER}/{name}", data)
    for name, path in sorted(included.items()):
        if name not in project.files:
            with path.open("rb") as source:
                writer.add(f"{PROJECT_FOLDER}/{name}", lambda source=source: source.read(1 << 20), None)


def _describe(
    writer: ArchiveWriter,
    run: StoredRun,
    manifest: RunManifest,
    status: RunStatus,
    project: ProjectFiles,
    license: str | None,  # noqa: A002 - the name of the option
) -> None:
    content = CrateContent(
        layout=run.layout,
        manifest=manifest,
        counts=status.counts,
        ended_at=status.last_outcome_at,
        inputs=read_listed_files(run.storage, run.layout),
        files=writer.files,
        sources=project.sources,
        license=license,
    )
    writer.add_bytes(README_NAME, readme_of(content, project.missing))
    writer.add_bytes(METADATA_NAME, (json.dumps(crate_document(content), indent=2, ensure_ascii=False) + "\n").encode())
