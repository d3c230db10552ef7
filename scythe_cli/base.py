"""The models that an experiment's input and output are made from."""

from __future__ import annotations

from scythe_cli.errors import (
    ExperimentIndexAdditionalDataDoesNotMatchNRowsError,
    ExperimentIndexAdditionalDataOverlapsWithSpecError,
    ExperimentIndexNotSerializableError,
    ResultFileRefsInDataframesError,
    ScalarInDataframesError,
)
from scythe_cli.model.columns import (
    RESERVED_INPUT_FIELDS,
    SPEC_LEVELS,
    index_columns,
    input_columns,
    output_columns,
    output_files,
)
from scythe_cli.model.file_refs import FileReference, OptionalFileReference, S3Url, fetch_uri
from scythe_cli.model.models import (
    RESERVED_TABLES,
    BaseSpec,
    ComputedFeatureValue,
    ExperimentInputSpec,
    ExperimentOutputSpec,
    FileReferenceMixin,
)

__all__ = [
    "RESERVED_INPUT_FIELDS",
    "RESERVED_TABLES",
    "SPEC_LEVELS",
    "BaseSpec",
    "ComputedFeatureValue",
    "ExperimentIndexAdditionalDataDoesNotMatchNRowsError",
    "ExperimentIndexAdditionalDataOverlapsWithSpecError",
    "ExperimentIndexNotSerializableError",
    "ExperimentInputSpec",
    "ExperimentOutputSpec",
    "FileReference",
    "FileReferenceMixin",
    "OptionalFileReference",
    "ResultFileRefsInDataframesError",
    "S3Url",
    "ScalarInDataframesError",
    "fetch_uri",
    "index_columns",
    "input_columns",
    "output_columns",
    "output_files",
]
