"""Write the sampling file `cases.csv`, and the surroundings that it names."""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

HERE = Path(__file__).parent
DISTANCE_M = 12  # to the house across the street
HOUSES_M = {"open": 0, "village": 6, "town": 12, "city": 24}  # its height


def write_surroundings(folder: Path) -> None:
    """Write the ground in front of the window, and a house across the street that is as high as the place has them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, height in HOUSES_M.items():
        lines = [
            f"# {name}: a house of {height} m, {DISTANCE_M} m away",
            "void plastic facade 0 0 5 .35 .35 .35 0 0",
            "void plastic street 0 0 5 .2 .2 .2 0 0",
            "street polygon street_0 0 0 12 -60 -60 -.01 60 -60 -.01 60 0 -.01 -60 0 -.01",
        ]
        if height:
            y = -DISTANCE_M
            lines.append(f"facade polygon house 0 0 12 -40 {y} 0 44 {y} 0 44 {y} {height} -40 {y} {height}")
        (folder / f"{name}.rad").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_cases(n: int, seed: int) -> list[dict[str, object]]:
    """Draw rooms at random, in all of the surroundings."""
    random_ = random.Random(seed)
    places = list(HOUSES_M)
    return [
        {
            "surroundings": f"surroundings/{places[row % len(places)]}.rad",
            "depth": round(random_.uniform(3, 10), 1),
            "window_share": round(random_.uniform(0.2, 0.9), 2),
            "head": round(random_.uniform(2.0, 2.9), 2),
            "transmittance": round(random_.uniform(0.4, 0.85), 2),
            "walls": round(random_.uniform(0.3, 0.8), 2),
        }
        for row in range(n)
    ]


def main() -> None:
    """Write surroundings and cases beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100, help="how many cases (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same cases (default: 1)")
    arguments = parser.parse_args()
    write_surroundings(HERE / "surroundings")
    cases = make_cases(arguments.n, arguments.seed)
    with (HERE / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(cases[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cases)
    print(f"wrote {len(cases)} cases to {HERE / 'cases.csv'}")


if __name__ == "__main__":
    main()
