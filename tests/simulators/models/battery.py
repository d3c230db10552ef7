"""A battery in PyBaMM, with parameters of the module that rows change."""

from __future__ import annotations

import pybamm
from pydantic import Field

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

model = pybamm.lithium_ion.SPM()
parameters = model.default_parameter_values


class Discharge(ExperimentInputSpec):
    current: float = Field(gt=0, description="Current [A]")
    warmer: float | None = Field(default=None, description="Ambient temperature, where it is not the usual [K]")


class Voltage(ExperimentOutputSpec):
    at_end: float = Field(description="Voltage after half an hour, or at the cut-off [V]")
    seconds: float = Field(description="When it ended [s]")
    ambient: float = Field(description="Ambient temperature [K]")


# a temperature that one row sets must not reach those that set none
@ExperimentRegistry.Register(isolation="row")
def simulate(discharge: Discharge) -> Voltage:
    """Discharge it."""
    parameters["Current function [A]"] = discharge.current
    if discharge.warmer is not None:
        parameters["Ambient temperature [K]"] = discharge.warmer
    solution = pybamm.Simulation(model, parameter_values=parameters).solve([0, 1800])
    return Voltage(
        at_end=float(solution["Voltage [V]"].entries[-1]),
        seconds=float(solution.t[-1]),
        ambient=float(parameters["Ambient temperature [K]"]),
    )
