"""The experiment that a run of version 0.1.0 is of."""

import datetime as dt
import ipaddress
import os
from fractions import Fraction
from typing import Literal

import pandas as pd
from pydantic import BaseModel, Field, PastDate

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Wall(BaseModel):
    u_value: float = 1.0
    layers: list[str] = []


class Case(ExperimentInputSpec):
    angle: float = Field(ge=0, le=90)
    mode: Literal["fast", "slow"] = "fast"
    wall: Wall = Wall()
    address: ipaddress.IPv4Address = ipaddress.IPv4Address("127.0.0.1")
    built: PastDate = dt.date(2020, 1, 1)
    share: Fraction = Fraction(1, 2)
    options: dict[str, float] = {}


class Out(ExperimentOutputSpec):
    energy: float
    when: dt.datetime | None = None


@ExperimentRegistry.Register(retries=0)
def simulate(case: Case) -> Out:
    if case.mode == "slow" and not os.environ.get("WELL"):
        raise ValueError(f"no slow mode at {case.angle:g}")
    assert isinstance(case.address, ipaddress.IPv4Address)
    assert isinstance(case.share, Fraction)
    frame = pd.DataFrame({"month": [1, 2], "kwh": [case.angle, case.angle * 2]}).set_index("month")
    return Out(energy=case.angle * float(case.share), dataframes={"monthly": frame})
