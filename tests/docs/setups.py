"""What a reader of a page has already, before its first block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import scythe_cli
from scythe_cli.services.scaffold import write_project

from .blocks import read_blocks

Setup = Callable[[Path, Path], None]


def empty(folder: Path, page: Path) -> None:
    """Nothing: the page tells everything."""


def heating(folder: Path, page: Path) -> None:
    """What `scythe init` writes."""
    write_project(folder)


def heating_with_a_run(folder: Path, page: Path) -> None:
    """The same, with a run."""
    write_project(folder)
    scythe_cli.allocate("cases.csv")


def heating_with_runs(folder: Path, page: Path) -> None:
    """The same, with two versions and an output file; in the second version, less heat is needed."""
    write_project(folder)
    module = folder / "experiments" / "building.py"
    text = module.read_text()
    for old, new in (
        ("import polars as pl\n", "from pathlib import Path\n\nimport polars as pl\n"),
        ("ExperimentOutputSpec\n", "ExperimentOutputSpec, FileReference\n"),
        ("    heated_months: int", "    listing: FileReference\n    heated_months: int"),
        ("(building: Building)", "(building: Building, tempdir: Path)"),
        ("    heating = ", '    monthly.write_csv(tempdir / "monthly.csv")\n    heating = '),
        ("return Heating(", 'return Heating(\n        listing=tempdir / "monthly.csv",'),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    module.write_text(text)
    scythe_cli.allocate("cases.csv")
    module.write_text(text.replace("people_and_devices = 4.0", "people_and_devices = 4.5"))
    scythe_cli.allocate("cases.csv")


def roof(folder: Path, page: Path) -> None:
    """An experiment around the model in the page's first block."""
    model = read_blocks(page)[0].text
    function = '''

from scythe_cli.base import ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Yield(ExperimentOutputSpec):
    energy_kwh: float = Field(description="Energy in a year [kWh]")


@ExperimentRegistry.Register()
def simulate(roof: Roof) -> Yield:
    """A roof with modules."""
    share = {"mono": 1.0, "poly": 0.9, "thin": 0.7}[roof.module]
    facing = 1 - abs(roof.azimuth - 180) / 400
    return Yield(energy_kwh=1000 * roof.strings * share * facing * (1 - ((roof.tilt - 35) / 120) ** 2))
'''
    (folder / "roof.py").write_text(model + function)
    (folder / "experiments.toml").write_text('[experiments.roof]\nentrypoint = "roof:simulate"\n')


def energy(folder: Path, page: Path) -> None:
    """An experiment `energy` with one run of 1,000 specs; since then, the weather of a hundred has changed."""
    (folder / "experiments").mkdir()
    (folder / "experiments" / "__init__.py").write_text("")
    (folder / "experiments" / "building.py").write_text('''
from pathlib import Path
from pydantic import Field
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry


class Building(ExperimentInputSpec):
    area: float = Field(ge=0, le=2000, description="Floor area [m2]")
    weather: FileReference = Field(description="Degree days")


class Demand(ExperimentOutputSpec):
    energy: float = Field(description="Energy in a year [kWh]")


@ExperimentRegistry.Register()
def simulate(building: Building) -> Demand:
    """Heat a building."""
    return Demand(energy=building.area * int(Path(str(building.weather)).read_text()))
''')
    (folder / "experiments.toml").write_text('[experiments.energy]\nentrypoint = "experiments.building:simulate"\n')
    for name, days in (("rome", 1400), ("oslo", 4000)):
        (folder / f"{name}.epw").write_text(str(days))
    rows = [f"{area},{'oslo' if area > 900 else 'rome'}.epw" for area in range(1, 1001)]
    (folder / "cases.csv").write_text("\n".join(["area,weather", *rows]) + "\n")
    scythe_cli.allocate("cases.csv")
    (folder / "oslo.epw").write_text("3900")


SETUPS: dict[str, Setup] = {
    "designs.md": roof,
    "migrating-from-scythe-engine.md": energy,
    "results.md": heating_with_runs,
    "reuse.md": energy,
    "storage-on-s3.md": heating,
    "sampling-files.md": heating,
    "json.md": heating_with_runs,
    "ci.md": heating_with_runs,
    "following-runs.md": heating_with_runs,
    "notebooks.md": heating,
}
"""By the name of the page; others begin in an empty folder."""
