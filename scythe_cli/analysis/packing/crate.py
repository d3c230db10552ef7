"""`ro-crate-metadata.json`: what a packed run says of itself, as a Process Run Crate (RO-Crate 1.1)."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from scythe_cli.analysis.packing.archive import (
    METADATA_NAME,
    PROJECT_FOLDER,
    README_NAME,
    RUNS_FOLDER,
    SUMS_NAME,
    PackedFile,
)
from scythe_cli.core.distribution import DISTRIBUTION
from scythe_cli.core.records import StateCounts
from scythe_cli.run.input_files import ListedFile
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RunManifest

__all__ = ["CrateContent", "crate_document"]


_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_MOST_LISTED = 2_000
_PYTHON, _SCYTHE = "https://www.python.org/", f"https://pypi.org/project/{DISTRIBUTION}/"
_ACTION, _FUNCTION = "#run", "#function"
_MEDIA_TYPES = {
    ".pq": "application/vnd.apache.parquet",
    ".parquet": "application/vnd.apache.parquet",
    ".yml": "application/yaml",
    ".toml": "application/toml",
    ".md": "text/markdown",
}
_TYPES = mimetypes.MimeTypes()  # not those of this machine
_OWN = {
    "specs.pq": "The inputs of all cases, one row each.",
    "manifest.yml": "What the run is: experiment, version, settings, and where it comes from.",
    "experiment_io_spec.yml": "JSON schemas of the inputs and outputs.",
    "input_artifacts.yml": "The list of input files.",
    "final/scalars.pq": "The results: one row for each case that succeeded.",
    "final/errors.pq": "One row for each case that did not succeed.",
    "final/warnings.pq": "What of the results could not be kept as it was.",
    "final/result_file_refs.pq": "The output files of each case.",
}
_FOLDERS = {
    "outcomes": "The outcomes of all cases as they came, in parts.",
    "artifacts": "Input files of cases.",
    "results": "Output files of cases.",
    "files": "What cases wrote into their working directories.",
    "final": "The tables of results.",
}

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CrateContent:
    """What the document is made from.

    Attributes:
        layout: The run.
        manifest: Its manifest.
        counts: Its cases by state; None where that is not known.
        ended_at: When the last case had ended; None where none has.
        inputs: Its list of input files.
        files: All files of the archive so far.
        sources: Those of the project that are the code of the run.
        license: A URL, or the name of a license; None where none was stated.
    """

    layout: RunLayout
    manifest: RunManifest
    counts: StateCounts | None
    ended_at: datetime | None
    inputs: Sequence[ListedFile]
    files: Sequence[PackedFile]
    sources: Sequence[str]
    license: str | None

    @property
    def name(self) -> str:
        """A title."""
        return f"{self.layout.experiment} {self.layout.version}, run of {self.layout.timestamp:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def description(self) -> str:
        """What it is, in a sentence."""
        n = "" if self.manifest.n_specs is None else f"{self.manifest.n_specs:,} cases of "
        told = "" if self.counts is None else f": {self.counts.told()}"
        return f"{n}the experiment {self.layout.experiment}, run by scythe{told}."


def crate_document(content: CrateContent) -> dict[str, Any]:
    """The document, as JSON data."""
    graph = _Graph(content)
    return {"@context": _CONTEXT, "@graph": graph.entities()}


class _Graph:
    """Makes the entities of a document.

    Args:
        content: What it is made from.
    """

    def __init__(self, content: CrateContent) -> None:
        self._content = content
        self._run = f"{RUNS_FOLDER}/{content.layout.experiment_id}/"
        self._names = {
            file.uri.rpartition("/artifacts/")[2]: file.source_name
            for file in content.inputs
            if file.source_name and "/artifacts/" in file.uri
        }

    def entities(self) -> list[Entity]:
        """All of them: the two that every crate has, the run, what ran it, and the files."""
        content = self._content
        files, folders = self._listed()
        parts = [*files, *folders]
        metadata = {
            "@id": METADATA_NAME,
            "@type": "CreativeWork",
            "conformsTo": {"@id": _CRATE},
            "about": {"@id": "./"},
        }
        root: Entity = {
            "@id": "./",
            "@type": "Dataset",
            "name": content.name,
            "description": content.description,
            "datePublished": _time(content.ended_at or content.layout.timestamp),
            "identifier": content.layout.experiment_id,
            "version": str(content.layout.version),
            "conformsTo": {"@id": _PROFILE},
            "hasPart": _ids(parts),
            "mentions": {"@id": _ACTION},
            "license": "No license was stated.",
        }
        further: list[Entity] = []
        if content.license is not None:
            is_url = content.license.startswith(("https://", "http://"))
            url = content.license if is_url else f"https://spdx.org/licenses/{quote(content.license)}"
            root["license"] = {"@id": url}
            further.append({"@id": url, "@type": "CreativeWork", "name": content.license, "url": url})
        profile = {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
        software, instrument = self._software(files)
        action, people = self._action(instrument, parts)
        if people:
            root["author"] = {"@id": people[0]["@id"]}
        return [metadata, root, profile, action, *people, *software, *parts, *further]

    def _software(self, files: Sequence[Entity]) -> tuple[list[Entity], Entity]:
        """What ran, and which of it is the function."""
        manifest = self._content.manifest
        origin = manifest.provenance
        versions = {} if origin is None else origin.packages
        python: Entity = {"@id": _PYTHON, "@type": "SoftwareApplication", "name": "Python", "url": _PYTHON}
        scythe: Entity = {"@id": _SCYTHE, "@type": "SoftwareApplication", "name": DISTRIBUTION, "url": _SCYTHE}
        for entity, version in ((python, origin.python if origin else ""), (scythe, versions.get(DISTRIBUTION, ""))):
            if version:
                entity["softwareVersion"] = version
        software = [python, scythe]
        module = (manifest.entrypoint or "").partition(":")[0].replace(".", "/")
        wanted = {
            f"{PROJECT_FOLDER}/{place}" for place in (f"{module}.py", f"src/{module}.py", f"{module}/__init__.py")
        }
        source = next((file for file in files if file["@id"] in wanted), None)
        if source is None:
            function: Entity = {"@id": _FUNCTION, "@type": "SoftwareApplication"}
            software.append(function)
        else:
            function = source
            function["programmingLanguage"] = {"@id": _PYTHON}
        function["name"] = manifest.entrypoint or self._content.layout.experiment
        function["softwareRequirements"] = _ids([python, scythe])
        if origin is not None and origin.git_commit:
            key = "softwareVersion" if source is None else "version"
            function[key] = origin.git_commit + (" with changes" if origin.git_dirty else "")
        return software, function

    def _action(self, instrument: Entity, parts: Sequence[Entity]) -> tuple[Entity, list[Entity]]:
        """The run itself, and who started it, as far as the manifest tells."""
        content, origin = self._content, self._content.manifest.provenance
        inputs = (f"{self._run}specs.pq", f"{self._run}artifacts/")
        outputs = tuple(f"{self._run}{folder}/" for folder in ("final", "results", "files"))
        action: Entity = {
            "@id": _ACTION,
            "@type": "CreateAction",
            "name": f"Run of {content.manifest.entrypoint or content.layout.experiment}",
            "description": _told_origin(content.manifest),
            "instrument": {"@id": instrument["@id"]},
            "object": _ids(part for part in parts if _unquoted(part).startswith(inputs)),
            "result": _ids(part for part in parts if _unquoted(part).startswith(outputs)),
            "startTime": _time(content.layout.timestamp),
            "actionStatus": f"http://schema.org/{self._status()}",
        }
        if content.ended_at is not None:
            action["endTime"] = _time(content.ended_at)
        if action["actionStatus"].endswith("FailedActionStatus") and content.counts is not None:
            action["error"] = content.counts.told()
        people: list[Entity] = []
        if origin is not None and origin.user:
            people.append({"@id": f"#{quote(origin.user, safe='')}", "@type": "Person", "name": origin.user})
            action["agent"] = {"@id": people[0]["@id"]}
        return action, people

    def _status(self) -> str:
        counts = self._content.counts
        if counts is None or not (counts.pending or counts.unsuccessful):
            return "CompletedActionStatus"
        if counts.pending:
            return "ActiveActionStatus"
        return "CompletedActionStatus" if counts.succeeded else "FailedActionStatus"

    def _listed(self) -> tuple[list[Entity], list[Entity]]:
        """The files, and the folders in which there are too many to name each."""
        files = self._content.files
        by_folder: dict[str, list[PackedFile]] = {}
        for file in files:
            folder = file.name.removeprefix(self._run).partition("/")[0] if file.name.startswith(self._run) else ""
            by_folder.setdefault(folder if folder in _FOLDERS else "", []).append(file)
        named: list[PackedFile] = []
        folders: list[Entity] = []
        for folder, inside in by_folder.items():
            if not folder or len(inside) <= _MOST_LISTED:
                named += inside
                continue
            folders.append(
                {
                    "@id": quote(f"{self._run}{folder}/"),
                    "@type": "Dataset",
                    "name": folder,
                    "description": f"{_FOLDERS[folder]} {len(inside):,} files, "
                    f"{sum(file.size_bytes for file in inside):,} bytes; their checksums are in {SUMS_NAME}.",
                }
            )
        return [self._file(file) for file in named], folders

    def _file(self, file: PackedFile) -> Entity:
        path = PurePosixPath(file.name)
        inside = file.name.removeprefix(self._run) if file.name.startswith(self._run) else ""
        is_source = file.name.removeprefix(f"{PROJECT_FOLDER}/") in self._content.sources
        entity: Entity = {
            "@id": quote(file.name),
            "@type": ["File", "SoftwareSourceCode"] if is_source else "File",
            "name": self._names.get(inside.removeprefix("artifacts/"), path.name),
            "contentSize": str(file.size_bytes),
            "sha256": file.sha256,
        }
        media_type = _MEDIA_TYPES.get(path.suffix.lower()) or _TYPES.guess_type(path.name)[0]
        if media_type is not None:
            entity["encodingFormat"] = media_type
        described = _OWN.get(inside) or _FOLDERS.get(inside.partition("/")[0])
        if file.name == README_NAME:
            described = "What this is, and how to use it."
        elif inside.startswith("final/") and inside not in _OWN:
            described = "A table of the experiment's own."
        if described is not None:
            entity["description"] = described
        return entity


def _told_origin(manifest: RunManifest) -> str:
    origin = manifest.provenance
    if origin is None:
        return "It is not known where it ran."
    facts = {"Engine": manifest.engine, "platform": origin.platform, "command": origin.command}
    return "; ".join(f"{name}: {value}" for name, value in facts.items() if value) or "It is not known where it ran."


def _ids(entities: Iterable[Entity]) -> list[Entity] | Entity:
    """References to some; a single one stands alone."""
    ids: list[Entity] = [{"@id": entity["@id"]} for entity in entities]
    return ids[0] if len(ids) == 1 else ids


def _unquoted(entity: Entity) -> str:
    return unquote(entity["@id"])


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
