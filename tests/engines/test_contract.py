"""The contract of engines: ours, and one that another distribution adds by an entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scythe_cli.core.distribution import ENGINES, entry_point_names
from scythe_cli.engines.base import Engine
from scythe_cli.engines.entry_points import check_engine_name, get_engine, needs_lease
from scythe_cli.engines.local import LocalEngine
from scythe_cli.errors import ConfigError, EngineError, UsageError
from scythe_cli.services.project import open_project
from scythe_cli.testing.engines import EngineContract, write_contract_project

PLUGIN = Path(__file__).parents[1] / "plugins" / "scythe_serial"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other distribution, built and installed into a folder of its own."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    uv = Path(__file__).parents[2] / "scripts" / "uv"
    options = ["--quiet", "--offline", "--no-build-isolation"]
    subprocess.run([uv, "build", *options, "--wheel", "--out-dir", wheels, PLUGIN], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--target", folder, wheel], check=True)
    return folder


@pytest.fixture
def serial(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if it were installed beside this package."""
    monkeypatch.syspath_prepend(str(installed))
    return installed


class TestLocal(EngineContract):
    """Ours."""

    @pytest.fixture
    def engine(self) -> Engine:
        return LocalEngine()


class TestSerial(EngineContract):
    """That of another distribution."""

    @pytest.fixture
    def engine(self, serial: Path) -> Engine:
        del serial
        return get_engine("serial", {"rows": 3})


def test_the_command_line_runs_an_engine_that_was_installed(serial: Path, tmp_path: Path) -> None:
    project = write_contract_project(tmp_path / "a project")
    (project / "cases.csv").write_text("x\n1\n2\n3\n")
    environment = {**os.environ, "PYTHONPATH": str(serial)}
    command = [sys.executable, "-m", "scythe_cli.cli", "--json", "allocate", "cases.csv", "--engine", "serial"]
    ran = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(ran.stdout)
    assert (told["engine"], told["counts"]["succeeded"]) == ("serial", 3)


def test_an_engine_has_a_table_of_its_name(serial: Path, tmp_path: Path) -> None:
    del serial
    project = write_contract_project(tmp_path)
    path = project / "experiments.toml"
    path.write_text(path.read_text().replace("[scythe]", '[scythe]\nengine = "serial"') + "\n[serial]\nrows = 4\n")
    engine = open_project(start=project).engine
    assert (engine.name, engine.settings) == ("serial", {"rows": 4})
    path.write_text(path.read_text().replace("rows = 4", "rows = 0"))
    with pytest.raises(UsageError, match=r"\[serial\]: 'rows' is 0"):
        _ = open_project(start=project).engine


def test_a_table_of_an_engine_that_is_not_installed_is_a_mistake(tmp_path: Path) -> None:
    project = write_contract_project(tmp_path)
    path = project / "experiments.toml"
    path.write_text(path.read_text() + "\n[parallel]\nrows = 4\n")
    with pytest.raises(ConfigError, match="unknown key 'parallel'"):
        open_project(start=project)


def test_names_of_engines() -> None:
    assert entry_point_names(ENGINES) == ["local", "hatchet", "slurm"]
    assert check_engine_name("local") == "local"
    with pytest.raises(UsageError, match="there is no engine 'dask'") as caught:
        check_engine_name("dask")
    assert caught.value.hint == "Engines are local, hatchet and slurm."
    assert [needs_lease(name) for name in ("local", "hatchet", "slurm", "dask", None)] == [
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nosuch_module:Engine", "cannot be loaded"),
        ("json:nothing", "cannot be loaded"),
        ("json:loads", "not a subclass"),
    ],
)
def test_an_engine_that_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[scythe_cli.engines]\nbroken = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineError, match=f"the engine 'broken' .*{message}"):
        get_engine("broken")


def test_a_project_does_not_change_the_engine_of_another(tmp_path: Path) -> None:
    one, other = (write_contract_project(tmp_path / name) for name in ("one", "other"))
    path = one / "experiments.toml"
    path.write_text(
        path.read_text().replace("[scythe]", '[scythe]\nengine = "hatchet"') + "\n[hatchet]\nembedded = true\n"
    )
    path = other / "experiments.toml"
    path.write_text(path.read_text().replace("[scythe]", '[scythe]\nengine = "hatchet"'))
    first = open_project(start=one)
    second = open_project(start=other)
    assert [p.engine.label for p in (first, second, first)] == ["embedded Hatchet", "hatchet", "embedded Hatchet"]
    assert [p.engine.outlives_client for p in (first, second)] == [False, True]
