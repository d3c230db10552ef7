"""A run with places and memory, and a study that goes on, written without running anything."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.analysis.surrogate.history import BestCase, StandingRecord, StudyHistory, StudyRound, write_history
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, index_columns
from scythe_cli.core.semver import SemVer
from scythe_cli.model.columns import outcome_schema
from scythe_cli.model.outcome_schema import MEMORY, OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import table_from_specs, with_meta
from scythe_cli.run.design_record import StudyRecord
from scythe_cli.run.final.gather import gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import write_part
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.specs_file import write_specs
from scythe_cli.storage.base import Storage

__all__ = ["Tank", "placed_run"]


class Tank(ExperimentInputSpec):
    """A tank somewhere."""

    lon: float
    lat: float
    volume: float
    material: str
    rooms: int = 3


class Loss(ExperimentOutputSpec):
    """What it loses."""

    loss: float


def placed_run(storage: Storage, scratch: Path, *, minor: int = 0, done: int = 60, study: str | None = None) -> str:
    """Write a run of 60 tanks, of which some are done.

    Args:
        storage: Where to.
        scratch: A folder for temporary files.
        minor: Its version.
        done: How many have an outcome; the tables are made if it is all.
        study: The study that the run is of.
    """
    layout = RunLayout("tank", SemVer(major=1, minor=minor), datetime(2026, 1, 1, tzinfo=UTC))
    cases = [Tank(lon=i - 20, lat=40 + i % 20, volume=10 + i, material="steel" if i % 3 else "oak") for i in range(60)]
    specs = with_meta(table_from_specs(cases, Tank), layout.experiment_id, "root")
    scratch.mkdir(parents=True, exist_ok=True)
    write_specs(scratch / "specs.pq", specs, [c.name for c in index_columns(Tank)], outcome_schema(Loss))
    storage.put_file(scratch / "specs.pq", layout.specs)
    manifest = RunManifest(
        workflow_run_id="root", experiment_id=layout.experiment_id, experiment_name="tank", experiment="tank",
        version=str(layout.version), engine="local", n_specs=60, created_at=layout.timestamp,
        study=StudyRecord(name=study, round=2, asked=10, suggest="predict") if study else None,
    )  # fmt: skip
    storage.write_bytes(layout.manifest, manifest.to_yaml())
    write_part(storage, layout, "a", _outcomes(cases[:done]))
    if done == len(cases):
        gather(storage, layout)
    if study:
        write_history(storage, layout, _history(study))
    return layout.experiment_id


def _outcomes(cases: list[Tank]) -> pa.Table:
    n = len(cases)
    start = np.datetime64("2026-01-01T00:00:00", "us")
    columns: dict[str, Any] = {
        "sort_index": np.arange(n),
        "state": ["succeeded"] * n,
        "attempt": [1] * n,
        "final": [True] * n,
        "started_at": pa.array(start + np.arange(n) * 1000, pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
        "duration_s": [10.0 ** (i / 20 - 2) for i in range(n)],
        "worker": ["w"] * n,
        "workflow_run_id": [f"root-{i:08d}" for i in range(n)],
    }
    table = pa.table({f.name: pa.array(columns.get(f.name, [None] * n), f.type) for f in OUTCOME_SCHEMA})
    table = table.append_column(
        MEMORY, pa.array([(50 + i) * 1_000_000 if i % 2 else None for i in range(n)], pa.int64())
    )
    return table.append_column("out:loss", pa.array([case.volume**2 for case in cases], pa.float64()))


def _history(study: str) -> StudyHistory:
    rounds = [
        StudyRound(
            round=i,
            cases=20 + 10 * i,
            succeeded=20 + 10 * i,
            failed=0,
            standings=[
                StandingRecord(
                    output="loss", target="rmse <= 1 %", value=0.04 / 2**i, shown=f"{4 / 2**i:g} %", ratio=4 / 2**i, n=9
                ),
                StandingRecord(output="loss", target="r2 >= 0.9", value=None, shown="?", ratio=None, n=0),
            ],
            best=[BestCase(sort_index=3 + i, outputs={"loss": math.exp(-i)})],
        )
        for i in range(3)
    ]
    return StudyHistory(
        study=study, targets={"loss": ["rmse <= 1 %", "r2 >= 0.9"]}, rounds=rounds, failures=["volume > 60"]
    )
