"""Runs the unit tests with other versions, of libraries or of Python: `python scripts/versions.py`.

    python scripts/versions.py                         # with the lowest that pyproject.toml allows, in .venv-lowest
    python scripts/versions.py --python 3.14           # with another Python, and the newest versions, in .venv-3.14
    python scripts/versions.py --with 'pandas==2.2.*'  # with the newest versions that go with it, in .venv-with
    python scripts/versions.py --pythons               # with newer Pythons that are here, and versions of uv.lock
    python scripts/versions.py tests/arrow -k decimal  # all else goes to pytest

`pip check` has to be clean there too. What runs the tests has the versions of uv.lock. `--pythons` downloads no Python;
it takes those of pyproject.toml's classifiers, newest first, and the one after them, which may fail.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
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
    "ruamel-yaml",
)
"""What the tests themselves need; type checkers and linters look at no installed version."""
LIMIT_S = 1200
"""The unit tests of one version take a few minutes."""
ASKED = """
import bz2, ctypes, lzma, sqlite3, ssl, sys, sysconfig
print(*sys.version_info[:2], sep=".")
print(sys.version.split()[0])
sys.exit(bool(sysconfig.get_config_var("Py_GIL_DISABLED")))
"""
"""Pythons that were built without some of their modules, or without their lock, are not what people have."""


def main() -> int:
    """Make the environments, and run the tests in them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--python", default=None, help="another Python: newest versions instead of lowest")
    parser.add_argument("--with", dest="also", action="append", default=[], help="a requirement: newest versions else")
    parser.add_argument("--pythons", action="store_true", help="newer Pythons of this machine, and the locked versions")
    parser.add_argument("--at-most", type=int, default=2, help="how many of them (default: 2)")
    options, rest = parser.parse_known_args()
    if options.pythons:
        return newer_pythons(options.at_most, rest)
    return tested(_environment(options.python, options.also), rest)


def newer_pythons(at_most: int, arguments: Sequence[str]) -> int:
    """Run the tests with the newest Pythons of this machine, and say of each what became of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told: list[str] = []
    n_run = code = 0
    for version, is_promised in versions(project):
        python = found(version, places(version, os.environ))
        if python is None:
            told.append(f"Python {version}: not on this machine")
            continue
        if n_run == at_most:
            told.append(f"Python {version}: left out, {at_most} others were tried")
            continue
        n_run += 1
        began = time.monotonic()
        print(f"Python {version}: {python}", flush=True)
        failed = _locked_and_tested(version, python, arguments)
        ending = "failed" if failed else "passed"
        if failed and not is_promised:
            ending += ", which pyproject.toml does not promise yet"
        told.append(f"Python {version}: unit tests {ending} in {time.monotonic() - began:.0f} s")
        code |= failed and is_promised
    print(*told, sep="\n")
    return int(code)


def versions(project: Mapping[str, object]) -> Iterator[tuple[str, bool]]:
    """Pythons above the lowest one, newest first, and whether a project's classifiers name them."""
    lowest = int(str(project["requires-python"]).removeprefix(">=3."))
    named = re.findall(r"Python :: 3\.(\d+)", str(project["classifiers"]))
    newest = max(map(int, named))
    for minor in range(newest + 1, lowest, -1):
        yield f"3.{minor}", str(minor) in named


def places(version: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """Where a Python may be: on PATH, or where pyenv and uv put them."""
    name = f"python{version}"
    yield from (Path(folder) / name for folder in environ.get("PATH", "").split(os.pathsep) if folder)
    home = Path(environ.get("HOME", "/"))
    uv = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "uv" / "python"
    for folder, pattern in (
        (Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions", f"{version}*"),
        (Path(environ.get("UV_PYTHON_INSTALL_DIR") or uv), f"cpython-{version}.*"),
    ):
        yield from (found / "bin" / name for found in sorted(folder.glob(pattern), reverse=True))


def found(version: str, candidates: Iterator[Path]) -> Path | None:
    """The first of some that runs and is of a version: shims of pyenv are there for versions that are not chosen."""
    for candidate in candidates:
        if not candidate.is_file():
            continue
        try:
            answer = subprocess.run([candidate, "-Ic", ASKED], capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if answer.returncode == 0 and answer.stdout.split()[:1] == [version]:
            return candidate
    return None


_OVERRIDDEN = ("roc-validator", "runcrate", "cwl-utils")


def tested(python: Path, arguments: Sequence[str]) -> int:
    """The exit code of the unit tests with the Python of an environment."""
    # the tools that check RO-Crates ask for other versions than they need: see override-dependencies in pyproject.toml
    checked = subprocess.run(
        [UV, "pip", "check", "--python", python], cwd=ROOT, capture_output=True, text=True, check=False
    )
    said = [line for line in checked.stderr.splitlines() if line.startswith("The package")]
    if checked.returncode and not (said and all(any(f"`{name}`" in line for name in _OVERRIDDEN) for line in said)):
        print(checked.stderr, file=sys.stderr)
        raise subprocess.CalledProcessError(checked.returncode, checked.args)
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    options = ["-n", "auto", "-m", "unit", "-p", "no:cacheprovider", "-p", "no:anyio", "-o", "faulthandler_timeout=300"]
    # in a session of its own, so that its workers end with it
    process = subprocess.Popen(
        [python, "-m", "pytest", "-q", *options, *arguments], cwd=ROOT, env=environ, start_new_session=True
    )
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"error: the unit tests took longer than {LIMIT_S} s", file=sys.stderr)
        return 1
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _locked_and_tested(version: str, python: Path, arguments: Sequence[str]) -> bool:
    """Whether the tests failed with the versions of uv.lock, or these cannot be installed."""
    environment = ROOT / f".venv-{version}-locked"
    environ = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment)}
    sync = ["sync", "--locked", "--python", python, "--no-python-downloads", "--extra", "all", "--quiet"]
    try:
        subprocess.run([UV, *sync], cwd=ROOT, env=environ, check=True)
        return tested(environment / "bin" / "python", arguments) != 0
    except subprocess.CalledProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return True


def _environment(another: str | None, also: Sequence[str]) -> Path:
    """The Python of an environment with the lowest versions, or with the newest for another Python or requirement."""
    is_lowest = another is None and not also
    environment = ROOT / f".venv-{another or ('lowest' if is_lowest else 'with')}"
    python = environment / "bin" / "python"
    project = (ROOT / "pyproject.toml").read_bytes()
    mark = hashlib.sha256(project + repr((RUNNERS, also)).encode()).hexdigest()
    marked = environment / "made-for"
    if not marked.exists() or marked.read_text() != mark:
        shutil.rmtree(environment, ignore_errors=True)
        lowest = tomllib.loads(project.decode())["project"]["requires-python"].removeprefix(">=")
        _uv("venv", "--python", _python(another or lowest), environment)
        strategy = ["--resolution", "lowest-direct"] if is_lowest else []
        _uv("pip", "install", "--python", python, *strategy, "--editable", f"{ROOT}[all]", *also)
        # what is there already stays, as far as it goes with the rest
        _uv("pip", "install", "--python", python, "--editable", f"{ROOT}[all]", *_runners(), *also)
        marked.write_text(mark)
    return python


def _python(version: str) -> str | Path:
    """One that is here, or else what uv makes of it."""
    return found(version, places(version, os.environ)) or version


def _runners() -> list[str]:
    locked = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    versions = {package["name"]: package.get("version") for package in locked}
    # of moto, the version follows from that of boto3
    return [f"{name}[s3,server]" if name == "moto" else f"{name}=={versions[name]}" for name in RUNNERS]


def _uv(*arguments: str | Path) -> None:
    subprocess.run([UV, *arguments, "--quiet"], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
