"""The wheel, as others install it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import scythe_cli

result = scythe_cli.allocate("cases.csv", workers=2)
reveal_type(result)
reveal_type(scythe_cli.load_run().scalars())
scythe_cli.allocate("cases.csv", workers="two")
scythe_cli.allocate("cases.csv", wokers=2)
"""

# libraries that are in none of these types: to read them takes longer than all else
SETTINGS = """
[mypy]
[mypy-numpy.*,pyarrow.*,pandas.*,duckdb.*,scipy.*,sklearn.*,altair.*,hatchet_sdk.*,fsspec.*,httpx.*]
follow_imports = skip
follow_imports_for_stubs = True
[mypy-sqlalchemy.*,IPython.*,hypothesis.*,tornado.*,optuna.*,rich.*,typer.*,prompt_toolkit.*,filelock.*]
follow_imports = skip
follow_imports_for_stubs = True
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [ROOT / "scripts" / "uv", "build", "--quiet", "--offline", "--no-build-isolation"]
    subprocess.run([*command, "--wheel", "--out-dir", folder, ROOT], check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_it_has_the_package_and_all_that_is_no_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = (path for path in (ROOT / "scythe_cli").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert names >= {path.relative_to(ROOT).as_posix() for path in files}
    assert "scythe_cli/py.typed" in names
    assert [name for name in names if name.endswith(".data/data/share/man/man1/scythe.1")]
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_a_type_checker_sees_the_types_of_what_is_installed(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    uv = [ROOT / "scripts" / "uv", "pip", "install", "--quiet", "--offline"]
    subprocess.run([*uv, "--no-deps", "--python", python, wheel], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    # what the package needs is installed beside this test already
    (site / "others.pth").write_text(os.pathsep.join(path for path in sys.path if path.endswith("site-packages")))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    settings = tmp_path / "mypy.ini"
    settings.write_text(SETTINGS)
    options = ["--python-executable", python, "--cache-dir", tmp_path / "cache", "--config-file", settings]
    command = [sys.executable, "-m", "mypy", *options, program]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = told.stdout.splitlines()
    assert 'program.py:5: note: Revealed type is "scythe_cli.services.records.AllocateResult"' in lines, told
    assert 'program.py:6: note: Revealed type is "polars.dataframe.frame.DataFrame"' in lines
    assert [line.split(" error: ")[0] for line in lines if " error: " in line] == ["program.py:7:", "program.py:8:"]
