"""An FMU through FMPy: instantiated once for the module, and writing a log into the working directory."""

from __future__ import annotations

from pathlib import Path

import fmpy
from pydantic import Field

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

FMU = Path(__file__).with_name("tank.fmu")

description = fmpy.read_model_description(FMU)
unpacked = fmpy.extract(FMU)
instance = fmpy.instantiate_fmu(unpacked, description)


class Tank(ExperimentInputSpec):
    level: float = Field(gt=0, description="Level at the beginning [m]")
    outlet: float = Field(gt=0, description="Area of the outlet [m2]")


class Level(ExperimentOutputSpec):
    remaining: float = Field(description="Level after a minute [m]")
    runs: float = Field(description="Simulations of this process")
    logged: float = Field(description="The level that the log of the FMU has last")


@ExperimentRegistry.Register(isolation="row")
def simulate(tank: Tank) -> Level:
    """Let a tank run out for a minute."""
    result = fmpy.simulate_fmu(
        unpacked,
        model_description=description,
        fmu_instance=instance,
        start_values={"level": tank.level, "outlet": tank.outlet},
        output=["level", "runs"],
        output_interval=0.5,
        stop_time=60.0,
    )
    instance.reset()
    last = Path("tank.log").read_text().splitlines()[-1]
    return Level(remaining=float(result["level"][-1]), runs=float(result["runs"][-1]), logged=float.fromhex(last))
