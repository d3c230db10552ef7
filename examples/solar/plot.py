"""Print the yield of the latest solar run over the tilt of the modules, one bar a class of tilts."""

from __future__ import annotations

import sys

import polars as pl

import scythe_cli

CLASS_DEG = 15
WIDTH = 44


def yields(scalars: pl.DataFrame) -> pl.DataFrame:
    """Mean yield of the systems that face south, within 45 degrees, for each place and class of tilts."""
    return (
        scalars.filter(pl.col("azimuth").is_between(135, 225))
        .with_columns(tilt_class=(pl.col("tilt") // CLASS_DEG * CLASS_DEG).cast(pl.Int64).clip(0, 90 - CLASS_DEG))
        .group_by("site", "tilt_class")
        .agg(pl.col("annual_yield").mean(), n=pl.len())
        .sort("site", "tilt_class")
    )


def bar(share: float) -> str:
    """A bar of eighths of characters."""
    eighths = round(share * WIDTH * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def main() -> None:
    """Print the plot of the latest run, or of the one that is named."""
    run = scythe_cli.load_run(sys.argv[1] if len(sys.argv) > 1 else "solar")
    table = yields(run.scalars())
    largest = float(table["annual_yield"].max() or 1.0)  # type: ignore[arg-type]
    print(f"Annual yield [kWh/kWp] over tilt [deg], facing south ± 45°\n{run.experiment_id}")
    for (site,), rows in table.group_by("site", maintain_order=True):
        best = rows["annual_yield"].max()
        print(f"\n{site}")
        for row in rows.iter_rows(named=True):
            mark = " ◀ best" if row["annual_yield"] == best else ""
            tilts = f"{row['tilt_class']:>2}–{row['tilt_class'] + CLASS_DEG:<2}"
            print(f"  {tilts} {bar(row['annual_yield'] / largest)} {row['annual_yield']:.0f}{mark}")


if __name__ == "__main__":
    main()
