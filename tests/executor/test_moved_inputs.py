"""Input files of a run that was copied elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from scythe_cli.executor.rows.inputs import moved_reference

RUN = "energy/v1.0.0/2026-01-01_00-00-00"
FILE = f"{RUN}/artifacts/{'ab' * 32}/north.epw"


@pytest.mark.parametrize("old", ["/old/runs", "s3://old/runs"])
def test_they_are_where_the_run_is(old: str, tmp_path: Path) -> None:
    reference = f"{old}/{FILE}"
    assert moved_reference(reference, RUN, "s3://new/runs") == f"s3://new/runs/{FILE}"
    assert moved_reference(reference, RUN, str(tmp_path)) == reference  # not copied with it
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).touch()
    assert moved_reference(reference, RUN, str(tmp_path)) == tmp_path / FILE


def test_a_url_escapes_percent_signs(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).with_name("1%.epw").touch()
    there, here = (f"{place}/{FILE}".replace("north", name) for place, name in ((tmp_path, "1%"), ("s3://b", "1%25")))
    assert moved_reference(there, RUN, "s3://b") == here
    assert moved_reference(here, RUN, str(tmp_path)) == Path(there)


@pytest.mark.parametrize(
    "reference",
    [
        Path("/data/north.epw"),
        "https://example.org/north.epw",
        f"s3://here/{FILE}",
        f"/old/{RUN}/artifacts/north.epw",
        f"/old/{RUN}/artifacts/{'ab' * 32}/../../../north.epw",
        f"/old/other/v1.0.0/2026-01-01_00-00-00/artifacts/{'ab' * 32}/north.epw",
    ],
)
def test_what_is_not_the_run_s_own_stays(reference: str | Path) -> None:
    assert moved_reference(reference, RUN, "s3://here") == reference
