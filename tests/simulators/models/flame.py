"""Ignition in Cantera, with one phase object for all: it keeps what the last row has made of it."""

from __future__ import annotations

import cantera as ct
from pydantic import Field

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

gas = ct.Solution("gri30.yaml")
gas.set_equivalence_ratio(1.0, "CH4", "O2:1, N2:3.76")


class Mixture(ExperimentInputSpec):
    temperature: float = Field(gt=300, description="Temperature [K]")
    pressure: float = Field(gt=0, description="Pressure [Pa]")


class Burnt(ExperimentOutputSpec):
    equilibrium: float = Field(description="Temperature of equilibrium [K]")
    monoxide: float = Field(description="Mole fraction of CO")
    later: float = Field(description="Temperature after a millisecond [K]")


# the composition is that of the module only in a process that has run no other row
@ExperimentRegistry.Register(isolation="row")
def simulate(mixture: Mixture) -> Burnt:
    """Burn it, in a reactor and at once."""
    gas.TP = mixture.temperature, mixture.pressure
    reactor = ct.IdealGasReactor(gas, clone=False)
    ct.ReactorNet([reactor]).advance(1e-3)
    later = reactor.phase.T
    gas.equilibrate("HP")
    return Burnt(equilibrium=gas.T, monoxide=float(gas["CO"].X[0]), later=later)
