"""A run that gets more specs: `specs.pq` is replaced as a whole by a longer one, and then the manifest says so.

What decides is `specs.pq`: the longer file brings along what the manifest is to say. A process that is killed before it
is replaced leaves the run as it was, with perhaps some input files more. One that is killed afterwards leaves a
manifest that says less than the file: whoever only reads sees the run as it was, and who works on it next finishes the
manifest. Outcomes of new specs come only after that. The first specs stay as they are, row by row.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from scythe_cli.errors import StorageError, UsageError
from scythe_cli.run.design_record import DesignRecord
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import (
    ExtensionRecord,
    RecursionRecord,
    RunManifest,
    UnreadableManifestError,
    read_manifest,
)
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.storage.base import Storage

__all__ = ["Extension", "design_parts", "finish_extension", "n_specs_now"]


class Extension(BaseModel):
    """How a `specs.pq` got longer: what its manifest is to say.

    Attributes:
        n_before: The number of specs before.
        n_specs: The number of specs now.
        specs_sha256: See `specs_hash`.
        cases_sha256: The same with files by their content; None where that is not known.
        file_fields: The input fields that are files.
        recursion: The shape of scatter/gather for so many specs.
        record: What the manifest keeps of it.
    """

    model_config = ConfigDict(extra="ignore")

    n_before: int
    n_specs: int
    specs_sha256: str
    cases_sha256: str | None = None
    file_fields: list[str] | None = None
    recursion: RecursionRecord | None = None
    record: ExtensionRecord

    def to_bytes(self) -> bytes:
        """For the footer of `specs.pq`."""
        return self.model_dump_json().encode()

    def applied(self, manifest: RunManifest) -> RunManifest:
        """The manifest of the longer run."""
        return manifest.model_copy(
            update={
                "n_specs": self.n_specs,
                "specs_sha256": self.specs_sha256,
                "cases_sha256": self.cases_sha256,
                "file_fields": self.file_fields,
                "recursion": self.recursion or manifest.recursion,
                "extensions": [*(manifest.extensions or []), self.record],
            }
        )


def design_parts(manifest: RunManifest | None) -> list[tuple[int, DesignRecord]]:
    """The parts of a run's own design, in their order: the `sort_index` of the first case of each, and its record.

    The first part is that of the run's sampling file; the others are files of `scythe sample --continue` that were
    added to the run. Other cases of the run are in none. Empty where the run has no design.
    """
    design = None if manifest is None else manifest.design
    if manifest is None or design is None:
        return []
    parts = [(0, design)]
    sizes = [*design.before, *([] if design.n is None else [design.n])]
    for extension in manifest.extensions or []:
        more = extension.design
        if (
            more is not None
            and more.n
            and more.is_of(design)
            and more.before == sizes
            and not extension.rows % more.rows
        ):
            parts.append((extension.first_row, more))
            sizes.append(more.n)
    return parts


def finish_extension(storage: Storage, run: RunLayout, specs: SpecFile, manifest: RunManifest) -> RunManifest:
    """See that specs and manifest of a run agree; only for who works on the run.

    Args:
        storage: Where the run is kept.
        run: The run.
        specs: Its specs.
        manifest: What the caller knows of it.

    Returns:
        The manifest, which is written first where a process was killed before it could.

    Raises:
        UsageError: If the run was extended since the caller has read its manifest.
        StorageError: If they do not belong together, or the manifest cannot be written.
    """
    if specs.n_specs == manifest.n_specs:
        return manifest
    stored = read_manifest(storage, run)
    if stored is not None and stored.n_specs != manifest.n_specs:
        raise UsageError(
            f"{run.experiment_id} has just been extended by another process", hint="Run the command again."
        )
    try:
        extension = Extension.model_validate_json(specs.extension)
    except ValidationError:
        extension = None
    expected = None if extension is None else (extension.n_before, extension.n_specs)
    if stored is None or extension is None or expected != (stored.n_specs, specs.n_specs):
        raise StorageError(
            f"{run.experiment_id} has {specs.n_specs:,} cases, but its manifest says {manifest.n_specs or 0:,}",
            hint="One of them was changed; allocate the sampling file again.",
        )
    longer = extension.applied(stored)
    storage.write_bytes(run.manifest, longer.to_yaml())
    return longer


def n_specs_now(storage: Storage, run: RunLayout) -> int | None:
    """The number of specs that the manifest of a run says at this moment; None where it cannot be read."""
    try:
        manifest = read_manifest(storage, run, brief=True)
    except UnreadableManifestError:
        return None
    return None if manifest is None else manifest.n_specs
