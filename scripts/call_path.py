"""How many modules one command goes through: `scythe allocate cases.csv`, 36 rows, on the local engine.

    python scripts/call_path.py            # modules entered, and pairs of modules crossed
    python scripts/call_path.py --list     # and which

A module is entered when one of its functions is called, and a pair is crossed when a function of the first calls one of
the second itself. Everything is imported before counting starts, so that what modules do as they are imported does not
count. The processes that run specs do not count either.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = "scythe_cli"
COMMAND = ("allocate", "cases.csv")
N_ROWS = 36


class Calls:
    """Counts calls into a package and between its modules, as a profile function of `sys.setprofile`.

    Attributes:
        entered: The modules whose functions were called.
        crossed: Pairs of a module and another one that it called.
    """

    def __init__(self, package: str) -> None:
        self.entered: set[str] = set()
        self.crossed: set[tuple[str, str]] = set()
        self._package = package
        self._inside = f"{package}."

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take note of a call; events of other kinds say nothing."""
        del argument
        if event != "call" or frame.f_code.co_name == "<module>":
            return
        called = self._module(frame)
        if called is None:
            return
        self.entered.add(called)
        caller = self._module(frame.f_back)
        if caller is not None and caller != called:
            self.crossed.add((caller, called))

    def _module(self, frame: FrameType | None) -> str | None:
        name = "" if frame is None else frame.f_globals.get("__name__", "")
        return name if name == self._package or name.startswith(self._inside) else None


def import_all(package: str) -> None:
    """Import all modules of a package, but for those that run something when they are imported."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)


def count(command: tuple[str, ...], file: Path) -> None:
    """Run a command line in this process, and write to a file what it went through."""
    import_all(PACKAGE)
    from scythe_cli.cli.app import main as scythe

    calls = Calls(PACKAGE)
    sys.argv = ["scythe", *command]
    threading.setprofile(calls)
    sys.setprofile(calls)
    try:
        scythe()  # ends by SystemExit
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        file.write_text(json.dumps({"entered": sorted(calls.entered), "crossed": sorted(calls.crossed)}))


def measure(command: tuple[str, ...] = COMMAND) -> tuple[list[str], list[tuple[str, str]]]:
    """The modules that a command enters in a new project, and the pairs that it crosses.

    Raises:
        SystemExit: If the command fails, or the project is not what is expected.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SCYTHE_", "HATCHET_"))}
    # the folder of this file is where Python would look for modules first
    python = [sys.executable, "-P"]
    with tempfile.TemporaryDirectory() as folder:
        environment["XDG_CACHE_HOME"] = folder  # nothing of earlier commands is known, and nothing stays
        project, file = Path(folder) / "project", Path(folder) / "calls.json"
        _run([*python, "-m", f"{PACKAGE}.cli", "init", str(project)], Path(folder), environment)
        n_rows = len((project / "cases.csv").read_text(encoding="utf-8").splitlines()) - 1
        if n_rows != N_ROWS:
            raise SystemExit(f"error: the new project has {n_rows} rows, and not {N_ROWS}")
        _run([*python, __file__, "--into", str(file), *command], project, environment)
        calls = json.loads(file.read_text())
    return calls["entered"], [(caller, called) for caller, called in calls["crossed"]]


def _run(arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def main() -> int:
    """Measure, and print."""
    if sys.argv[1:2] == ["--into"]:
        count(tuple(sys.argv[3:]), Path(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(description=f"Modules that `scythe {' '.join(COMMAND)}` goes through.")
    parser.add_argument("--list", action="store_true", help="print the modules and the pairs as well")
    listed = parser.parse_args().list
    entered, crossed = measure()
    print(f"{len(entered)} modules entered, {len(crossed)} pairs of modules crossed")
    if listed:
        print("\n".join(["", *entered, "", *(f"{caller} -> {called}" for caller, called in crossed)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
