from __future__ import annotations

import re
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.semver import Bump, SemVer, next_version
from tests.fuzzing import cases

parts = st.integers(0, 10**6)
versions = st.builds(SemVer, major=parts, minor=parts, patch=parts)


@given(versions)
@cases(30, at_night=500)
def test_what_is_written_is_read_again(version: SemVer) -> None:
    assert SemVer.FromString(str(version)) == version
    assert SemVer.parse(str(version)) == version


@given(versions, versions)
@cases(30, at_night=500)
def test_versions_are_ordered_as_their_parts(a: SemVer, b: SemVer) -> None:
    keys = [(v.major, v.minor, v.patch) for v in (a, b)]
    assert (a < b, a <= b, a > b, a >= b, a == b) == (
        keys[0] < keys[1],
        keys[0] <= keys[1],
        keys[0] > keys[1],
        keys[0] >= keys[1],
        keys[0] == keys[1],
    )
    assert (hash(a) == hash(b)) or a != b


@given(versions, st.sampled_from(get_args(Bump)))
@cases(30, at_night=500)
def test_a_bump_goes_up_and_stays_readable(latest: SemVer, bump: Bump) -> None:
    new = next_version(latest, bump)
    assert new == latest if bump == "keep" else new > latest
    assert SemVer.parse(str(new)) == new
    assert next_version(None, bump) == SemVer(major=1)


@given(st.text(max_size=12) | st.from_regex(r"v?\d+\.\d+(\.\d+){0,2}", fullmatch=True))
@cases(50, at_night=1000)
def test_only_canonical_text_is_a_version(text: str) -> None:
    version = SemVer.parse(text)
    canonical = re.fullmatch(r"v(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}", text)
    assert (version is not None) == bool(canonical)
    assert version is None or str(version) == text
