"""What a reader of a page has already, before its first block."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import scythe_cli
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.services.scaffold import write_project

from .blocks import read_blocks

EXAMPLES = Path(__file__).parents[2] / "examples"

Setup = Callable[[Path, Path], None]
"""Writes what is there into a folder, which is the working directory, for a page."""


def make(setup: Setup, folder: Path, page: Path, places: pytest.TempPathFactory) -> None:
    """Have in a folder what a page begins with; what has runs is made once, and copied."""
    if setup in WITH_RUNS:
        if setup not in _made:
            _made[setup] = _make_first(setup, places)
        shutil.copytree(_made[setup], folder, dirs_exist_ok=True)
    else:
        setup(folder, page)


_made: dict[Setup, Path] = {}


def _make_first(setup: Setup, places: pytest.TempPathFactory) -> Path:
    folder = places.mktemp(setup.__name__)
    with contextlib.chdir(folder):
        setup(folder, folder)  # none of these looks at the page
        forget_modules()
    ExperimentRegistry.clear()
    return folder


def forget_modules() -> None:
    """Let modules of the project be imported afresh, since a page may have written them again."""
    here = f"{Path.cwd()}{os.sep}"
    for name, module in list(sys.modules.items()):
        # a folder without __init__.py is a package that has no file
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
        # compared as text: there are thousands of modules, each time
        if any(place and f"{place}{os.sep}".startswith(here) for place in places):
            del sys.modules[name]


def empty(folder: Path, page: Path) -> None:
    """Nothing: the page tells everything."""


def heating(folder: Path, page: Path) -> None:
    """What `scythe init` writes."""
    write_project(folder)


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
    _write_energy(folder, "cases.csv", 1000)
    scythe_cli.allocate("cases.csv")
    (folder / "oslo.epw").write_text("3900")


def growing(folder: Path, page: Path) -> None:
    """The same experiment, with a file of cases and one of more."""
    _write_energy(folder, "cases.csv", 20)
    _write_energy(folder, "more.csv", 40)
    _write_energy(folder, "noisy.csv", 3)


def _write_energy(folder: Path, file: str, n: int) -> None:
    (folder / "experiments").mkdir(exist_ok=True)
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
    rows = [f"{area},{'oslo' if area > 900 else 'rome'}.epw" for area in range(1, n + 1)]
    (folder / file).write_text("\n".join(["area,weather", *rows]) + "\n")


def throw(folder: Path, page: Path) -> None:
    """The cases of the example on the front page."""
    shutil.copy(EXAMPLES / "throw" / "cases.csv", folder)


SETUPS: dict[str, Setup] = {
    "growing.md": growing,
    "README.md": throw,
    "index.md": throw,
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
    "slurm.md": heating,
}
"""By the name of the page; others begin in an empty folder."""

WITH_RUNS = (heating_with_runs, energy)
"""What takes long to make."""
