"""Where an error is to be mended, as its traceback tells it."""

from __future__ import annotations

import polars as pl
import pytest

from scythe_cli.executor.rows.failure import cut_middle
from scythe_cli.run.outcomes.error_groups import CollectedErrors, place_of

OWN = "/home/eva/study/experiments/wall.py"
VENV = "/home/eva/study/.venv/lib/python3.12/site-packages"
LIBRARIES = [
    f"{VENV}/scipy/optimize/_zeros_py.py",
    "/usr/lib/python3/dist-packages/numpy/core/fromnumeric.py",
    "/usr/lib/python3.11/json/decoder.py",
    "/opt/conda/lib/python3.13t/decimal.py",
    "<frozen importlib._bootstrap>",
    "C:\\Python\\Lib\\site-packages\\numpy\\linalg.py",
]


def traceback(*files: str, message: str = "ValueError: no") -> str:
    frames = [f'  File "{file}", line {10 + i}, in f{i}\n    call()\n    ~~~~^^' for i, file in enumerate(files)]
    return "\n".join(["Traceback (most recent call last):", *frames, message])


def test_a_function_that_is_installed_itself() -> None:
    mine = f"{VENV}/wallmodel"
    text = traceback(f"{mine}/sim.py", f"{mine}/heat.py", f"{VENV}/scipy/x.py", "/usr/lib/python3.11/json/decoder.py")
    assert place_of(text) == f"{mine}/heat.py:11 in f1"


def test_libraries_alone() -> None:
    assert (
        place_of(traceback("/usr/lib/python3.11/a.py", "/usr/lib/python3.11/b.py"))
        == "/usr/lib/python3.11/b.py:11 in f1"
    )


@pytest.mark.parametrize("text", [None, "", "ValueError: no", traceback()])
def test_no_frames(text: str | None) -> None:
    assert place_of(text) is None


FOLLOWS = [
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
]


@pytest.mark.parametrize("sentence", FOLLOWS)
def test_of_errors_that_follow_from_one_another_the_last_counts(sentence: str) -> None:
    text = f"{traceback('deep.py', 'deeper.py')}\n\n{sentence}\n\n{traceback('wall.py', LIBRARIES[0])}"
    assert place_of(text) == "wall.py:10 in f0"


def test_what_a_message_quotes_is_no_frame() -> None:
    quoted = f"RuntimeError: a process said:\n{traceback('other.py', 'elsewhere.py')}"
    assert place_of(traceback("wall.py", LIBRARIES[0], message=quoted)) == "wall.py:10 in f0"


def test_real_tracebacks() -> None:
    import json
    import traceback as module

    def load() -> None:
        json.loads("{")

    def group() -> None:
        try:
            load()
        except ValueError as error:
            raise ExceptionGroup("two", [error]) from error

    places: list[str | None] = []
    for function in (load, group):
        try:
            function()
        except (ValueError, ExceptionGroup) as error:
            places.append(place_of("".join(module.format_exception(error))))
    line = load.__code__.co_firstlineno
    assert places[0] == f"{__file__}:{line + 1} in load"
    assert places[1] == f"{__file__}:{group.__code__.co_firstlineno + 4} in group"


def test_a_text_that_has_lost_its_middle() -> None:
    whole = traceback(*["wall.py"] * 100, LIBRARIES[0])
    assert place_of(cut_middle(whole, 1_000)) == "wall.py:109 in f99"
    for limit in range(200, 400):
        cut_middle(whole, limit)
        assert (place_of(cut_middle(whole, limit)) or "").startswith("wall.py")


def test_errors_at_one_place_are_one_group_however_deep_they_were_raised() -> None:
    texts = [traceback(OWN, LIBRARIES[0]), traceback(OWN, LIBRARIES[0], LIBRARIES[2]), traceback(OWN)]
    n = len(texts)
    errors = pl.DataFrame(
        {
            "sort_index": range(n),
            "state": ["failed"] * n,
            "error_type": ["ValueError"] * n,
            "message": ["no"] * n,
            "traceback": texts,
        }
    )
    collected = CollectedErrors()
    collected.add(errors)
    (group,) = collected.groups()
    assert (group.count, group.place) == (3, f"{OWN}:10 in f0")
