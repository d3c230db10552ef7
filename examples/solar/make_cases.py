"""Write the sampling file `cases.csv`, and the weather files that it names.

The weather is that of the files which pvlib brings along: typical years at three places in the USA.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
from importlib import resources
from pathlib import Path

HERE = Path(__file__).parent
WEATHER = {
    "Greensboro NC": "723170TYA.CSV",
    "Miami FL": "12839.tm2",
    "Sand Point AK": "703165TY.csv",
}
MODULES = ("standard", "premium", "thin-film")


def copy_weather(folder: Path) -> None:
    """Copy the weather files out of the installed pvlib."""
    folder.mkdir(parents=True, exist_ok=True)
    data = resources.files("pvlib") / "data"
    for name in WEATHER.values():
        with resources.as_file(data / name) as source:
            shutil.copyfile(source, folder / name)


def make_cases(n: int, seed: int) -> list[dict[str, object]]:
    """Draw systems at random: most of them face roughly south, every tenth keeps its hourly series."""
    random_ = random.Random(seed)
    sites = list(WEATHER)
    return [
        {
            "site": sites[row % len(sites)],
            "weather": f"weather/{WEATHER[sites[row % len(sites)]]}",
            "tilt": round(random_.uniform(0, 90), 1),
            "azimuth": round(random_.triangular(60, 300, 180), 1),
            "dc_ac_ratio": round(random_.uniform(1.0, 1.6), 2),
            "module": random_.choice(MODULES),
            "keep_hourly": "true" if row % 10 == 0 else "false",
        }
        for row in range(n)
    ]


def main() -> None:
    """Write weather and cases beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=300, help="how many cases (default: 300)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same cases (default: 1)")
    arguments = parser.parse_args()
    copy_weather(HERE / "weather")
    cases = make_cases(arguments.n, arguments.seed)
    with (HERE / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(cases[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cases)
    print(f"wrote {len(cases)} cases to {HERE / 'cases.csv'}")


if __name__ == "__main__":
    main()
