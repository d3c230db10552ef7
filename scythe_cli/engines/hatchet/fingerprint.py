"""What must be the same where a run is allocated and where its specs are executed."""

from __future__ import annotations

import hashlib
import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

from scythe_cli.model.columns import input_columns, outcome_schema, schema_of
from scythe_cli.model.experiment import RegisteredExperiment

__all__ = ["code_fingerprint", "schema_fingerprint"]


def schema_fingerprint(experiment: RegisteredExperiment[Any, Any]) -> str:
    """A hash of the columns of input and output: names and types."""
    digest = hashlib.sha256()
    inputs = schema_of(input_columns(experiment.input_validator_type))
    for schema in (inputs, outcome_schema(experiment.output_validator_type)):
        digest.update(repr([(f.name, str(f.type), f.metadata) for f in schema]).encode())
    return digest.hexdigest()[:16]


def code_fingerprint(experiment: RegisteredExperiment[Any, Any]) -> str | None:
    """A hash of the file that the function is in; None when there is no such file, as in a notebook."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(experiment.fn))
    except TypeError:
        return None
    if file is None:
        return None
    try:
        stat = Path(file).stat()
        return _file_fingerprint(file, stat.st_mtime_ns, stat.st_size)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _file_fingerprint(file: str, mtime_ns: int, size_bytes: int) -> str:
    del mtime_ns, size_bytes  # they tell when the file is another one
    # a checkout on another system may have other line ends
    return hashlib.sha256(Path(file).read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:16]
