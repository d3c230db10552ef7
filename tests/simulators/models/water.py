"""A water network in EPANET, as WNTR's tutorial runs it: with files of fixed names in the working directory."""

from __future__ import annotations

import wntr
from pydantic import Field

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Network(ExperimentInputSpec):
    demand: float = Field(gt=0, description="All demands, times this")
    diameter: float = Field(gt=0, description="Diameter of pipe 10 [m]")


class Supply(ExperimentOutputSpec):
    lowest: float = Field(description="Lowest pressure [m]")
    pumped: float = Field(description="Mean flow of the pump [m3/s]")


@ExperimentRegistry.Register()
def simulate(network: Network) -> Supply:
    """A day of the network."""
    wn = wntr.network.WaterNetworkModel("Net1")
    wn.options.hydraulic.demand_multiplier = network.demand
    wn.get_link("10").diameter = network.diameter
    results = wntr.sim.EpanetSimulator(wn).run_sim()
    pressure = results.node["pressure"].loc[:, wn.junction_name_list]
    return Supply(
        lowest=float(pressure.min().min()),
        pumped=float(results.link["flowrate"]["9"].mean()),
        dataframes={"pressure": pressure.reset_index(names="second")},
    )
