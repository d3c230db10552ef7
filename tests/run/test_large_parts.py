"""Dataframes of hundreds of megabytes go through the ledger column by column, and take about their size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scythe_cli.executor.rows.extras import frame_column
from scythe_cli.executor.rows.frames import Frame
from scythe_cli.run import ledger as ledger_module
from scythe_cli.run.ledger import Ledger, check_parts, read_part, write_part
from scythe_cli.storage.opening import open_storage
from tests.made_runs import make_run, outcomes

_COLUMNS = 8
_ROWS = 800_000
_SIZE_MB = 8 * _COLUMNS * _ROWS / 1e6


@pytest.mark.parametrize("specs", [[0], [0, 1, 2]])
def test_a_large_part_is_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, specs: list[int]) -> None:
    monkeypatch.setattr(ledger_module, "_LARGE_BYTES", 100)
    monkeypatch.setattr(ledger_module, "_GROUP_FRAME_BYTES", 3_000)
    n = 600
    rows = pa.table(
        {
            "x.y": np.arange(float(n)),
            "text": pa.array(["a", None] * (n // 2)),
            "lists": pa.array([[1], None, []] * (n // 3)),
            "where": pa.array([{"lat": 1.5, "name": "x"}, None] * (n // 2)),
        }
    )
    frames = [Frame(rows), None, Frame(rows.slice(0, 2))]
    table = outcomes(specs).append_column(*frame_column("frame:t", pa.struct(list(rows.schema)), frames[: len(specs)]))
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 3)
    write_part(storage, run, "p", table)
    with Ledger.open(storage, run) as ledger:
        (part,) = ledger.parts
        check_parts([part])
        names = ["sort_index", "frame:t", "out:y"]
        assert read_part(part, names).equals(table.select(names))
        pieces = [read_part(part, names, row_group=group) for group in range(len(part.row_groups))]
        assert pa.concat_tables(pieces).equals(table.select(names))


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="looks at the memory of a process as Linux tells it")
def test_the_memory_that_a_large_dataframe_takes(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path, 1)
    rows = pa.table({f"c{i}": np.random.default_rng(i).random(_ROWS) for i in range(_COLUMNS)})
    write_part(
        storage,
        run,
        "p",
        outcomes([0]).append_column(*frame_column("frame:t", pa.struct(list(rows.schema)), [Frame(rows)])),
    )
    ran = subprocess.run(
        [sys.executable, "-c", _GATHER, str(tmp_path / "runs"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(ran.stdout) / _SIZE_MB < 2.0, "it was 4.2 when all columns were decoded at once"


_GATHER = """
import resource, sys
from pathlib import Path
from scythe_cli.run.final.gather import gather
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, make_run, outcomes, write_part
import dataclasses
storage = open_storage(sys.argv[1])
small = dataclasses.replace(LAYOUT, experiment="small")
make_run(storage, Path(sys.argv[2]) / "small", 1, small)
write_part(storage, small, "p", outcomes([0], frame_rows=3))
gather(storage, small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
gather(storage, LAYOUT)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3)
"""
