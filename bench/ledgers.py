"""Runs whose ledger is full and whose final tables are not made yet, written without running anything."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from scythe_cli.core.semver import SemVer
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import with_meta
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import LedgerWriter, write_part
from scythe_cli.run.specs_file import write_specs
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage

__all__ = ["HOURS", "RUN", "make_frames", "make_scalars"]

RUN = RunLayout("bench", SemVer(major=1), datetime(2026, 1, 1, tzinfo=UTC))
HOURS = 8760
ROOT_ID = "ab" * 16

_OUTPUTS = pa.schema([*OUTCOME_SCHEMA, pa.field("out:y", pa.float64()), pa.field("out:z", pa.int64())])


def make_scalars(folder: Path, n_specs: int, n_parts: int) -> Path:
    """A run with two scalar outputs; its outcomes are spread over the parts at random, which is the worst case."""
    storage, draw = _make_run(folder, n_specs), np.random.default_rng(0)
    index = draw.permutation(n_specs)
    ids = np.array([f"{ROOT_ID}-{i:08d}" for i in range(n_specs)])
    for number, rows in enumerate(np.array_split(index, n_parts)):
        write_part(storage, RUN, f"local-{number:06d}", _outcomes(rows, ids[rows], draw))
    return folder


def make_frames(folder: Path, n_specs: int, pile: Path | None = None) -> Path:
    """A run each of whose specs returned a table of a year's hours with 4 columns; in order, as one machine writes.

    Args:
        folder: The storage.
        n_specs: The number of specs.
        pile: Where to write each spec's table as a file of its own as well, as people do by hand: `bare/` has the
            table alone, `indexed/` has the spec's id and inputs as its index, as scythe-engine asks for.
    """
    storage, draw = _make_run(folder, n_specs), np.random.default_rng(0)
    inputs = _inputs(n_specs).to_pylist()
    writer = LedgerWriter(storage, RUN, "local")
    for i in range(n_specs):
        table = _year(i, draw)
        values = [column.combine_chunks() for column in table.columns]
        structs = pa.StructArray.from_arrays(values, names=table.column_names)
        lists = pa.ListArray.from_arrays(pa.array([0, HOURS], pa.int32()), structs)
        rows = np.array([i])
        writer.add(_outcomes(rows, np.array([f"{ROOT_ID}-{i:08d}"]), draw).append_column("frame:hourly", lists))
        if pile is not None:
            _add_to_pile(pile, i, table, inputs[i])
    writer.flush()
    return folder


def _year(i: int, draw: np.random.Generator) -> pa.Table:
    """Hourly loads: a daily swing with noise, all digits, as a simulation gives them."""
    hour = np.arange(HOURS)
    names = ("heating", "cooling", "lighting", "plugs")
    swing = (50 + 40 * np.sin(2 * np.pi * (hour + 7 * i) / 24 + k) for k in range(len(names)))
    return pa.table({name: load + draw.normal(0, 5, HOURS) for name, load in zip(names, swing, strict=True)})


def _add_to_pile(pile: Path, i: int, table: pa.Table, inputs: dict[str, object]) -> None:
    for kind in ("bare", "indexed"):
        (pile / kind).mkdir(parents=True, exist_ok=True)
    frame = table.to_pandas()
    frame.to_parquet(pile / "bare" / f"{i:08d}.pq")
    levels = {
        "experiment_id": RUN.experiment_id,
        "sort_index": i,
        "workflow_run_id": f"{ROOT_ID}-{i:08d}",
        "root_workflow_run_id": ROOT_ID,
        **inputs,
        "sort_subindex": range(HOURS),
    }
    frame.assign(**levels).set_index(list(levels)).to_parquet(pile / "indexed" / f"{i:08d}.pq")


def _make_run(folder: Path, n_specs: int) -> Storage:
    folder.mkdir(parents=True)
    storage = open_storage(folder)
    inputs = _inputs(n_specs)
    specs = folder / "specs.pq"
    write_specs(specs, with_meta(inputs, RUN.experiment_id, ROOT_ID), inputs.column_names, _OUTPUTS)
    storage.put_file(specs, RUN.specs)
    specs.unlink()
    return storage


def _inputs(n_specs: int) -> pa.Table:
    draw = np.random.default_rng(1)
    labels = pa.array([f"case {i % 50}" for i in range(n_specs)])
    return pa.table({"x": draw.random(n_specs), "k": draw.integers(0, 100, n_specs), "label": labels})


def _outcomes(rows: np.ndarray, ids: np.ndarray, draw: np.random.Generator) -> pa.Table:
    n = len(rows)
    columns = {
        "sort_index": rows,
        "state": ["succeeded"] * n,
        "attempt": np.ones(n, np.int32),
        "final": np.ones(n, bool),
        "started_at": pa.array(1_767_225_600_000_000 + rows, pa.timestamp("us", tz="UTC")),
        "duration_s": draw.random(n),
        "worker": ["host"] * n,
        "workflow_run_id": ids.tolist(),
        "out:y": draw.random(n),
        "out:z": draw.integers(0, 100, n),
    }
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in _OUTPUTS]
    return pa.Table.from_arrays(arrays, schema=_OUTPUTS)
