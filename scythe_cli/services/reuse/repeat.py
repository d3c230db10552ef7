"""Whether a new run repeats an earlier one: the same cases, code and seed, as hashes in the manifests say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute

from scythe_cli.core.semver import Bump, SemVer, next_version
from scythe_cli.errors import StorageError
from scythe_cli.executor.code import differing_code
from scythe_cli.run.catalog import each_of
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import MAX_MANIFEST_BYTES, RunManifest, read_manifest
from scythe_cli.run.outcomes.summary import read_summary
from scythe_cli.run.specs_file import specs_hash
from scythe_cli.run.versions import list_runs, list_versions
from scythe_cli.services.reuse.identity import by_content
from scythe_cli.storage.base import ForeignKeyError, MissingKeyError, Storage

__all__ = ["cases_hash", "repeat_notice"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

_MAX_VERSIONS = 10
_MAX_RUNS = 20


def cases_hash(inputs: pa.Table, hashes: Mapping[str, Mapping[str, str]]) -> str | None:
    """A hash of what cases say, in which a file counts by its content; None where that is not known of a file.

    Args:
        inputs: The input columns, with files as the sampling file names them.
        hashes: By file column, from each reference to the SHA-256 of the file.
    """
    canonical, unknown = by_content(inputs, hashes)
    return None if hashes and pc.any(unknown).as_py() else specs_hash(canonical)


def repeat_notice(
    storage: Storage, folder: str, version: Bump | SemVer, cases: str | None, code: dict[str, str] | None, seed: int
) -> str | None:
    """What to say of an earlier run that a new one repeats; None where there is none among the newest.

    A few small files are read, and nothing of any case.

    Args:
        storage: Where runs are kept.
        folder: The experiment's folder.
        version: Of the new run, or how it is chosen.
        cases: As `cases_hash` gives it.
        code: As `code_of` gives it.
        seed: The seed of the new run.

    Raises:
        StorageError: If runs cannot be listed.
    """
    if cases is None or code is None:
        return None
    versions = list(reversed(list_versions(storage, folder)))
    runs: list[RunLayout] = []
    for each in versions[:_MAX_VERSIONS]:
        runs += reversed(list_runs(storage, folder, each))
        if len(runs) >= _MAX_RUNS:
            break
    mark = f"\ncases_sha256: {cases}\n".encode()

    def may_be_it(run: RunLayout) -> bool:
        try:
            return mark in storage.read_bytes(run.manifest, max_bytes=MAX_MANIFEST_BYTES)
        except (MissingKeyError, ForeignKeyError):
            return False

    for run, like in zip(runs[:_MAX_RUNS], each_of(storage, may_be_it, runs[:_MAX_RUNS]), strict=True):
        manifest = _manifest_of_repeated(storage, run, code, seed) if like else None
        if manifest is not None:
            ahead = version if isinstance(version, SemVer) else next_version(versions[0], version)
            option = "--reuse" if run.version.major == ahead.major else f"--reuse-from {run.version}"
            return f"same cases and code as {run.version}{_taken(storage, run, manifest, option)}"
    return None


def _manifest_of_repeated(storage: Storage, run: RunLayout, code: dict[str, str], seed: int) -> RunManifest | None:
    """The manifest of a run, if the run is of the same code and seed."""
    try:
        manifest = read_manifest(storage, run)
    except StorageError:
        return None
    if manifest is None or manifest.state != "allocated" or (manifest.seed or 0) != seed:
        return None
    return manifest if differing_code(code, manifest.code) == [] else None


def _taken(storage: Storage, run: RunLayout, manifest: RunManifest, option: str) -> str:
    """How much of a run would be taken over, where that is known without reading its ledger."""
    summary = read_summary(storage, run)
    is_mixed = manifest.n_duplicates or (manifest.reuse is not None and manifest.reuse.ignore_code)
    if summary is None or is_mixed or not summary.counts.succeeded:
        return ""
    return f"; {option} takes {summary.counts.succeeded:,} of {summary.counts.total:,} over"
