"""Planets in REBOUND, which writes an archive with a fixed name and reads it again."""

from __future__ import annotations

import polars as pl
import rebound
from pydantic import Field

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Planets(ExperimentInputSpec):
    mass: float = Field(gt=0, description="Mass of the inner planet [Msun]")
    eccentricity: float = Field(ge=0, lt=1, description="Eccentricity of the outer orbit")


class Orbit(ExperimentOutputSpec):
    x: float = Field(description="Where the outer planet is at the end [au]")
    megno: float = Field(description="How chaotic it is")


@ExperimentRegistry.Register()
def simulate(planets: Planets) -> Orbit:
    """Some hundred years."""
    sim = rebound.Simulation()
    sim.add(m=1.0)
    sim.add(m=planets.mass, a=1.0)
    # the angle is drawn: rebound's own generator begins with the time of day
    sim.add(m=1e-3, a=1.7, e=planets.eccentricity, f=float(planets.rng().uniform(0.0, 6.0)))
    sim.move_to_com()
    sim.init_megno(seed=planets.seed % 2**31)
    sim.save_to_file("archive.bin", interval=100.0, delete_file=True)
    sim.integrate(600.0)
    archive = rebound.Simulationarchive("archive.bin")
    path = pl.DataFrame({"t": [s.t for s in archive], "x": [s.particles[2].x for s in archive]})
    return Orbit(x=sim.particles[2].x, megno=sim.megno(), dataframes={"path": path})
