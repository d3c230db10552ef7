"""Whatever libraries an error comes through, its place is in the user's code."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.run.outcomes.error_groups import place_of

from .test_error_groups import LIBRARIES, OWN, traceback


@given(
    st.lists(st.sampled_from(LIBRARIES), max_size=5),
    st.lists(st.sampled_from(LIBRARIES), max_size=5),
    st.sampled_from([OWN, "/srv/lib/model.py", "wall.py", "<string>", "/tmp/ipykernel_7/123.py"]),
)
def test_the_place_is_the_last_frame_that_is_no_library_s(before: list[str], after: list[str], own: str) -> None:
    n = len(before) + 1
    assert place_of(traceback(OWN, *before, own, *after)) == f"{own}:{10 + n} in f{n}"
