"""The daylight example: Radiance's results are plausible, and programs that fail say why."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import scythe_cli

from .conftest import Run
from .examples import ROOT, as_written, import_example, stored_cases, write_cases

for _module in ("pyradiance", "altair"):
    pytest.importorskip(_module, reason="the extra daylight is not installed")


@pytest.fixture
def daylight(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return import_example(monkeypatch, "daylight.simulation")


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "surroundings"
    import_example(monkeypatch, "daylight.make_cases").write_surroundings(folder)
    return folder


def run(daylight: ModuleType, surroundings: Path, outside: str = "open", **fields: Any) -> Any:
    folder = surroundings.parent / f"case {len(list(surroundings.parent.iterdir()))}"
    folder.mkdir()
    defaults = {"surroundings": surroundings / f"{outside}.rad", "depth": 6, "window_share": 0.6, "spacing": 1.0}
    return daylight.simulate(daylight.Room(**{**defaults, **fields}), tempdir=folder)


def test_light_falls_off_behind_the_window(daylight: ModuleType, surroundings: Path) -> None:
    result = run(daylight, surroundings)

    rows = result.dataframes["sensors"].group_by("y_m").mean().sort("y_m")["daylight_factor"].to_list()
    assert rows[0] == max(rows)
    assert rows[0] > 5 * rows[-1] > 0
    # the rule of thumb of Crisp and Littlefair: T W A / (S (1 - R²)), A the angle of visible sky [deg]
    window = 4 * 0.6 * 1.7
    surface = 2 * (4 * 6 + 4 * 3 + 6 * 3)
    reflected = (0.2 * 24 + 0.8 * 24 + 0.5 * (2 * 12 + 2 * 18)) / surface
    expected = 0.7 * window * 90 / (surface * (1 - reflected**2))
    assert result.mean_factor == pytest.approx(expected, rel=0.4)
    assert result.uniformity < 0.4
    # the room is symmetric, and so is its light but for the noise of the rays
    left_to_right = result.dataframes["sensors"].sort("y_m", "x_m")["daylight_factor"].to_numpy().reshape(len(rows), -1)
    assert left_to_right == pytest.approx(left_to_right[:, ::-1], rel=0.25)
    assert len(Path(result.readings).read_text().splitlines()) == result.dataframes["sensors"].height


def test_what_should_matter_does(daylight: ModuleType, surroundings: Path) -> None:
    base = run(daylight, surroundings).mean_factor
    assert run(daylight, surroundings, outside="city").mean_factor < 0.6 * base
    assert run(daylight, surroundings, transmittance=0.35).mean_factor == pytest.approx(base / 2, rel=0.15)
    assert run(daylight, surroundings, window_share=0.3).mean_factor < 0.7 * base
    assert run(daylight, surroundings, walls=0.9).uniformity > run(daylight, surroundings, walls=0.1).uniformity


def test_a_scene_that_radiance_refuses_says_why(daylight: ModuleType, surroundings: Path) -> None:
    broken = surroundings / "broken.rad"
    broken.write_text("facade polygon house 0 0 2 1 2\n")
    with pytest.raises(RuntimeError, match=r"(?s)^oconv gave code 1:\n.*broken\.rad"):
        run(daylight, surroundings, outside="broken")


PYTHON = sys.executable


@pytest.mark.parametrize(
    ("command", "timeout_s", "message"),
    [
        (["no-such-program"], 5, "no-such-program cannot be run: .*No such file"),
        ([PYTHON, "-c", "raise SystemExit(3)"], 60, "gave code 3, and said nothing"),
        ([PYTHON, "-c", "import sys; sys.exit('\\n'.join(map(str, range(99))))"], 60, "gave code 1:\n84\n(.*\n)*98$"),
        ([PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"], 60, "was ended by signal 9"),
        ([PYTHON, "-c", "import time; time.sleep(60)"], 0.05, r"took longer than 0\.05 s"),
    ],
)
def test_programs_that_fail_say_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str], timeout_s: float, message: str
) -> None:
    program = import_example(monkeypatch, "daylight.program")
    with pytest.raises(program.ProgramError, match=message):
        program.run_program(command, folder=tmp_path, out=tmp_path / "out", log=tmp_path / "log", timeout_s=timeout_s)


def test_from_the_file_to_the_plot(
    scythe: Run, monkeypatch: pytest.MonkeyPatch, surroundings: Path, tmp_path: Path
) -> None:
    cases = as_written(import_example(monkeypatch, "daylight.make_cases").make_cases(100, 1))
    assert stored_cases("daylight") == cases

    few = write_cases(tmp_path / "cases.csv", [{**case, "spacing": "1.5"} for case in cases[:4]])
    (tmp_path / "experiments.toml").write_text((ROOT / "experiments.toml").read_text())
    monkeypatch.chdir(tmp_path)
    ran = scythe("allocate", few, "--experiment", "daylight", "--workers", "1", "--json")
    assert ran.code == 0, ran.err

    result = scythe_cli.load_run("daylight")
    assert result.scalars().height == 4
    files = list((tmp_path / "runs").glob("daylight/*/*/results/readings/*.dat"))
    sensors = result.table("sensors").collect()
    assert sum(len(file.read_text().splitlines()) for file in files) == sensors.height
    plot = import_example(monkeypatch, "daylight.plot")
    monkeypatch.setattr(sys, "argv", ["plot.py"])
    plot.main()
    assert (tmp_path / "daylight.png").read_bytes().startswith(b"\x89PNG")
    assert set(plot.sensors(result)["place"]) == {"open", "village", "town", "city"}
