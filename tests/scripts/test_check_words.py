"""What the check of words looks at, and what it passes over."""

from __future__ import annotations

import re

import pytest

from scripts.check_words import Phrase, messages, phrases, prose

MODULE = '''"""A docstring that goes on with it."""
NAMES = ["specs", "one word"]
LIMIT = 3
"""The limit of one spec."""

class Record:
    n: int = Field(description="how many specs there are")

def stop(n):
    """Stop the specs."""
    raise Stopped(f"{n} specs were stopped", hint="`specs.pq` goes on with it")

@app.command()
def retry():
    """Go on with a run."""
'''


def test_messages_are_strings_and_no_docstrings_or_descriptions() -> None:
    assert sorted(messages(MODULE)) == [(2, "one word"), (11, "`code` goes on with it"), (11, "{} specs were stopped")]


def test_the_summary_of_a_command_is_a_message() -> None:
    assert (15, "Go on with a run.") in list(messages(MODULE, is_command=True))


def test_prose_is_a_document_without_code_and_with_lines_joined() -> None:
    document = "# Title\n\nA run\ngoes on `x y`.\n\n```console\n$ goes on with it\n```\n\nSee [this](goes-on.md).\n"
    assert list(prose(document)) == [(1, "# Title"), (3, "A run goes on `code`."), (10, "See [this`code`.")]


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("3 specs did not succeed", "case"),
        ("`scythe retry` goes on with the run", "resume"),
        ("the task did not come to its end", "did not finish"),
        ("'x' is no number", "is not a"),
        ("the columns do not fit In", "inputs of"),
        ("Else as configured", "default"),
        ("out.png is there already", "already exists"),
    ],
)
def test_phrases_that_are_kept_out(text: str, instead: str) -> None:
    found: list[Phrase] = [phrase for phrase in phrases() if phrase.pattern.search(text)]
    assert len(found) == 1
    assert instead in found[0].instead


@pytest.mark.parametrize("text", ["there is no column 'x'", "runs/specs.pq cannot be read", "it takes no input spec"])
def test_what_may_be_written(text: str) -> None:
    assert not [phrase for phrase in phrases() if phrase.pattern.search(text)]


def test_every_phrase_says_what_to_write_instead() -> None:
    assert all(phrase.instead and isinstance(phrase.pattern, re.Pattern) for phrase in phrases())
