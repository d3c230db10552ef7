"""What is written as YAML is read again as it was, here and by others; what ruamel.yaml wrote is read alike by both."""

from __future__ import annotations

import datetime
import io
import math
import string
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scythe_cli.errors import StorageError
from scythe_cli.run.manifest import dump_yaml, load_yaml
from scythe_cli.storage import yaml_text
from tests.fuzzing import cases

HALVES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)
_ASCII = """
~ null Null yes No on OFF y n true TRUE False 0 -0 +1 012 0o7 0o8 0b1 0x1F 1_000 1__ _1 -_ 12:30 1:20:30 1:2.5 .5 1. 1e3
1E+3 1.0e5 1e .inf -.Inf +.inf .nan .NaN . .. ... - -- --- + ? ?x :x x: a:b << = ! !x & * | > @a `a % %a #x {} [] { }
[ ] , '' " ' \\ \\n 2020-01-01 2020-1-1 2026-11-29T12:18:29Z 2001-12-14t21:59:43.10-05:00
"""
_OTHERS = [
    "",
    "\ufeff",
    "\ufeffx",
    "\u2028",
    "a\u2029b",
    "\x85",
    "\x7f",
    "\x80",
    "\x00",
    "\ufffe",
    "\ue000",
    "\U0001f600",
]
WORDS = [*_ASCII.split(), *_OTHERS, "\U0010ffff", "é"]
LINES = [
    "a\nb",
    "a\n\n  b\n",
    "\n",
    " ",
    "\t",
    "a ",
    " a",
    "a: b",
    "a #b",
    "--- a",
    "...\n",
    "a\r\nb",
    "\r",
    "a \u2028 b:",
]
words = st.sampled_from([*WORDS, *LINES, "2001-12-14 21:59:43.1 +1", "x" * 200, "word " * 2000, "é" * 130])
texts = st.one_of(
    words,
    st.text(max_size=20),
    st.text(alphabet="0123456789_+-.:eExobTZ ~<=", max_size=12),
    st.text(alphabet=st.sampled_from("ab \n\r\t\x85\u2028\u2029'\"\\:#-{}[],&*!|>%@`?\ufeff"), max_size=12),
    st.text(alphabet=st.characters() | HALVES, max_size=4),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**30), 10**30), st.floats(), st.just(-0.0), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
documents = st.dictionaries(texts, values, max_size=5)

# words that YAML might take for something else than a text
plain_words = st.one_of(
    st.sampled_from(
        [word for word in WORDS if word and set(word) <= {*string.ascii_letters, *string.digits, *"_+-.:~<="}]
    ),
    st.text(alphabet="0123456789_+-.:eExobTZ", min_size=1, max_size=12),
    st.from_regex(
        r"[0-9]{4}-[0-1]?[0-9]-[0-3]?[0-9]([Tt ][0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,6})?)?", fullmatch=True
    ),
    st.from_regex(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[-+][0-9]{1,2}(:[0-9]{2})?)", fullmatch=True
    ),
    st.text(alphabet=string.ascii_letters, min_size=1, max_size=5),
)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, and of the same types, in the same order."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        pairs = zip(a.items(), b.items(), strict=True) if len(a) == len(b) else [((0, 0), (1, 1))]
        return all(same(key, other) and same(x, y) for (key, x), (other, y) in pairs)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, datetime.datetime) and isinstance(b, datetime.datetime):
        return a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.utcoffset() == b.utcoffset()
    return type(a) is type(b) and a == b


def by_ruamel(value: Any) -> bytes:
    """A document as earlier versions wrote it."""
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 4096
    buffer = io.BytesIO()
    writer.dump(value, buffer)
    return buffer.getvalue()


def read_by_ruamel(data: bytes) -> Any:
    return YAML(typ="safe", pure=True).load(data.decode())


def read(function: Callable[[bytes], Any], data: bytes) -> Any:
    """What a reader makes of a document; the class `Exception` where it refuses it."""
    try:
        return function(data)
    except (StorageError, YAMLError, ValueError):
        return Exception


@pytest.fixture(scope="module", params=["libyaml", "pure"], autouse=True)
def parser(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both parsers of PyYAML; an installation may have no libyaml."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "pure":
            patch.setattr(yaml_text, "_Loader", yaml_text._PureLoader)
            patch.setattr(yaml_text, "_Dumper", yaml_text._PureDumper)
        yield


@cases(12, 500)
@given(documents)
def test_what_is_written_is_read_again(document: dict[str, Any]) -> None:
    data = dump_yaml(document)
    assert same(load_yaml(data, "x"), document)
    assert data.count(b"\nprovenance:") == ("provenance" in list(document)[1:]), "nothing else begins a line"


@cases(12, 500)
@given(documents)
def test_others_read_the_same_by_yaml_1_1_and_1_2(document: dict[str, Any]) -> None:
    data = dump_yaml(document)
    assert same(yaml.load(data, yaml.SafeLoader), document)
    assert same(read_by_ruamel(data), document)


@cases(12, 500)
@given(texts)
def test_a_text_takes_one_line_and_is_shown_as_it_is(text: str) -> None:
    data = dump_yaml({"a": text})
    assert data.count(b"\n") == 1
    if text.isprintable() and not set(text) & set("'\"\\"):
        assert text in data.decode()


@cases(12, 500)
@given(documents)
def test_what_ruamel_wrote_is_read_alike(document: dict[str, Any]) -> None:
    data = by_ruamel(document)
    expected = read(read_by_ruamel, data)
    if expected is not Exception:  # it cannot read all that it writes
        assert same(load_yaml(data, "x"), {str(key): value for key, value in expected.items()})


@cases(12, 500)
@given(plain_words)
def test_plain_words_are_read_as_in_yaml_1_2(word: str) -> None:
    lines = [f"a: {word}\n", f"a:\n- {word}\n", f"{word}: a\n"]
    if ":" not in word:  # in brackets, it is no part of words to libyaml
        lines.append(f"a: [{word}]\n")
    for line in lines:
        expected = read(read_by_ruamel, line.encode())
        found = read(lambda data: load_yaml(data, "x"), line.encode())
        if word == "<<" and found is Exception:
            continue  # entries of another mapping are refused here
        if isinstance(expected, dict):
            expected = {str(key): value for key, value in expected.items()}
        assert same(found, expected) or (found is expected), (line, found, expected)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "a: {b: 1, b: 2}",
        "a: &a {b: 1}\nc:\n  <<: *a",
        "a: !!binary aGVsbG8=",
        "a: !!set {b}",
        "a: !!int x",
        "a: !!bool x",
        "a: !!timestamp x",
        "a: !!float x",
        "a: !mine x",
        "a: *b",
        "? [1]\n: 2",
        "a: 2020-13-45",
        "a: 9" + "9" * 5000,
        "- " * 100_000,
        "? " * 50_000,
        "a: " + "- " * 100_000,
        "\n".join(" " * i + "a:" for i in range(1000)),
        "\n".join(" " * i + "- a:" for i in range(1000)),
        "a: " + "[" * 100_000,
        "a: " + "{a: " * 100_000,
    ],
    ids=lambda text: text[:24],
)
def test_what_is_no_plain_data_is_refused(text: str) -> None:
    with pytest.raises(StorageError, match="not readable as YAML"):
        load_yaml(text.encode(), "x")


def test_a_document_may_be_as_deep_as_a_schema() -> None:
    document: Any = 1
    for _ in range(90):
        document = {"a": [document]}
    assert load_yaml(dump_yaml(document), "x") == document
