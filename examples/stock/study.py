"""A surrogate of a building stock: simulate some of its buildings until all of them can be predicted.

The first buildings are drawn from each climate zone, further ones are chosen where predictions are poor, and it ends
when both outputs are predicted well in every zone, for buildings that were held out. Then the whole stock is predicted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

import scythe_cli

ZONES = {"coast": (2600, 250), "plain": (3100, 420), "hills": (3900, 90)}
"""Made-up degree days of heating and of cooling."""


def simulate(zone: str, area: float, storeys: int, u_value: float, glazing: float) -> dict[str, float]:
    """What stands for a simulation of some minutes: the energy that a building takes in a year, in kWh/m²."""
    heating, cooling = ZONES[zone]
    envelope = (2 * area / storeys + 4 * math.sqrt(area / storeys) * 3 * storeys) / area
    losses = envelope * (u_value * (1 - glazing) + 1.4 * glazing) + 0.3
    gains = 18 * glazing * envelope + 6
    return {
        "heating": losses * heating * 0.024 - gains,
        "cooling": 25 * math.log1p(math.exp((gains * cooling / 250 - 20 * losses) / 25)),
    }


def stock(n: int = 5_000, seed: int = 1) -> pl.DataFrame:
    """The population: every building there is, few of them in the hills."""
    dice = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "zone": dice.choice(list(ZONES), n, p=[0.5, 0.45, 0.05]),
        "area": np.round(dice.lognormal(6.0, 0.6, n).clip(150, 2_000), 1),
        "storeys": dice.integers(1, 8, n),
        "u_value": np.round(dice.uniform(0.15, 1.8, n), 3),
        "glazing": np.round(dice.uniform(0.05, 0.6, n), 3),
    }
    return pl.DataFrame(columns)


if __name__ == "__main__":
    buildings = stock()
    targets = {"heating": "rmse <= 2%", "cooling": ["rmse <= 2%", "r2 >= 0.98"]}
    run = scythe_cli.study(
        simulate, population=buildings, strata=["zone"], targets=targets, log=["area"], initial=60, batch=20
    )
    for each in run.study().rounds:
        print(each.cases, "buildings:", *(f"{s.output} {s.shown}" for s in each.standings if not s.stratum))
    print(run.study().reason)
    predicted = pl.concat([buildings, run.surrogate().predict(buildings)], how="horizontal")
    predicted.write_parquet("stock.parquet")
    print(predicted.group_by("zone").agg(pl.len(), pl.col("heating", "cooling").mean().round(1)).sort("zone"))
