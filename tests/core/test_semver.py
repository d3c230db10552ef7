from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from scythe_cli.core.semver import BUMPS, SemVer, next_version


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v",
        "v1",
        "v1.2",
        "1.2.3",
        "V1.2.3",
        "v1.2.3.9",
        "v01.2.3",
        "v1.02.3",
        "v1.2.-3",
        "v1.2.3 ",
        " v1.2.3",
        "v1.2.3\n",
        "v1.2.3-rc1",
        "v١.2.3",
        "v1.2.³",
        "v1_0.2.3",
        "v1.2.1234567890",
        "v" + "9" * 5000 + ".0.0",
        "v1..3",
        "../v1.2.3",
    ],
)
def test_nothing_else_is_a_version(text: str) -> None:
    assert SemVer.parse(text) is None
    with pytest.raises(ValueError, match=r"is not a version; a version looks like v1\.2\.0"):
        SemVer.FromString(text)


def test_a_version_shows_itself_and_does_not_change() -> None:
    version = SemVer.FromString("v1.20.3")
    assert (version.major, version.minor, version.patch) == (1, 20, 3)
    assert str(version) == "v1.20.3"
    assert repr(version) == "SemVer('v1.20.3')"
    assert version.model_dump(mode="json") == {"major": 1, "minor": 20, "patch": 3}
    with pytest.raises(ValidationError, match="frozen"):
        version.major = 2  # type: ignore[misc]
    assert SemVer(major=1) == SemVer.FromString("v1.0.0")


@pytest.mark.parametrize("parts", [{"major": -1}, {"major": 1, "minor": -1}, {"major": 10**9}, {}])
def test_parts_are_whole_numbers_that_can_be_read_again(parts: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        SemVer(**parts)  # type: ignore[arg-type]


def test_numbers_are_compared_as_numbers() -> None:
    texts = ["v10.0.0", "v9.0.0", "v1.10.0", "v1.9.0", "v1.9.10"]
    assert [str(v) for v in sorted(map(SemVer.FromString, texts))] == [
        "v1.9.0",
        "v1.9.10",
        "v1.10.0",
        "v9.0.0",
        "v10.0.0",
    ]
    assert len({SemVer(major=1), SemVer.FromString("v1.0.0")}) == 1


def test_a_version_can_be_a_field() -> None:
    class Holder(BaseModel):
        version: SemVer

    assert Holder.model_validate({"version": {"major": 2}}).version == SemVer(major=2)


@pytest.mark.parametrize(
    ("bump", "expected"), [("major", "v2.0.0"), ("minor", "v1.3.0"), ("patch", "v1.2.4"), ("keep", "v1.2.3")]
)
def test_the_next_version(bump: str, expected: str) -> None:
    latest = SemVer.FromString("v1.2.3")
    assert str(next_version(latest, bump)) == expected  # type: ignore[arg-type]
    assert str(next_version(None, bump)) == "v1.0.0"  # type: ignore[arg-type]


def test_the_names_of_scythe_engine_are_known() -> None:
    assert BUMPS == {"bumpmajor": "major", "bumpminor": "minor", "bumppatch": "patch", "keep": "keep"}
