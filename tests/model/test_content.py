"""What a function that is sent consists of: the same where it is written again, another where anything has changed."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.model.functions.content import content_of, is_importable

BASE = """
import dataclasses, enum, functools, math
import numpy as np, pandas as pd
RATE = 3
TABLE = {"a": [1, 2.5], "b": {"x", "y", "z"}}
ARRAY = np.arange(4.0)
FRAME = pd.DataFrame({"n": [1, 2], "t": ["u", None]})
UNUSED = 1

@dataclasses.dataclass
class Point:
    x: float = 1.0
    def twice(self): return self.x * 2

class Kind(enum.Enum):
    A = 1

def helper(x): return x + RATE

def wrapped(function):
    @functools.wraps(function)
    def inner(*args): return function(*args)
    return inner

def recursive(n): return n and recursive(n - 1)

@wrapped
@functools.lru_cache
def f(x, y=2, *, z=5):
    k = [helper(v) for v in (x, y, z)]
    more = len(TABLE) + ARRAY[0] + FRAME.n[0] + Point().twice() + Kind.A.value + recursive(3)
    return (lambda: sum(k) + more + math.pi)()
"""


def made(source: str, file: str = "cell") -> Any:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), names)
    return names["f"]


def test_written_again_it_is_the_same() -> None:
    again = BASE.replace("RATE = 3", "\n\n# a comment\nRATE = 3").replace("UNUSED = 1", "UNUSED = 2")
    assert content_of(made(again, "another")).hash == content_of(made(BASE)).hash


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("RATE = 3", "RATE = 3.0"),
        ("2.5", "2.6"),
        ('"z"', '"w"'),
        ("np.arange(4.0)", "np.arange(5.0)"),
        ("np.arange(4.0)", "np.arange(4)"),
        ('["u", None]', '["u", "v"]'),
        ('{"n": [1, 2]', '{"n": [1, 3]'),
        ("x: float = 1.0", "x: float = 2.0"),
        ("self.x * 2", "self.x * 3"),
        ("A = 1", "A = 2"),
        ("return x + RATE", "return x - RATE"),
        ("return function(*args)", "return function(*args) + 1"),
        ("recursive(n - 1)", "recursive(n - 2)"),
        ("y=2", "y=3"),
        ("z=5", "z=6"),
        ("sum(k)", "max(k)"),
        ("math.pi", "math.e"),
        ("@functools.lru_cache\n", ""),
    ],
)
def test_any_change_is_seen(before: str, after: str) -> None:
    assert BASE.count(before) == 1
    assert content_of(made(BASE.replace(before, after))).hash != content_of(made(BASE)).hash


def adder(by: Any) -> Any:
    return lambda x: x + by


class Scale:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: float) -> float:
        return x * self.factor


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(VALUES, VALUES)
def test_what_is_closed_over_counts(one: object, other: object) -> None:
    # repr tells 1 from 1.0 and True, as the hash does
    same = repr(one) == repr(other)
    for make in (adder, functools.partial(functools.partial, adder), Scale):
        assert (content_of(make(one)).hash == content_of(make(other)).hash) == same


def test_what_can_be_imported_counts_by_its_name() -> None:
    assert is_importable(adder)
    assert is_importable(math.sqrt)
    assert not is_importable(adder(1))
    assert not is_importable(made(BASE))
    names = {module.__name__ for module in content_of(functools.partial(adder, 1)).modules}
    assert __name__ in names
    assert content_of(np.sin).hash == content_of(np.sin).hash


def test_what_cannot_be_looked_into_is_never_the_same() -> None:
    class Hidden:
        def __reduce_ex__(self, protocol: object) -> Any:
            raise TypeError("no")

    hidden = adder(Hidden())
    assert content_of(hidden).hash != content_of(hidden).hash
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    assert content_of(adder(deep)).hash != content_of(adder(deep)).hash


@pytest.mark.processes
def test_it_is_the_same_in_another_process() -> None:
    code = (
        "import sys; from tests.model.test_content import BASE, made; "
        "from scythe_cli.model.functions.content import content_of; print(content_of(made(BASE)).hash)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == content_of(made(BASE)).hash
