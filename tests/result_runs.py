"""Finished runs with known inputs and outputs, written without running anything, for tests of what reads results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field

from scythe_cli.analysis.run import Run
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference, index_columns
from scythe_cli.core.semver import SemVer
from scythe_cli.model.columns import outcome_schema
from scythe_cli.model.outcome_schema import LEVELS_KEY, OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import table_from_specs, with_meta
from scythe_cli.run.design_record import DesignRecord
from scythe_cli.run.final.gather import gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import write_part
from scythe_cli.run.manifest import RunManifest, dump_yaml
from scythe_cli.run.specs_file import write_specs
from scythe_cli.storage.base import Storage


class Wall(BaseModel):
    u_value: float = Field(default=1.0, description="Heat loss [W/m2K]")


class Case(ExperimentInputSpec):
    tilt: float = Field(description="Slope [deg]")
    site: str = "Oslo"
    wall: Wall = Wall()
    steps: list[int] = []
    weather: FileReference | None = None


class Answer(ExperimentOutputSpec):
    power: float | None = Field(default=None, description="Power of the system [kWh]")
    note: str | None = None
    n: int = 0
    picture: FileReference | None = None


def layout(version: str = "v1.0.0", second: int = 0, experiment: str = "solar") -> RunLayout:
    return RunLayout(experiment, SemVer.FromString(version), datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC))


def finished_run(
    storage: Storage,
    scratch: Path,
    cases: Sequence[Case],
    answers: Sequence[dict[str, Any]],
    run: RunLayout | None = None,
    *,
    hashes: dict[str, str] | None = None,
    gathered: bool = True,
    design: DesignRecord | None = None,
) -> Run:
    """Write a run.

    Args:
        storage: Where to.
        scratch: A folder for temporary files.
        cases: The specs.
        answers: For each spec `power`, `note`, `n`, `picture` (a URI), `months` (energies) and `state`; all optional.
        run: Which run.
        hashes: The uploaded input files: URI to hash.
        gathered: Whether the final tables are made.
        design: How the specs were sampled.
    """
    run = run or layout()
    scratch.mkdir(parents=True, exist_ok=True)
    specs = with_meta(table_from_specs(cases, Case), run.experiment_id, "root")
    path = scratch / "specs.pq"
    write_specs(path, specs, [c.name for c in index_columns(Case)], outcome_schema(Answer), ["weather"])
    storage.put_file(path, run.specs)
    manifest = RunManifest(
        workflow_run_id="root",
        experiment_id=run.experiment_id,
        experiment_name=run.experiment,
        experiment=run.experiment,
        version=str(run.version),
        engine="local",
        n_specs=len(cases),
        created_at=run.timestamp,
        design=design,
    )
    storage.write_bytes(run.manifest, manifest.to_yaml())
    storage.write_bytes(run.io_spec, dump_yaml(_io_schema()))
    if hashes:
        files = [{"uri": uri, "sha256": digest} for uri, digest in hashes.items()]
        storage.write_bytes(run.input_artifacts, dump_yaml({"weather": files}))
    write_part(storage, run, "a", _outcomes(answers))
    if gathered:
        gather(storage, run)
    return Run(storage, run)


@cache
def _io_schema() -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    schema = {"$defs": definitions, "properties": {}}
    for side, model in (("input", Case), ("output", Answer)):
        made = model.model_json_schema()
        definitions.update(made.pop("$defs", {}))
        definitions[model.__name__] = made
        schema["properties"][side] = {"$ref": f"#/$defs/{model.__name__}"}
    return schema


def _outcomes(answers: Sequence[dict[str, Any]]) -> pa.Table:
    rows = range(len(answers))
    states = [answer.get("state", "succeeded") for answer in answers]
    good = [state == "succeeded" for state in states]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    columns: dict[str, list[Any]] = {
        "sort_index": list(rows),
        "state": states,
        "attempt": [1 for _ in rows],
        "final": [True for _ in rows],
        "started_at": [start + timedelta(seconds=i / 10) for i in rows],
        "duration_s": [0.1 + (i % 7) / 10 for i in rows],
        "worker": ["w" for _ in rows],
        "workflow_run_id": [f"root-{i:08d}" for i in rows],
        "error_type": [None if ok else "ValueError" for ok in good],
        "message": [None if ok else answers[i].get("message", f"bad {i}") for i, ok in enumerate(good)],
        "traceback": [None if ok else 'Traceback:\n  File "m.py", line 7, in f\n' for ok in good],
        "log": [None for _ in rows],
    }
    table = pa.table({f.name: pa.array(columns[f.name], f.type) for f in OUTCOME_SCHEMA})
    for name, type_ in (("power", pa.float64()), ("note", pa.string()), ("n", pa.int64())):
        values = [answer.get(name) if ok else None for answer, ok in zip(answers, good, strict=True)]
        table = table.append_column(f"out:{name}", pa.array(values, type_))
    table = table.append_column("file:picture", pa.array([answer.get("picture") for answer in answers], pa.string()))
    if any("months" in answer for answer in answers):
        type_ = pa.list_(pa.struct([("month", pa.int64()), ("energy", pa.float64())]))
        cells = [
            [{"month": m, "energy": e} for m, e in enumerate(answer.get("months", ()), 1)] if ok else None
            for answer, ok in zip(answers, good, strict=True)
        ]
        levels = pa.field("frame:monthly", type_, metadata={LEVELS_KEY: b'["month"]'})
        table = table.append_column(levels, pa.array(cells, type_))
    return table
