"""Write the sampling file `cases.csv`, and the storms that it names.

The storms are Chicago design storms after Keifer and Chu (1957): in every part of the storm around its peak, the mean
intensity is that of the intensity-duration-frequency curve i = a T^m / (t + b)^n, here with constants as they are
usual in central Europe.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

HERE = Path(__file__).parent
RETURN_PERIODS_A = (2, 10, 50, 100)
A, B, M, N = 1100.0, 10.0, 0.22, 0.80  # mm/h, min
DURATION_MIN = 90
PEAK = 0.4  # where in the storm it rains most


def chicago_storm(return_period_a: float) -> list[float]:
    """Intensities [mm/h], one a minute: means over that minute, taken from the rain that fell up to its ends."""

    def fallen(minutes: float) -> float:
        """Rain [mm] in the heaviest `minutes`."""
        return A * return_period_a**M / (minutes + B) ** N * minutes / 60

    def until(minute: float) -> float:
        before = minute - PEAK * DURATION_MIN
        if before < 0:
            return -PEAK * fallen(-before / PEAK)
        return (1 - PEAK) * fallen(before / (1 - PEAK))

    return [60 * (until(minute + 1) - until(minute)) for minute in range(DURATION_MIN)]


def write_storms(folder: Path) -> list[str]:
    """Write a file for each return period; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for years in RETURN_PERIODS_A:
        names.append(f"storm_{years:03d}a.csv")
        rows = (f"{minute},{rain:.3f}\n" for minute, rain in enumerate(chicago_storm(years)))
        (folder / names[-1]).write_text("minute,mm_per_h\n" + "".join(rows), encoding="utf-8")
    return names


def make_cases(n: int, seed: int) -> list[dict[str, object]]:
    """Draw sites at random, each in one of the storms; every tenth keeps its report."""
    random_ = random.Random(seed)
    return [
        {
            "model": "site.inp",
            "storm": f"storms/storm_{RETURN_PERIODS_A[row % len(RETURN_PERIODS_A)]:03d}a.csv",
            "area": random_.randrange(2000, 20_001, 100),
            "paved": random_.randrange(20, 101, 5),
            "slope": round(random_.uniform(0.3, 5.0), 1),
            "tank_volume": random_.randrange(20, 601, 10),
            "throttle": random_.randrange(60, 201, 10),
            "keep_report": "true" if row % 10 == 0 else "false",
        }
        for row in range(n)
    ]


def main() -> None:
    """Write storms and cases beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=200, help="how many cases (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same cases (default: 1)")
    arguments = parser.parse_args()
    write_storms(HERE / "storms")
    cases = make_cases(arguments.n, arguments.seed)
    with (HERE / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(cases[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cases)
    print(f"wrote {len(cases)} cases to {HERE / 'cases.csv'}")


if __name__ == "__main__":
    main()
