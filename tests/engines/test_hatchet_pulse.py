"""Whether a request over a stream was lost, told by what is answered behind it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.engines.hatchet.recovery.pulse import Pulse, Waiting


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@given(
    before=st.lists(st.booleans(), max_size=6),
    n_answered_before=st.integers(0, 6),
    behind=st.lists(st.booleans(), max_size=8),
)
def test_a_request_is_given_up_only_when_it_was_handled(
    before: list[bool], n_answered_before: int, behind: list[bool]
) -> None:
    """An engine that takes one after the other, and answers some greetings (True) and not the request between them."""
    pulse = Pulse(Clock())
    for _ in before:
        pulse.greetings_queued(1)
    n_early = min(n_answered_before, len(before))
    for is_answered in before[:n_early]:
        if is_answered:
            pulse.heard(is_greeting=True)
    mark = pulse.mark()
    for _ in behind:
        pulse.greetings_queued(1)
    for is_answered in before[n_early:]:
        if is_answered:
            pulse.heard(is_greeting=True)
        assert pulse.look(mark) is Waiting.WAIT
    for number, is_answered in enumerate(behind, 1):
        if is_answered:
            pulse.heard(is_greeting=True)
        is_sure = before.count(False) < behind[:number].count(True)
        assert (pulse.look(mark) is Waiting.LOST) == is_sure


def test_another_answer_is_none_to_a_greeting() -> None:
    pulse = Pulse(Clock())
    mark = pulse.mark()
    pulse.greetings_queued(1)
    pulse.heard(is_greeting=False)
    assert pulse.look(mark) is Waiting.WAIT


def test_a_stream_is_dead_when_nothing_is_heard_for_long() -> None:
    clock = Clock()
    pulse = Pulse(clock, silent_s=30)
    clock.now_s = 100
    mark = pulse.mark()
    clock.now_s = 129
    assert pulse.look(mark) is Waiting.WAIT
    pulse.heard(is_greeting=False)
    clock.now_s = 158
    assert pulse.look(mark) is Waiting.WAIT
    clock.now_s = 159
    assert pulse.look(mark) is Waiting.DEAD
