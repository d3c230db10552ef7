"""Draw the hydrographs of the latest drainage run: median and range of the flow into the river, storm by storm."""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import polars as pl

import scythe_cli
from scythe_cli.analysis.run import Run


def bands(run: Run) -> pl.DataFrame:
    """For each storm and minute: `low`, `median` and `high` of the flow per area [L/s per ha], over all sites."""
    per_area = pl.col("outflow_l_per_s") / pl.col("area") * 10_000
    storm = pl.col("storm").cast(pl.String).str.extract(r"storm_0*(\d+)a").cast(pl.Int64)
    return (
        run.table("hydrograph", files=True)
        .group_by(storm.alias("return_period_a"), "minute")
        .agg(low=per_area.quantile(0.1), median=per_area.median(), high=per_area.quantile(0.9))
        .sort("return_period_a", "minute")
        .collect()
    )


def chart(table: pl.DataFrame) -> alt.FacetChart:
    """One panel a storm."""
    base = alt.Chart(table).encode(x=alt.X("minute:Q", title="Time [min]"))
    flow = alt.Y("median:Q", title="Flow into the river [L/s per ha]")
    band = base.mark_area(opacity=0.3).encode(y=alt.Y("low:Q"), y2="high:Q")
    panels = alt.layer(band, base.mark_line().encode(y=flow)).properties(width=150, height=160)
    return panels.facet(alt.Column("return_period_a:O", title="Storm that comes once in … years"))


def main() -> None:
    """Write the picture of the latest run, or of the one that is named."""
    run = scythe_cli.load_run(sys.argv[1] if len(sys.argv) > 1 else "drainage")
    out = Path("drainage.png")
    chart(bands(run)).save(out, scale_factor=2)
    print(f"wrote {out} of {run.experiment_id}")


if __name__ == "__main__":
    main()
