from __future__ import annotations

from pathlib import Path

import pytest

from scythe_cli.services.runs.varied import varied_inputs
from scythe_cli.storage.local import LocalStorage
from tests.result_runs import Case, Wall, finished_run, layout


def varied(folder: Path, cases: list[Case]) -> list[str] | None:
    storage = LocalStorage(folder / "runs")
    run = finished_run(storage, folder / "scratch", cases, [{"power": 1.0} for _ in cases])
    return varied_inputs(storage, run.layout)


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        ([Case(tilt=1.0), Case(tilt=2.0)], ["tilt"]),
        ([Case(tilt=1.0, site="Oslo"), Case(tilt=1.0, site="Rome")], ["site"]),
        ([Case(tilt=1.0), Case(tilt=1.0, wall=Wall(u_value=2.0))], ["wall.u_value"]),
        ([Case(tilt=1.0), Case(tilt=1.0)], []),
        ([Case(tilt=1.0)], []),
        ([Case(tilt=1.0), Case(tilt=1.0, weather="/x.epw")], ["weather"]),  # pyright: ignore[reportArgumentType]
        # of lists the ends are not those of the cases
        ([Case(tilt=1.0, steps=[1, 2]), Case(tilt=1.0, steps=[1, 2])], []),
    ],
)
def test_inputs_with_more_than_one_value_varied(tmp_path: Path, cases: list[Case], expected: list[str]) -> None:
    assert varied(tmp_path, cases) == expected


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"x" * 100])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, content: bytes | None) -> None:
    storage = LocalStorage(tmp_path / "runs")
    if content is not None:
        storage.write_bytes(layout().specs, content)
    assert varied_inputs(storage, layout()) is None
