"""What two runs of the same cases must have in common, and what a run's folder may hold."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

_OWN = ["experiment_id", "workflow_run_id", "root_workflow_run_id", "duration_s"]
_CONTRACT = re.compile(
    r"specs\.pq|manifest\.yml|experiment_io_spec\.yml|input_artifacts\.yml|workflow_spec\.yml"
    r"|artifacts/.+|outcomes/[^/.]+\.pq|outcomes/writers\.json|results/[^/]+/[^/]+|final/[^/.]+\.pq"
)


def final_tables(run: Path) -> dict[str, pl.DataFrame]:
    """The final tables, without the columns in which any two runs differ."""
    tables = {path.stem: pl.read_parquet(path, glob=False) for path in sorted((run / "final").glob("*.pq"))}
    return {name: table.drop(_OWN, strict=False) for name, table in tables.items()}


def assert_same_tables(run: Path, expected: dict[str, pl.DataFrame]) -> None:
    """A run has the same final tables as another one had, but for ids and times."""
    found = final_tables(run)
    assert sorted(found) == sorted(expected)
    for name, table in expected.items():
        assert found[name].schema == table.schema, name
        assert found[name].equals(table), f"{name} differs"


def strangers(run: Path, *, engine: str = "local") -> list[str]:
    """Files in a run's folder that a run does not consist of; engines but the local one keep notes there."""
    files = [str(path.relative_to(run)) for path in sorted(run.rglob("*")) if not path.is_dir()]
    return [file for file in files if not _CONTRACT.fullmatch(file) and not file.startswith(f"{engine}/")]
