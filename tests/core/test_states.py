"""After what a spec is run again."""

from __future__ import annotations

from typing import get_args

import pytest

from scythe_cli.core.states import RetryOn, RetryRule, State


def test_a_rule_is_for_its_states_and_as_often_as_it_says() -> None:
    rule = RetryRule(2, ("timeout", "crashed"))
    allowed = [state for state in State if rule.allows(state, 1)]
    assert allowed == [State.TIMEOUT, State.CRASHED]
    assert not any(rule.allows(state, tries) for state in State for tries in (0, -1))


def test_whatever_can_be_said_is_what_becomes_of_a_spec_or_of_its_worker() -> None:
    assert set(get_args(RetryOn)) - {state.value for state in State} == {"lost"}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (RetryRule(0), "none"),
        (RetryRule(3, ()), "none"),
        (RetryRule(3), "3"),
        (RetryRule(1, ("crashed",)), "1, after crashed"),
        (RetryRule(1, ("timeout", "crashed", "lost")), "1, after timeout, crashed or lost"),
    ],
)
def test_a_rule_in_words(rule: RetryRule, words: str) -> None:
    assert rule.describe() == words
