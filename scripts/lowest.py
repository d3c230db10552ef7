"""Runs the unit tests with the lowest versions that pyproject.toml allows: `python scripts/lowest.py`.

    python scripts/lowest.py                         # in .venv-lowest, made anew where pyproject.toml has changed
    python scripts/lowest.py --python 3.14           # with another Python, and the newest versions, in .venv-3.14
    python scripts/lowest.py --with 'pandas==2.2.*'  # with the newest versions that go with it, in .venv-with
    python scripts/lowest.py tests/arrow -k decimal  # all else goes to pytest

`pip check` has to be clean there too. What runs the tests has the versions of uv.lock.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / "scripts" / "uv"
RUNNERS = (
    "hypothesis",
    "import-linter",
    "jsonschema",
    "moto",
    "pytest",
    "pytest-asyncio",
    "pytest-randomly",
    "pytest-xdist",
)
"""What the tests themselves need; type checkers and linters look at no installed version."""


def main() -> int:
    """Make the environment, and run the tests in it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--python", default=None, help="another Python: newest versions instead of lowest")
    parser.add_argument("--with", dest="also", action="append", default=[], help="a requirement: newest versions else")
    options, rest = parser.parse_known_args()
    is_lowest = options.python is None and not options.also
    name = options.python or ("lowest" if is_lowest else "with")
    environment = ROOT / f".venv-{name}"
    python = environment / "bin" / "python"
    project = (ROOT / "pyproject.toml").read_bytes()
    mark = hashlib.sha256(project + repr((RUNNERS, options.also)).encode()).hexdigest()
    marked = environment / "made-for"
    if not marked.exists() or marked.read_text() != mark:
        shutil.rmtree(environment, ignore_errors=True)
        lowest = tomllib.loads(project.decode())["project"]["requires-python"].removeprefix(">=")
        _uv("venv", "--python", options.python or lowest, environment)
        strategy = ["--resolution", "lowest-direct"] if is_lowest else []
        _uv("pip", "install", "--python", python, *strategy, "--editable", f"{ROOT}[all]", *options.also)
        # what is there already stays, as far as it goes with the rest
        _uv("pip", "install", "--python", python, "--editable", f"{ROOT}[all]", *_runners(), *options.also)
        marked.write_text(mark)
    subprocess.run([UV, "pip", "check", "--python", python], cwd=ROOT, check=True)
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    tests = [python, "-m", "pytest", "-q", "-n", "auto", "-m", "unit", "-p", "no:cacheprovider"]
    return subprocess.run([*tests, "-p", "no:anyio", *rest], cwd=ROOT, env=environ, check=False).returncode


def _runners() -> list[str]:
    locked = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    versions = {package["name"]: package.get("version") for package in locked}
    # of moto, the version follows from that of boto3
    return [f"{name}[s3,server]" if name == "moto" else f"{name}=={versions[name]}" for name in RUNNERS]


def _uv(*arguments: str | Path) -> None:
    subprocess.run([UV, *arguments, "--quiet"], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
