"""Runs that a node of the Hatchet engine can work on, written without allocating them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.base import index_columns
from scythe_cli.core.records import StateCounts
from scythe_cli.core.semver import SemVer
from scythe_cli.engines.base import Job
from scythe_cli.model.columns import outcome_schema
from scythe_cli.registry import experiment_from_function
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RecursionRecord, RunManifest
from scythe_cli.run.specs_file import write_new_specs
from scythe_cli.storage.opening import open_storage

__all__ = ["make_job"]

_ROOT_ID = "0" * 32


def make_job(folder: Path, function: Any, inputs: pa.Table, *, factor: int, depth: int, per_task: int | str) -> Job:
    """Write specs and manifest of a run below a folder."""
    experiment = experiment_from_function(function, name=function.__name__)
    layout = RunLayout(experiment.name, SemVer(major=1), datetime(2026, 1, 1, tzinfo=UTC))
    storage = open_storage(folder / "runs")
    names = [column.name for column in index_columns(experiment.input_validator_type)]
    outputs = outcome_schema(experiment.output_validator_type)
    write_new_specs(folder / "specs.pq", inputs, layout.experiment_id, _ROOT_ID, names, outputs)
    storage.put_file(folder / "specs.pq", layout.specs)
    manifest = RunManifest(
        workflow_run_id=_ROOT_ID,
        experiment_id=layout.experiment_id,
        experiment_name=experiment.name,
        experiment=experiment.name,
        version=str(layout.version),
        engine="hatchet",
        n_specs=inputs.num_rows,
        recursion=RecursionRecord(factor=factor, max_depth=depth),
        specs_per_task=per_task,
    )
    storage.write_bytes(layout.manifest, manifest.to_yaml())
    return Job(
        storage=storage,
        run=layout,
        experiment=experiment,
        root=None,
        workflow_run_id=_ROOT_ID,
        n_specs=inputs.num_rows,
        todo=None,
        counts=StateCounts(pending=inputs.num_rows),
        workers=1,
    )
