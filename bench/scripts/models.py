"""The function that rivals run: the same models and the same work as `bench.projects` gives to scythe."""

import time

from pydantic import BaseModel, Field


class Case(BaseModel):
    x: float = Field(ge=0, le=1)
    k: int = Field(ge=0)
    label: str


class Result(BaseModel):
    y: float
    z: int


def simulate(case: Case) -> Result:
    """Computes next to nothing."""
    return Result(y=case.x * 2 + case.k, z=case.k + 1)


def spin_10_ms(case: Case) -> Result:
    """Keeps a core busy for 10 ms."""
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        pass
    return Result(y=case.x, z=case.k)
