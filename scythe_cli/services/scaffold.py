"""What `scythe init` writes: a small project that runs as it is."""

from __future__ import annotations

import os
import random
import shlex
from importlib.resources import files
from pathlib import Path

from pydantic import Field

from scythe_cli.core.records import Record
from scythe_cli.errors import UsageError

__all__ = ["ScaffoldResult", "write_project"]


class ScaffoldResult(Record):
    """What was written."""

    folder: str
    files: dict[str, str] = Field(description="the files, with what each is")
    next_commands: list[str] = Field(description="what to type next")
    notices: list[str] = Field(default=[])


_SCHEMA = ".scythe/experiments.schema.json"

_CONFIG = f"""\
#:schema ./{_SCHEMA}

[scythe]
storage = "runs"      # a folder beside this file, or s3://bucket/prefix
engine = "local"      # local: processes on this machine; hatchet: a fleet

[experiments.heating]
entrypoint = "experiments.building:simulate"
execution_timeout = "1m"
"""

_PACKAGE = '''"""The experiments of this project."""
'''

_MODULE = '''"""Heating of a small building, by a monthly balance of losses and gains."""

from __future__ import annotations

from typing import Literal

import polars as pl
from pydantic import Field
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# rough monthly means: temperature [degC], and sun on a south facade [kWh/m2 per day]
TEMPERATURE = {
    "cool": (0.5, 1.4, 5.0, 9.2, 13.8, 17.0, 18.9, 18.5, 14.4, 9.6, 4.6, 1.6),
    "mild": (5.2, 5.6, 7.8, 10.1, 13.6, 16.6, 18.7, 18.5, 15.9, 12.4, 8.2, 5.7),
    "warm": (9.3, 10.2, 12.9, 15.5, 19.7, 23.8, 26.6, 26.5, 22.6, 18.4, 13.5, 10.4),
}
SUN = {
    "cool": (1.3, 2.1, 2.8, 3.2, 3.2, 3.1, 3.2, 3.3, 3.0, 2.4, 1.4, 1.0),
    "mild": (1.4, 2.1, 2.7, 3.1, 3.0, 3.0, 3.1, 3.2, 3.0, 2.4, 1.6, 1.2),
    "warm": (3.2, 3.5, 3.6, 3.2, 2.8, 2.6, 2.8, 3.3, 3.9, 4.0, 3.4, 2.9),
}


class Building(ExperimentInputSpec):
    """One case: a row of the sampling file."""

    climate: Literal["cool", "mild", "warm"] = Field(description="Where the building stands")
    floor_area: float = Field(ge=20, le=2000, description="Heated floor area [m2]")
    u_wall: float = Field(ge=0.1, le=3.0, description="Heat loss through walls and roof [W/m2K]")
    u_window: float = Field(default=1.3, ge=0.5, le=6.0, description="Heat loss through windows [W/m2K]")
    window_share: float = Field(default=0.2, ge=0.0, le=0.8, description="Window area over floor area")
    air_change: float = Field(default=0.5, ge=0.1, le=3.0, description="Ventilation and leaks [1/h]")
    setpoint: float = Field(default=20.0, ge=15, le=26, description="Room temperature [degC]")


class Heating(ExperimentOutputSpec):
    """What a case gives: a row of the results."""

    heating: float = Field(description="Heat that is needed in a year [kWh]")
    heating_per_area: float = Field(description="Heat that is needed in a year [kWh/m2]")
    loss_coefficient: float = Field(description="Heat loss of the whole building [W/K]")
    heated_months: int = Field(description="Months in which heat is needed")


@ExperimentRegistry.Register()
def simulate(building: Building) -> Heating:
    """Heat that a small building needs, month by month."""
    windows = building.window_share * building.floor_area
    walls = 1.8 * building.floor_area - windows  # two storeys: facades and roof
    volume = 2.6 * building.floor_area
    loss = building.u_wall * walls + building.u_window * windows + 0.34 * building.air_change * volume  # [W/K]

    months: list[dict[str, float]] = []
    for month, days in enumerate(DAYS, start=1):
        colder = max(building.setpoint - TEMPERATURE[building.climate][month - 1], 0.0)
        losses = loss * colder * 24 * days / 1000
        sun = 0.35 * windows * SUN[building.climate][month - 1] * days
        people_and_devices = 4.0 * building.floor_area * 24 * days / 1000
        heat = max(losses - 0.9 * (sun + people_and_devices), 0.0)
        months.append({"month": month, "losses_kwh": losses, "sun_kwh": sun, "heating_kwh": heat})

    monthly = pl.DataFrame(months)
    heating = float(monthly["heating_kwh"].sum())
    return Heating(
        heating=heating,
        heating_per_area=heating / building.floor_area,
        loss_coefficient=loss,
        heated_months=int((monthly["heating_kwh"] > 0).sum()),
        dataframes={"monthly": monthly},  # any number of tables, each stacked over all cases
    )
'''

_GITIGNORE = """\
/runs/
__pycache__/
"""

_N_CASES = 36


def _cases() -> str:
    """The sampling file: walls from bad to good, everything else drawn at random."""
    random_ = random.Random(7)
    lines = ["climate,floor_area,u_wall,u_window,window_share,air_change"]
    for n in range(_N_CASES):
        climate = ("cool", "mild", "warm")[n % 3]
        u_wall = 0.15 + 1.65 * (n // 3) / (_N_CASES // 3 - 1)
        lines.append(
            f"{climate},{random_.randrange(80, 400, 10)},{u_wall:.2f},{random_.choice(['0.8', '1.3', '2.8'])},"
            f"{random_.uniform(0.1, 0.4):.2f},{random_.uniform(0.2, 1.0):.2f}"
        )
    return "\n".join(lines) + "\n"


def _schema() -> str:
    return files("scythe_cli.config").joinpath("experiments.schema.json").read_text(encoding="utf-8")


_FILES: dict[str, tuple[str, str]] = {
    "experiments.toml": ("where runs are kept, and which experiments there are", _CONFIG),
    "experiments/__init__.py": ("makes the folder a package", _PACKAGE),
    "experiments/building.py": ("the experiment: a function with its input and output", _MODULE),
    _SCHEMA: ("what editors need to check and complete experiments.toml", _schema()),
    "cases.csv": (f"the sampling file: {_N_CASES} cases, one a row", _cases()),
    ".gitignore": ("keeps runs out of git", _GITIGNORE),
}


def write_project(folder: Path) -> ScaffoldResult:
    """Write a small working project.

    Args:
        folder: Where to; made when it is missing. A `.gitignore` that is there is kept.

    Raises:
        UsageError: If one of the files is there already, or the folder cannot be written. Nothing is overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    contents = dict(_FILES)
    notices: list[str] = []
    if os.path.lexists(folder / ".gitignore"):
        del contents[".gitignore"]
        notices.append("kept the .gitignore that is there; add a line /runs/ to it")
    present = [name for name in contents if os.path.lexists(folder / name)]
    if present:
        raise UsageError(
            f"{folder.absolute()} has these files already: {', '.join(present)}",
            hint="Nothing was written. Choose an empty folder: scythe init DIR",
        )
    try:
        for name, (_, text) in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    here = folder.absolute() == Path.cwd()
    shown = f"./{folder}" if str(folder).startswith("-") else str(folder)
    commands = [] if here else [f"cd {shlex.quote(shown)}"]
    return ScaffoldResult(
        folder=str(folder.absolute()),
        files={name: what for name, (what, _) in contents.items()},
        next_commands=[*commands, "scythe allocate cases.csv"],
        notices=notices,
    )
