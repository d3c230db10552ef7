"""The models that an experiment's input and output are made from."""

from __future__ import annotations

from scythe_cli.model.file_refs import FileReference, OptionalFileReference, S3Url
from scythe_cli.model.models import (
    RESERVED_INPUT_FIELDS,
    RESERVED_TABLES,
    SPEC_LEVELS,
    BaseSpec,
    ExperimentIndexAdditionalDataDoesNotMatchNRowsError,
    ExperimentIndexAdditionalDataOverlapsWithSpecError,
    ExperimentIndexNotSerializableError,
    ExperimentInputSpec,
    ExperimentOutputSpec,
    index_columns,
    input_columns,
    output_columns,
    output_files,
)

__all__ = [
    "RESERVED_INPUT_FIELDS",
    "RESERVED_TABLES",
    "SPEC_LEVELS",
    "BaseSpec",
    "ExperimentIndexAdditionalDataDoesNotMatchNRowsError",
    "ExperimentIndexAdditionalDataOverlapsWithSpecError",
    "ExperimentIndexNotSerializableError",
    "ExperimentInputSpec",
    "ExperimentOutputSpec",
    "FileReference",
    "OptionalFileReference",
    "S3Url",
    "index_columns",
    "input_columns",
    "output_columns",
    "output_files",
]
