"""Draw the latest daylight run: how the light falls off behind the window, place by place, and one room from above."""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import polars as pl

import scythe_cli
from scythe_cli.analysis.run import Run


def sensors(run: Run) -> pl.DataFrame:
    """All sensors: `row`, `place`, `x_m`, `y_m`, `daylight_factor` [%]."""
    place = pl.col("surroundings").cast(pl.String).str.extract(r"(\w+)\.rad$")
    columns = ["x_m", "y_m", "daylight_factor"]
    return (
        run.table("sensors", files=True)
        .select(pl.col("sort_index").alias("row"), place.alias("place"), *columns)
        .collect()
    )


def fall_off(table: pl.DataFrame) -> alt.Chart:
    """Median daylight factor over the distance from the window."""
    classes = (pl.col("y_m").floor() + 0.5).alias("distance_m")
    medians = table.group_by("place", classes).agg(pl.col("daylight_factor").median()).sort("place", "distance_m")
    return (
        alt.Chart(medians)
        .mark_line(point=True)
        .encode(
            x=alt.X("distance_m:Q", title="Distance from the window [m]"),
            y=alt.Y("daylight_factor:Q", scale=alt.Scale(type="log"), title="Daylight factor, median [%]"),
            color=alt.Color("place:N", title="Surroundings"),
        )
        .properties(width=320, height=260)
    )


def from_above(table: pl.DataFrame, row: int) -> alt.Chart:
    """The sensors of one room."""
    return (
        alt.Chart(table.filter(pl.col("row") == row), title=f"Row {row}, window below")
        .mark_square(size=320)
        .encode(
            x=alt.X("x_m:Q", title="x [m]"),
            y=alt.Y("y_m:Q", title="y [m]"),
            color=alt.Color("daylight_factor:Q", scale=alt.Scale(scheme="viridis"), title="Daylight factor [%]"),
        )
        .properties(width=180, height=260)
    )


def main() -> None:
    """Write the picture of the latest run, or of the one that is named."""
    run = scythe_cli.load_run(sys.argv[1] if len(sys.argv) > 1 else "daylight")
    table = sensors(run)
    out = Path("daylight.png")
    chart = alt.hconcat(fall_off(table), from_above(table, 0)).resolve_scale(color="independent")
    chart.save(out, scale_factor=2)
    print(f"wrote {out} of {run.experiment_id}")


if __name__ == "__main__":
    main()
