"""Daylight factors of a room with one window, with the programs of Radiance.

For every row of the sampling file: the room is written as a Radiance scene, `oconv` compiles it, and `rtrace` follows
light from a grid of sensors to an overcast sky. These are programs and not a library: they run as processes of their
own, in the spec's `tempdir`, and talk through files.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from examples.daylight.program import run_program
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.utils.filesys import FileReference

HEIGHT_M = 3.0
WORK_PLANE_M = 0.85
WALL_M = 0.3  # no sensor is closer to a wall
LUX_PER_WATT = 179.0  # Radiance's luminous efficacy of white light [lm/W]
SKY_LUX = 10_000.0
TIMEOUT_S = 60.0
# bounces of light, rays that sample it, and how much its interpolation may be off. In a room of 4 m by 4 m, draft is
# 5 % too dark and takes 0.3 s; fine takes 6 s
EFFORT = {
    "draft": ["-ab", "3", "-ad", "512", "-as", "128", "-ar", "64", "-aa", "0.2"],
    "fine": ["-ab", "6", "-ad", "2048", "-as", "512", "-ar", "128", "-aa", "0.12"],
}


class Room(ExperimentInputSpec):
    """One room, with a window in the wall at y = 0."""

    surroundings: FileReference = Field(description="What stands outside: a Radiance scene (.rad) [m]")
    width: float = Field(default=4.0, ge=2, le=20, description="Width of the room, along the window [m]")
    depth: float = Field(ge=2, le=20, description="Depth of the room [m]")
    window_share: float = Field(ge=0.05, le=0.95, description="Width of the window over width of the room")
    sill: float = Field(default=0.9, ge=0.1, le=2.0, description="Lower edge of the window [m]")
    head: float = Field(default=2.6, ge=1.0, le=2.9, description="Upper edge of the window [m]")
    transmittance: float = Field(default=0.7, ge=0.05, le=0.92, description="Light that the glass lets through")
    walls: float = Field(default=0.5, ge=0.05, le=0.9, description="Light that the walls reflect")
    spacing: float = Field(default=0.5, ge=0.1, le=2.0, description="Distance between sensors [m]")
    effort: Literal["draft", "fine"] = Field(default="draft", description="Precision of the simulation")

    @model_validator(mode="after")
    def _window_has_a_height(self) -> Room:
        if self.head <= self.sill:
            raise ValueError("the window's head is not above its sill")
        return self

    @property
    def computed_features(self) -> dict[str, int | float | str]:
        """Window over floor, as building codes ask for it."""
        window = self.width * self.window_share * (self.head - self.sill)
        return {"window_to_floor": round(window / (self.width * self.depth), 4)}


class Daylight(ExperimentOutputSpec):
    """How bright the room is on a grey day; 2 % is a room that needs no lamps."""

    mean_factor: float = Field(description="Mean daylight factor [%]")
    median_factor: float = Field(description="Median daylight factor [%]")
    uniformity: float = Field(description="Lowest over mean daylight factor")
    bright_share: float = Field(description="Share of the sensors with 2 % and more [%]")
    readings: FileReference = Field(description="What rtrace wrote: irradiance, red, green and blue [W/m2]")


@ExperimentRegistry.Register(description="Daylight factors of a room with one window")
def simulate(room: Room, tempdir: Path) -> Daylight:
    """Simulate one room under the CIE's overcast sky.

    A daylight factor is the light that falls on a sensor indoors in percent of what falls on the ground outdoors.
    """
    programs, env = radiance()
    sensors = sensor_grid(room)
    (tempdir / "room.rad").write_text(room_scene(room), encoding="utf-8")
    # rays start at a sensor and look up
    points = "".join(f"{x:g} {y:g} {WORK_PLANE_M} 0 0 1\n" for x, y in sensors)
    (tempdir / "sensors.pts").write_text(points, encoding="utf-8")

    log, scene, readings = tempdir / "radiance.log", tempdir / "scene.oct", tempdir / "readings.dat"

    def run(*command: str | Path, out: Path, stdin: Path | None = None) -> None:
        program, *arguments = command
        run_program(
            [programs / program, *arguments],
            folder=tempdir, out=out, log=log, timeout_s=TIMEOUT_S, stdin=stdin, env=env,
        )  # fmt: skip

    sky = tempdir / "sky.rad"
    run("gensky", "-ang", "45", "0", "-c", "-B", f"{SKY_LUX / LUX_PER_WATT:.4f}", "-g", "0.2", out=sky)
    with sky.open("a", encoding="utf-8") as file:
        file.write(SKY_DOME)
    run("oconv", "sky.rad", Path(str(room.surroundings)), "room.rad", out=scene)
    # -u-: the same rays each time, so that the same case gives the same numbers
    run("rtrace", "-I+", "-h", "-w", "-u-", *EFFORT[room.effort], scene, out=readings, stdin=tempdir / "sensors.pts")
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        room.log(line)

    factor = daylight_factors(readings, len(sensors))
    return Daylight(
        mean_factor=float(factor.mean()),
        median_factor=float(np.median(factor)),
        uniformity=float(factor.min() / factor.mean()) if factor.any() else 0.0,
        bright_share=100 * float((factor >= 2).mean()),
        readings=readings,
        dataframes={"sensors": pl.DataFrame({"x_m": sensors[:, 0], "y_m": sensors[:, 1], "daylight_factor": factor})},
    )


@lru_cache(maxsize=1)
def radiance() -> tuple[Path, dict[str, str]]:
    """The folder of Radiance's programs, and the environment in which they find their own files.

    They come with the package pyradiance, which need not be imported for that.
    """
    package = find_spec("pyradiance")
    if package is None or package.origin is None:
        raise RuntimeError("Radiance is missing: pip install pyradiance")
    folder = Path(package.origin).parent
    return folder / "bin", {**os.environ, "RAYPATH": str(folder / "lib")}


def sensor_grid(room: Room) -> np.ndarray:
    """Positions of the sensors [m], shape (n, 2): columns x and y."""
    x, y = (
        np.linspace(WALL_M, length - WALL_M, max(2, round((length - 2 * WALL_M) / room.spacing) + 1))
        for length in (room.width, room.depth)
    )
    return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)


def daylight_factors(readings: Path, n: int) -> np.ndarray:
    """Read what rtrace wrote, a line of red, green and blue irradiance [W/m2] for each sensor; gives percent."""
    irradiance = np.loadtxt(readings, ndmin=2)
    if irradiance.shape != (n, 3):
        raise RuntimeError(f"rtrace gave {len(irradiance)} readings for {n} sensors")
    # weights of Radiance's primaries in white light
    return irradiance @ (0.265, 0.670, 0.065) * LUX_PER_WATT / SKY_LUX * 100


SKY_DOME = """
skyfunc glow sky_glow 0 0 4 1 1 1 0
sky_glow source sky 0 0 4 0 0 1 180
skyfunc glow ground_glow 0 0 4 1 1 1 0
ground_glow source ground 0 0 4 0 0 -1 180
"""


def room_scene(room: Room) -> str:
    """The room as a Radiance scene; the faces of its surfaces need not look inwards."""
    width, depth, height = room.width, room.depth, HEIGHT_M
    left = width * (1 - room.window_share) / 2
    right = width - left
    # transmissivity, of one passage through the glass, from transmittance, of the whole pane: Radiance's manual, glass
    t = room.transmittance
    glass = ((0.8402528435 + 0.0072522239 * t**2) ** 0.5 - 0.9166530661) / 0.0036261119 / t

    def front(material: str, x0: float, x1: float, z0: float, z1: float) -> tuple[str, list[tuple[float, ...]]]:
        return material, [(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)]

    surfaces: list[tuple[str, list[tuple[float, ...]]]] = [
        ("floor", [(0, 0, 0), (width, 0, 0), (width, depth, 0), (0, depth, 0)]),
        ("ceiling", [(0, 0, height), (0, depth, height), (width, depth, height), (width, 0, height)]),
        ("wall", [(0, 0, 0), (0, depth, 0), (0, depth, height), (0, 0, height)]),
        ("wall", [(width, 0, 0), (width, 0, height), (width, depth, height), (width, depth, 0)]),
        ("wall", [(0, depth, 0), (width, depth, 0), (width, depth, height), (0, depth, height)]),
        front("wall", 0, width, 0, room.sill),
        front("wall", 0, width, room.head, height),
        front("wall", 0, left, room.sill, room.head),
        front("wall", right, width, room.sill, room.head),
        front("pane", left, right, room.sill, room.head),
    ]
    materials = {"floor": 0.2, "ceiling": 0.8, "wall": room.walls}
    lines = [f"void plastic {name} 0 0 5 {part} {part} {part} 0 0" for name, part in materials.items()]
    lines.append(f"void glass pane 0 0 3 {glass:.5f} {glass:.5f} {glass:.5f}")
    for number, (material, corners) in enumerate(surfaces):
        numbers = " ".join(f"{value:g}" for corner in corners for value in corner)
        lines.append(f"{material} polygon surface_{number} 0 0 {3 * len(corners)} {numbers}")
    return "\n".join(lines) + "\n"
