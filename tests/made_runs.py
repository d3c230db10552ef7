"""Runs that are written part by part, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference, index_columns
from scythe_cli.core.semver import SemVer
from scythe_cli.model.columns import outcome_schema
from scythe_cli.model.outcome_schema import LEVELS_KEY, OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import table_from_specs, with_meta
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import write_part
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.specs_file import write_specs
from scythe_cli.storage.base import Storage


class Case(ExperimentInputSpec):
    x: float
    label: str = "q"
    steps: list[int] = []


class Answer(ExperimentOutputSpec):
    y: float
    odd: int | None = None
    picture: FileReference | None = None


LAYOUT = RunLayout("energy", SemVer(major=1), datetime(2026, 1, 1, tzinfo=UTC))


def make_run(storage: Storage, scratch: Path, n_specs: int, layout: RunLayout = LAYOUT) -> RunLayout:
    """Write specs and manifest of a run whose spec i has x = i."""
    inputs = table_from_specs([Case(x=i, steps=[i]) for i in range(n_specs)], Case)
    specs = with_meta(inputs, layout.experiment_id, "root")
    scratch.mkdir(parents=True, exist_ok=True)
    write_specs(scratch / "specs.pq", specs, [c.name for c in index_columns(Case)], outcome_schema(Answer))
    storage.put_file(scratch / "specs.pq", layout.specs)
    manifest = RunManifest(
        workflow_run_id="root",
        experiment_id=layout.experiment_id,
        experiment_name="energy",
        experiment="energy",
        version=str(layout.version),
        engine="local",
        n_specs=n_specs,
    )
    storage.write_bytes(layout.manifest, manifest.to_yaml())
    return layout


def outcomes(
    rows: Sequence[int],
    state: str = "succeeded",
    *,
    attempt: int = 1,
    final: bool = True,
    frame_rows: int | None = None,
    feature: bool = False,
    error_type: str = "KeyError",
    shift: float = 0.0,
) -> pa.Table:
    """Outcomes of some specs: y = x² + shift; a frame `monthly` with e = x·month, its level `month` from 0."""
    n, good = len(rows), state == "succeeded"
    columns: dict[str, Any] = {
        "sort_index": list(rows),
        "state": [state] * n,
        "attempt": [attempt] * n,
        "final": [final] * n,
        "started_at": [datetime(2026, 1, 1, 0, 0, i % 60, tzinfo=UTC) for i in range(n)],
        "duration_s": [0.5] * n,
        "worker": ["w"] * n,
        "workflow_run_id": [f"root-{i:08d}" for i in rows],
        "error_type": [None if good else error_type] * n,
        "message": [None if good else f"bad {i}" for i in rows],
        "traceback": [None if good else 'Traceback:\n  File "m.py", line 7, in f\nKeyError: 1\n'] * n,
        "log": [None] * n,
    }
    table = pa.table({f.name: pa.array(columns[f.name], f.type) for f in OUTCOME_SCHEMA})
    table = table.append_column("out:y", pa.array([i**2 + shift if good else None for i in rows], pa.float64()))
    table = table.append_column("out:odd", pa.array([i if i % 2 and good else None for i in rows], pa.int64()))
    table = table.append_column("file:picture", pa.array([f"p{i}.png" if good else None for i in rows], pa.string()))
    if feature:
        table = table.append_column("feature:half", pa.array([i / 2 for i in rows], pa.float64()))
    if frame_rows is not None:
        type_ = pa.list_(pa.struct([("month", pa.int64()), ("e", pa.float64())]))
        cells = [[{"month": m, "e": float(i * m)} for m in range(frame_rows)] for i in rows]
        field = pa.field("frame:monthly", type_, metadata={LEVELS_KEY: b'["month"]'})
        table = table.append_column(field, pa.array(cells, type_))
    return table


__all__ = ["LAYOUT", "Answer", "Case", "make_run", "outcomes", "write_part"]
