"""Flow from a site into a river in heavy rain, with EPA SWMM.

For every row of the sampling file: the storm and the properties of the site are put into a SWMM model, SWMM runs it,
and its binary output is read back as a time series. SWMM keeps its state in the process, so nothing here may run in
threads; with `scythe`, a process runs one spec at a time.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from string import Template

import numpy as np
import polars as pl
from pydantic import Field, model_validator
from swmm.toolkit import output, shared_enum, solver

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, OptionalFileReference
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.utils.filesys import FileReference

AFTERMATH_MIN = 120  # how long the site drains after the rain has ended


class Site(ExperimentInputSpec):
    """One site in one storm."""

    model: FileReference = Field(description="SWMM model with $names for what varies (.inp)")
    storm: FileReference = Field(description="Rain: a CSV file with columns minute and mm_per_h")
    area: float = Field(ge=500, le=100_000, description="Area of the site [m2]")
    paved: float = Field(ge=0, le=100, description="Share of the area that is sealed [%]")
    slope: float = Field(default=1.0, gt=0, le=20, description="Mean slope [%]")
    infiltration_dry: float = Field(default=75, ge=0, le=500, description="Infiltration into dry soil [mm/h]")
    infiltration_wet: float = Field(default=10, ge=0, le=100, description="Infiltration into wet soil [mm/h]")
    tank_volume: float = Field(ge=1, le=2000, description="Volume of the storage tank [m3]")
    tank_depth: float = Field(default=1.5, ge=0.5, le=5, description="Depth of the tank [m]")
    throttle: float = Field(default=100, ge=20, le=500, description="Diameter of the tank's outlet [mm]")
    keep_report: bool = Field(default=False, description="Whether SWMM's report is kept as a file")

    @model_validator(mode="after")
    def _soil_gets_wet(self) -> Site:
        if self.infiltration_wet > self.infiltration_dry:
            raise ValueError("infiltration_wet is more than infiltration_dry")
        return self

    @property
    def computed_features(self) -> dict[str, int | float | str]:
        """Storage per sealed area, which is what a permit asks for."""
        sealed = self.area * self.paved / 100
        return {"tank_mm": round(1000 * self.tank_volume / sealed, 3) if sealed else float("inf")}


class Flood(ExperimentOutputSpec):
    """What reaches the river."""

    rain_depth: float = Field(description="Rain in the whole storm [mm]")
    runoff_coefficient: float = Field(description="Share of the rain that runs off")
    peak_inflow: float = Field(description="Highest flow into the tank [L/s]")
    peak_outflow: float = Field(description="Highest flow into the river [L/s]")
    delay: float = Field(description="Time from the one to the other; negative where the tank was full before [min]")
    tank_filled: float = Field(description="Highest level over depth of the tank [%]")
    flooded: float = Field(description="Water that the tank could not take [m3]")
    report: OptionalFileReference = Field(default=None, description="SWMM's report, where it was asked for")


@lru_cache(maxsize=16)
def read_storm(path: Path) -> pl.DataFrame:
    """Read a storm, once per process: `minute` (0, 1, …) and `mm_per_h`."""
    storm = pl.read_csv(path, schema_overrides={"minute": pl.Int64, "mm_per_h": pl.Float64})
    if storm["minute"].to_list() != list(range(storm.height)):
        raise ValueError(f"{path.name}: the column minute should count 0, 1, 2, …")
    return storm


@ExperimentRegistry.Register(description="Flood peak of a site in heavy rain")
def simulate(site: Site, tempdir: Path) -> Flood:
    """Simulate the storm and two hours after it, minute by minute."""
    storm = read_storm(Path(str(site.storm)))
    model = tempdir / "site.inp"
    model.write_text(fill_in(Path(str(site.model)).read_text(encoding="utf-8"), site, storm), encoding="utf-8")
    run_swmm(model)

    hydrograph = read_hydrograph(model.with_suffix(".out"), storm)
    inflow, outflow = hydrograph["inflow_l_per_s"].to_numpy(), hydrograph["outflow_l_per_s"].to_numpy()
    rain_mm = float(storm["mm_per_h"].sum()) / 60
    return Flood(
        rain_depth=rain_mm,
        runoff_coefficient=volume_m3(inflow) / (rain_mm / 1000 * site.area),
        peak_inflow=float(inflow.max()),
        peak_outflow=float(outflow.max()),
        delay=float(outflow.argmax() - inflow.argmax()),
        tank_filled=100 * float(hydrograph["level_m"].max() or 0.0) / site.tank_depth,  # type: ignore[arg-type]
        flooded=volume_m3(hydrograph["flooding_l_per_s"].to_numpy()),
        report=model.with_suffix(".rpt") if site.keep_report else None,
        dataframes={"hydrograph": hydrograph},
    )


def fill_in(template: str, site: Site, storm: pl.DataFrame) -> str:
    """The model of a case; a $name that is not known is a KeyError that names it."""
    minutes = storm.height + AFTERMATH_MIN
    return Template(template).substitute(
        area_ha=site.area / 10_000,
        impervious=site.paved,
        width=site.area**0.5,
        slope=site.slope,
        infiltration_dry=site.infiltration_dry,
        infiltration_wet=site.infiltration_wet,
        tank_depth=site.tank_depth,
        tank_area=site.tank_volume / site.tank_depth,
        orifice=site.throttle / 1000,
        end_time=f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        storm="\n".join(f"storm {m // 60}:{m % 60:02d} {rain:.4f}" for m, rain in storm.iter_rows()),
    )


def run_swmm(model: Path) -> None:
    """Run a model; `.rpt` and `.out` are written beside it.

    Raises:
        RuntimeError: If SWMM refuses the model; the message has the errors of its report.
    """
    report = model.with_suffix(".rpt")
    try:
        solver.swmm_run(str(model), str(report), str(model.with_suffix(".out")))
    except Exception as error:  # the wrapper raises bare exceptions
        lines = report.read_text(errors="replace").splitlines() if report.exists() else []
        found = [line.strip() for line in lines if "ERROR" in line]
        raise RuntimeError("\n".join(["SWMM: " + str(error).strip(), *found[:5]])) from error


def read_hydrograph(path: Path, storm: pl.DataFrame) -> pl.DataFrame:
    """Read what SWMM wrote.

    Returns:
        One row a minute: `minute`, `rain_mm_per_h`, `inflow_l_per_s` and `outflow_l_per_s` of the tank, its `level_m`,
        and `flooding_l_per_s`, what does not fit into it.
    """
    node = shared_enum.NodeAttribute
    handle = output.init()
    output.open(handle, str(path))
    try:
        steps = output.get_times(handle, shared_enum.Time.NUM_PERIODS)

        def tank(attribute: shared_enum.NodeAttribute) -> np.ndarray:
            return np.array(output.get_node_series(handle, 0, attribute, 0, steps - 1))

        flow = output.get_link_series(handle, 0, shared_enum.LinkAttribute.FLOW_RATE, 0, steps - 1)
        series = {
            "inflow_l_per_s": tank(node.TOTAL_INFLOW),
            "outflow_l_per_s": np.array(flow),
            "level_m": tank(node.INVERT_DEPTH),
            "flooding_l_per_s": tank(node.FLOODING_LOSSES),
        }
    finally:
        output.close(handle)
    rain = np.zeros(steps)
    rain[: min(steps, storm.height)] = storm["mm_per_h"].to_numpy()[:steps]
    return pl.DataFrame({"minute": np.arange(1, steps + 1), "rain_mm_per_h": rain, **series})


def volume_m3(flow_l_per_s: np.ndarray) -> float:
    """What flows in all, given a value a minute."""
    return float(flow_l_per_s.sum()) * 60 / 1000
