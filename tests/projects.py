"""Small projects in folders with odd names, as users have them.

Their frames are Arrow tables, and made without `pyarrow.table`: a process that imports Polars takes half as long again
to start, and one that imports pandas, as `pyarrow.table` does, three times as long.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

BUILDING = '''
from pathlib import Path
import os, time
import pyarrow as pa
from pydantic import Field
from scythe_cli.arrow.build import array_of
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry


class Building(ExperimentInputSpec):
    area: float = Field(ge=0, le=1000, description="Floor area [m2]")
    kind: str = "office"
    weather: FileReference | None = None
    mode: str = "well"

    @property
    def computed_features(self):
        return {"big": int(self.area > 500)}


class Demand(ExperimentOutputSpec):
    energy_kwh: float = Field(description="Energy [kWh]")
    degree_days: int = 0
    report: FileReference | None = None


@ExperimentRegistry.Register(retries=0)
def simulate(input_spec: Building, tempdir: Path) -> Demand:
    """Heat a building."""
    if input_spec.mode == "raise":
        raise KeyError("lpd")
    if input_spec.mode == "abort":
        os.abort()
    if input_spec.mode == "loop":
        while True:
            pass
    if input_spec.mode == "memory":
        hog = bytearray(2_000_000_000)
        hog[::4096] = b"x" * len(hog[::4096])
    days = len(Path(input_spec.weather).read_text()) if input_spec.weather else 0
    report = None
    if input_spec.mode == "report":
        report = tempdir / "report.txt"
        report.write_text(f"area {input_spec.area}")
    kwh = array_of([input_spec.area, input_spec.area * 2], pa.float64())
    months = pa.Table.from_arrays([array_of([1, 2], pa.int64()), kwh], ["month", "kwh"])
    return Demand(
        energy_kwh=input_spec.area * 10, degree_days=days, report=report, dataframes={"monthly": months}
    )
'''

CONFIG = """
[scythe]
storage = "runs"
workers = 1

[experiments.energy]
entrypoint = "models.building:simulate"
{extra}
"""


def make_project(folder: Path, *, code: str = BUILDING, extra: str = "", config: str | None = None) -> Path:
    """Write experiments.toml and models/building.py into a new folder."""
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "__init__.py").write_text("")
    (folder / "models" / "building.py").write_text(code)
    (folder / "experiments.toml").write_text(CONFIG.format(extra=extra) if config is None else config)
    return folder


def scythe(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with a clean environment."""
    return subprocess.run(
        [sys.executable, "-m", "scythe_cli.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def tree(folder: Path) -> dict[str, int]:
    """All files below a folder, with when they were written; what a test holds to be unchanged."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}
