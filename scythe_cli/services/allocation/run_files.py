"""What an allocation writes into the folder of a run before anything is executed, and what that is made from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import polars as pl
import pyarrow as pa
from pydantic import BaseModel, Field, create_model

from scythe_cli.arrow.seeds import REPETITION, repetitions
from scythe_cli.core.folders import owned_prefix
from scythe_cli.model.columns import file_columns, index_columns, outcome_schema
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.spec_rows import NOT_INPUT, artifacts_mark
from scythe_cli.run.input_files import ArtifactPlan, InputArtifact, read_listed_files, upload_artifacts
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import dump_yaml, read_yaml
from scythe_cli.run.specs_file import REPLICATE, write_new_specs
from scythe_cli.storage.base import Storage

__all__ = ["add_files", "artifact_list", "hashes_of", "io_schema", "put_specs", "rewritten", "texts_of", "used_files"]


def hashes_of(plan: ArtifactPlan) -> dict[str, dict[str, str]]:
    """By file column, from each reference to the SHA-256 of the file."""
    return {name: {value: file.sha256 for value, file in files.items()} for name, files in plan.files.items()}


def rewritten(inputs: pa.Table, uris: dict[str, dict[str, str]]) -> pa.Table:
    """Replace file references by where they were uploaded."""
    for name, mapping in uris.items():
        if not mapping:
            continue
        position = inputs.schema.get_field_index(name)
        references = texts_of(name, inputs.column(name))
        replaced = references.replace(list(mapping), list(mapping.values()))
        inputs = inputs.set_column(position, inputs.schema.field(position), replaced.to_arrow().cast(pa.string()))
    return inputs


def texts_of(name: str, column: pa.ChunkedArray[Any]) -> pl.Series:
    """A column of texts as a series, without a Python object for each."""
    return cast("pl.Series", pl.from_arrow(column.cast(pa.string()))).cast(pl.String).rename(name)


def put_specs(
    experiment: RegisteredExperiment[Any, Any],
    storage: Storage,
    run: RunLayout,
    inputs: pa.Table,
    workflow_run_id: str,
    *,
    extension: bytes = b"",
    replicates: bool = False,
) -> None:
    """Write `specs.pq`, in place of the one that is there.

    Args:
        experiment: What is called for each spec.
        storage: Where the run is kept.
        run: The run.
        inputs: The input columns of all specs, and `REPETITION` where it is known already.
        workflow_run_id: The id of the execution as a whole.
        extension: What is kept with it of how it got longer.
        replicates: Whether final tables tell which replicate of its case a row is.

    Raises:
        StorageError: If it cannot be written.
    """
    model = experiment.input_validator_type
    names = [column.name for column in index_columns(model)]
    if REPETITION not in inputs.column_names:
        repeated = repetitions(inputs, leave_out=NOT_INPUT, artifacts=artifacts_mark(run.experiment_id))
        if repeated is not None:
            inputs = inputs.append_column(REPETITION, repeated)
    if replicates and REPETITION in inputs.column_names:
        names = [REPLICATE, *names]
    with TemporaryDirectory(prefix=owned_prefix("specs")) as folder:
        path = Path(folder) / "specs.pq"
        outputs = outcome_schema(experiment.output_validator_type)
        files = [column.name for column in file_columns(model)]
        write_new_specs(path, inputs, run.experiment_id, workflow_run_id, names, outputs, files, extension=extension)
        storage.take_file(path, run.specs)


def io_schema(experiment: RegisteredExperiment[Any, Any]) -> dict[str, Any]:
    """The JSON schemas of input and output, for `experiment_io_spec.yml`."""
    return _io_schema(experiment.input_validator_type, experiment.output_validator_type)


@lru_cache(maxsize=16)
def _io_schema(input_type: type[BaseModel], output_type: type[BaseModel]) -> dict[str, Any]:
    """The schemas of two models, which stay what they are: one that is defined anew is another."""
    model: type[BaseModel] = create_model(
        "ExperimentIO",
        __doc__="The input and output of the experiment.",
        input=(input_type, Field(description="The input of one spec.")),
        output=(output_type, Field(description="The output of one spec.")),
    )
    return model.model_json_schema()


def artifact_list(records: Sequence[InputArtifact]) -> dict[str, Any]:
    """The uploaded input files, for `input_artifacts.yml`."""
    return {"files": [record.model_dump(mode="json") for record in records]}


def used_files(plan: ArtifactPlan, inputs: pa.Table) -> ArtifactPlan:
    """The input files that some cases name."""
    files: dict[str, Any] = {}
    for name, of in plan.files.items():
        named: set[Any] = set(inputs.column(name).unique().to_pylist()) if of else set()
        files[name] = {value: file for value, file in of.items() if value in named}
    return ArtifactPlan(files, [])


def add_files(plan: ArtifactPlan, storage: Storage, layout: RunLayout) -> dict[str, dict[str, str]]:
    """Upload the files that the run does not have, and list them; where each is, by field and reference."""
    if not any(plan.files.values()):
        return {}
    place = f"{storage.uri(layout.artifacts)}/"
    listed = {
        (file.sha256, Path(file.uri).suffix.lower()): file.uri
        for file in read_listed_files(storage, layout)
        if file.uri.startswith(place)
    }
    there: dict[str, dict[str, str]] = {name: {} for name in plan.files}
    missing: dict[str, dict[str, Any]] = {name: {} for name in plan.files}
    for name, of in plan.files.items():
        for value, file in of.items():
            uri = listed.get((file.sha256, Path(file.target).suffix.lower()))
            if uri is None:
                missing[name][value] = file
            else:
                there[name][value] = uri
    uploaded = upload_artifacts(ArtifactPlan(missing, []), storage, layout.artifacts)
    document = read_yaml(storage, layout.input_artifacts)
    files: list[Any] = list(document.get("files") or [])
    known = {(entry.get("field"), entry.get("source_name"), entry.get("uri")) for entry in files}
    records = [
        *uploaded.records,
        *(
            InputArtifact(
                field=name,
                source_name=file.source_name,
                uri=there[name][value],
                size_bytes=file.size_bytes,
                sha256=file.sha256,
            )
            for name, of in plan.files.items()
            for value, file in of.items()
            if value in there[name]
        ),
    ]
    new = [record for record in records if (record.field, record.source_name, record.uri) not in known]
    if new:
        unique = {(record.field, record.source_name, record.uri): record.model_dump(mode="json") for record in new}
        storage.write_bytes(layout.input_artifacts, dump_yaml({**document, "files": [*files, *unique.values()]}))
    return {name: {**there[name], **uploaded.uris.get(name, {})} for name in plan.files}
