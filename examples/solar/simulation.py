"""Energy that a photovoltaic system yields in a typical year, with pvlib.

For every row of the sampling file: sun positions and weather give the light on the tilted modules, that and the
module's temperature give the power of the modules, and the inverter turns it to grid power and clips the peaks.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pvlib
from pydantic import Field

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, OptionalFileReference
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.utils.filesys import FileReference

HOURS = 8760
MODULE_TECHNOLOGY = {  # change of power with the cells' temperature [1/degC], and refractive index of the glass
    "standard": {"gamma_pdc": -0.0047, "iam_n": 1.526},
    "premium": {"gamma_pdc": -0.0035, "iam_n": 1.3},
    "thin-film": {"gamma_pdc": -0.0020, "iam_n": 1.526},
}
SYSTEM_LOSSES = 0.14  # soiling, wiring, mismatch, ageing: the default of PVWatts
INVERTER_EFFICIENCY = 0.96


class SolarSystem(ExperimentInputSpec):
    """One photovoltaic system at one place."""

    site: str = Field(max_length=40, description="Name of the place")
    weather: FileReference = Field(description="Typical-year weather: a TMY3 file (.csv) or a TMY2 file (.tm2)")
    tilt: float = Field(ge=0, le=90, description="Slope of the modules, 0 is flat [deg]")
    azimuth: float = Field(ge=0, lt=360, description="Where the modules face, 180 is south [deg]")
    dc_ac_ratio: float = Field(default=1.2, ge=0.8, le=2.0, description="Power of modules over power of inverter")
    module: Literal["standard", "premium", "thin-film"] = Field(default="standard", description="Technology")
    albedo: float = Field(default=0.2, ge=0, le=1, description="Light that the ground reflects")
    keep_hourly: bool = Field(default=False, description="Whether the hourly series is kept as a file")

    @property
    def computed_features(self) -> dict[str, int | float | str]:
        """The compass direction: easier to group by than an angle."""
        return {"facing": ("north", "east", "south", "west")[round(self.azimuth / 90) % 4]}


class SolarYield(ExperimentOutputSpec):
    """What the system gives in a typical year."""

    annual_yield: float = Field(description="Grid energy in a year, per kW of modules [kWh/kWp]")
    capacity_factor: float = Field(description="Mean grid power over power of the modules")
    plane_irradiation: float = Field(description="Light on the modules in a year [kWh/m2]")
    performance_ratio: float = Field(description="Yield over what ideal modules would give in that light")
    clipping_loss: float = Field(description="Energy lost to the inverter's limit [%]")
    temperature_loss: float = Field(description="Energy lost to warm modules; negative where cold ones gain [%]")
    hourly: OptionalFileReference = Field(default=None, description="Power hour by hour, where it was asked for")


class Weather(NamedTuple):
    """A typical year at a place: hourly means, time stamps in the middle of the hour."""

    times: pd.DatetimeIndex
    data: pd.DataFrame  # ghi, dni, dhi [W/m2], temp_air [degC], wind_speed [m/s]
    sun: pd.DataFrame
    dni_extra: pd.Series


@lru_cache(maxsize=8)
def read_weather(path: Path) -> Weather:
    """Read a typical year, once per process.

    The months of a typical year come from different years: all are set to the same one, without a leap day. Both
    formats give means over the hour before (TMY3) or after (TMY2) the time stamp, and the first row is the first
    hour of January in both, so the sun's position is taken half an hour into each row.
    """
    if path.suffix.lower() == ".tm2":
        raw, about = pvlib.iotools.read_tmy2(path)
        data = pd.DataFrame(
            {
                "ghi": raw["GHI"],
                "dni": raw["DNI"],
                "dhi": raw["DHI"],
                "temp_air": raw["DryBulb"] / 10,
                "wind_speed": raw["Wspd"] / 10,
            }
        )
    else:
        data, about = pvlib.iotools.read_tmy3(path, coerce_year=1990, map_variables=True)
        data = data[["ghi", "dni", "dhi", "temp_air", "wind_speed"]]
    if len(data) != HOURS:
        raise ValueError(f"{path.name} has {len(data)} hours; a typical year has {HOURS}")
    zone = f"Etc/GMT{-int(about['TZ']):+d}"  # Etc/GMT+5 is five hours behind
    times = pd.date_range("1990-01-01 00:30", periods=HOURS, freq="h", tz=zone)
    data = data.set_axis(times).astype(float)
    sun = pvlib.solarposition.get_solarposition(times, about["latitude"], about["longitude"], about["altitude"])
    extra = pvlib.irradiance.get_extra_radiation(times.day_of_year.to_numpy())
    return Weather(times, data, sun, pd.Series(extra, index=times))


@ExperimentRegistry.Register(description="Yearly energy of a photovoltaic system")
def simulate(system: SolarSystem, tempdir: Path) -> SolarYield:
    """Simulate 8760 hours; powers are per kW of modules."""
    weather = read_weather(Path(str(system.weather)))
    technology = MODULE_TECHNOLOGY[system.module]

    plane = light_on_plane(system, weather, technology["iam_n"])
    cell = pvlib.temperature.faiman(plane["total"], weather.data["temp_air"], weather.data["wind_speed"])
    dc = pvlib.pvsystem.pvwatts_dc(plane["effective"], cell, 1000.0, technology["gamma_pdc"]) * (1 - SYSTEM_LOSSES)

    limit = 1000.0 / system.dc_ac_ratio / INVERTER_EFFICIENCY
    ac = pvlib.inverter.pvwatts(dc, limit, INVERTER_EFFICIENCY).clip(lower=0.0)
    clipped = (dc - limit).clip(lower=0.0) * INVERTER_EFFICIENCY

    annual = float(ac.sum()) / 1000
    irradiation = float(plane["total"].sum()) / 1000
    hourly = pd.DataFrame({"poa": plane["total"], "cell_temperature": cell, "dc": dc, "ac": ac})
    return SolarYield(
        annual_yield=annual,
        capacity_factor=annual / HOURS,
        plane_irradiation=irradiation,
        performance_ratio=annual / irradiation,
        clipping_loss=percent_lost(float((ac + clipped).sum()), float(ac.sum())),
        temperature_loss=percent_lost(float(plane["effective"].sum()) * (1 - SYSTEM_LOSSES), float(dc.sum())),
        hourly=write_hourly(hourly, tempdir) if system.keep_hourly else None,
        dataframes={"monthly": monthly_table(hourly)},
    )


def light_on_plane(system: SolarSystem, weather: Weather, refractive_index: float) -> pd.DataFrame:
    """Light on the modules [W/m2]: in total, and what gets through the glass to the cells."""
    sun, data = weather.sun, weather.data
    parts = pvlib.irradiance.get_total_irradiance(
        system.tilt,
        system.azimuth,
        sun["apparent_zenith"],
        sun["azimuth"],
        data["dni"],
        data["ghi"],
        data["dhi"],
        dni_extra=weather.dni_extra,
        albedo=system.albedo,
        model="haydavies",
    )
    angle = pvlib.irradiance.aoi(system.tilt, system.azimuth, sun["apparent_zenith"], sun["azimuth"])
    through_glass = pvlib.iam.physical(angle, n=refractive_index)
    effective = parts["poa_direct"] * through_glass + parts["poa_diffuse"] * 0.95
    return pd.DataFrame({"total": parts["poa_global"], "effective": effective}).fillna(0.0).clip(lower=0.0)


def percent_lost(before: float, after: float) -> float:
    """What is lost, in percent of what was there before."""
    return 100 * (1 - after / before) if before > 0 else 0.0


def monthly_table(hourly: pd.DataFrame) -> pl.DataFrame:
    """Sums for each month.

    Returns:
        `month` (1-12), `energy_kwh` (grid energy per kW of modules), `plane_kwh_per_m2` (light on the modules).
    """
    month = hourly.index.month.to_numpy() - 1
    return pl.DataFrame(
        {
            "month": np.arange(1, 13),
            "energy_kwh": np.bincount(month, weights=hourly["ac"]) / 1000,
            "plane_kwh_per_m2": np.bincount(month, weights=hourly["poa"]) / 1000,
        }
    )


def write_hourly(hourly: pd.DataFrame, folder: Path) -> Path:
    """Write the hourly series; the run keeps the file, and `result_file_refs` says where."""
    path = folder / "hourly.parquet"
    hourly.rename_axis("time").reset_index().to_parquet(path, index=False)
    return path
