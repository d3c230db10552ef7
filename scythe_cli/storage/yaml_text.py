"""Plain data as YAML 1.2, by libyaml where PyYAML has it: `run.manifest` is where documents are written and read.

PyYAML takes plain words for what they were in YAML 1.1: `no` is false to it, and `12:30` is 750. What is read here is
read as YAML 1.2, as the manifests of all versions were written; what is written here means the same by both.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, ScalarNode
from yaml.resolver import Resolver

__all__ = ["dump", "load"]

Resolvers = dict[str, list[tuple[str, "re.Pattern[str]"]]]

_MAX_DEPTH = 200
"""Deeper documents are refused: libyaml's callers follow each level with calls of C, which end the process at last."""

_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = f"{_TAG}null", f"{_TAG}bool", f"{_TAG}int", f"{_TAG}float"
_MERGE, _VALUE, _STR, _TIMESTAMP = f"{_TAG}merge", f"{_TAG}value", f"{_TAG}str", f"{_TAG}timestamp"

_PLAIN: list[tuple[str, str, str]] = [
    (_BOOL, "tTfF", r"true|True|TRUE|false|False|FALSE"),
    (
        _FLOAT,
        "-+0123456789.",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
    ),
    (_INT, "-+0123456789", r"[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+"),
    (_MERGE, "<", r"<<"),
    (_NULL, "~nN", r"~|null|Null|NULL"),
    (
        _TIMESTAMP,
        "0123456789",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
        r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
    ),
    (_VALUE, "=", r"="),
]
"""Which plain words are no texts in YAML 1.2, with the characters that they begin with, as ruamel.yaml reads them."""


def _resolvers() -> Resolvers:
    by_first: defaultdict[str, list[tuple[str, re.Pattern[str]]]] = defaultdict(list)
    for tag, firsts, pattern in _PLAIN:
        for first in firsts:
            by_first[first].append((tag, re.compile(rf"(?:{pattern})$")))
    by_first[""] = [(_NULL, re.compile("$"))]
    return dict(by_first)


def _both(new: Resolvers) -> Resolvers:
    """What is no text by YAML 1.2 or by YAML 1.1; `y` and `n`, which are texts to PyYAML, are none to others."""
    old: Resolvers = Resolver.yaml_implicit_resolvers
    both = {first: [*new.get(first, []), *old.get(first, [])] for first in new.keys() | old.keys()}
    for first in "yYnN":
        both[first] = [*both.get(first, []), (_BOOL, re.compile("[yYnN]$"))]
    return both


_RESOLVERS = _resolvers()


def _construct_bool(loader: Any, node: Any) -> bool:
    text = loader.construct_scalar(node).lower()
    if text not in ("true", "false"):
        raise ConstructorError(None, None, f"{text!r} is no truth value", node.start_mark)
    return text == "true"


def _construct_int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    base = {"0b": 2, "0x": 16, "0o": 8}.get(text.lstrip("+-")[:2], 10)
    return int(text, base)


def _construct_float(loader: Any, node: Any) -> float:
    text = loader.construct_scalar(node).replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _construct_timestamp(loader: Any, node: Any) -> Any:
    if not SafeConstructor.timestamp_regexp.match(loader.construct_scalar(node)):
        raise ConstructorError(None, None, f"{node.value!r} is no time", node.start_mark)
    return SafeConstructor.construct_yaml_timestamp(loader, node)


_Construct = Callable[[Any, Any], Any]
_CONSTRUCTORS: dict[str | None, _Construct] = {
    **{tag: SafeConstructor.yaml_constructors[tag] for tag in (_NULL, _STR, f"{_TAG}seq", f"{_TAG}map", None)},
    _BOOL: _construct_bool,
    _INT: _construct_int,
    _FLOAT: _construct_float,
    _TIMESTAMP: _construct_timestamp,
}


class _Reading:
    """What a loader of PyYAML does otherwise here, whether it is that of libyaml or not."""

    yaml_implicit_resolvers = _RESOLVERS
    yaml_constructors = _CONSTRUCTORS
    _depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Follow how deep a node is: both parsers ask this before they go into one."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ConstructorError(None, None, "nested too deeply")

    def ascend_resolver(self) -> None:
        """Leave a node."""
        self._depth -= 1

    def flatten_mapping(self, node: Any) -> None:
        """Refuse what takes entries of other mappings over: it is no plain data, and may explode."""
        for key, _ in node.value:
            if key.tag == _MERGE:
                raise ConstructorError(None, None, 'the key "<<" is not supported', key.start_mark)
            if key.tag == _VALUE:
                key.tag = _STR

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Make a dictionary, and refuse two entries of the same name."""
        mapping: dict[Any, Any] = SafeConstructor.construct_mapping(self, node, deep=deep)  # pyright: ignore[reportArgumentType]
        if isinstance(node, MappingNode) and len(mapping) < len(node.value):
            raise ConstructorError(None, None, "found a duplicate key", node.start_mark)
        return mapping


class _Writing:
    """What a dumper of PyYAML does otherwise here."""

    yaml_implicit_resolvers = _both(_RESOLVERS)

    def ignore_aliases(self, data: Any) -> bool:
        """Write each thing where it is, however often."""
        return True

    def represent_str(self, data: str) -> ScalarNode:
        """Keep texts of several lines on one, so that no reader joins them in its own way."""
        return ScalarNode(_STR, data, style='"' if _BREAKS.search(data) else None)


_BREAKS = re.compile("[\n\r\x85\u2028\u2029]")


_FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FAST_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _PureLoader(_Reading, yaml.SafeLoader):
    pass


class _Loader(_Reading, _FAST_LOADER):
    pass


class _PureDumper(_Writing, yaml.SafeDumper):
    pass


class _Dumper(_Writing, _FAST_DUMPER):
    pass


for _dumper in (_PureDumper, _Dumper):
    _dumper.add_representer(str, _Writing.represent_str)

_ESCAPED_CHARACTERS = rb"\U000"
_SURROGATES = re.compile(r"\\[uU](?:0000)?[dD][89a-fA-F]")


def dump(document: Mapping[str, Any]) -> bytes:
    """Write plain data as a YAML document, in its own order."""
    try:
        data = _dump(document, _Dumper)
    except UnicodeEncodeError:  # half a character, as names of files have it: libyaml can neither write nor read it
        return _dump(document, _PureDumper)
    # libyaml escapes emojis
    return _dump(document, _PureDumper) if _ESCAPED_CHARACTERS in data else data


def _dump(document: Mapping[str, Any], dumper: Any) -> bytes:
    return yaml.dump(
        dict(document),
        Dumper=dumper,
        allow_unicode=True,
        default_flow_style=False,
        encoding="utf-8",
        sort_keys=False,
        width=2**31 - 1,  # lines are not folded: readers of other languages differ in how they join them
    )


def load(text: str) -> Any:
    """Read a YAML document of plain data.

    Raises:
        yaml.YAMLError: If it is none, or has tags of other data.
        ValueError: If a number or a time is none.
    """
    return yaml.load(text, _PureLoader if _SURROGATES.search(text) else _Loader)
