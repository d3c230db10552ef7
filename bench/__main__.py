"""Runs benchmarks and prints their tables: `python -m bench [NAME…] [--quick] [--large] [--runs N] [--json FILE]`.

A bench is a module of this folder with a `TITLE`, and `run(quick: bool) -> Report` (see `bench.measure`); `ORDER`, a
number, says where it comes. It is named as its file is. With `--quick`, sizes and runs are small, and a rival that is
not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.measure import Report, as_json, machine, set_large, set_runs, versions
from bench.tables import print_report

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"


def benches() -> dict[str, ModuleType]:
    """All benches by name, in their order."""
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules([str(FOLDER)]):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"bench.{info.name}")
            if hasattr(module, "run") and hasattr(module, "TITLE"):
                found[info.name] = module
    return dict(sorted(found.items(), key=lambda item: (getattr(item[1], "ORDER", 100), item[0])))


def main() -> int:
    """Run what was asked for; the code is 1 where a bench could not be run, whatever its figures are."""
    found = benches()
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(found)}; all when none is named")
    parser.add_argument("--quick", action="store_true", help="small sizes and few runs: minutes for all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the JSON goes; default: bench/results/")
    parser.add_argument("--runs", type=int, metavar="N", help="how often everything is run; medians are of these")
    parser.add_argument(
        "--large", action="store_true", help="sizes that take long as well, such as 10,000,000 outcomes"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in found]
    if unknown:
        parser.error(f"there is no bench {unknown[0]!r}; there are: {', '.join(found)}")
    if options.runs:
        set_runs(options.runs)
    if options.large:
        set_large()
    document: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": machine(),
        "versions": versions(),
        "benches": {},
    }
    path: Path = options.json or RESULTS / f"{'quick' if options.quick else 'full'}.json"
    print(_headline(document))
    failed: list[str] = []
    for name, module in found.items():
        if options.names and name not in options.names:
            continue
        print(f"\n== {name}: {module.TITLE}", flush=True)
        began_s = time.monotonic()
        try:
            report: Report = module.run(options.quick)
        except Exception as error:  # noqa: BLE001 - the other benches are run all the same
            failed.append(name)
            report = [f"could not be run: {type(error).__name__}: {error}"]
        took_s = time.monotonic() - began_s
        print_report(report, quick=options.quick)
        print(f"({took_s:.0f} s)", flush=True)
        document["benches"][name] = {"title": module.TITLE, "took_s": round(took_s, 1), "report": as_json(report)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\nwritten to {path}")
    if failed:
        print(f"could not be run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _headline(document: dict[str, Any]) -> str:
    facts = document["machine"]
    releases = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return (
        f"{facts['cores']} cores of {facts['processor']}, {facts.get('memory_gb', '?')} GB, {facts['system']}, "
        f"load {facts['load']}\n{releases}"
    )


if __name__ == "__main__":
    sys.exit(main())
