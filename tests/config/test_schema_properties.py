"""Whatever the file, it is taken or refused with one of our errors."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.config.file import CONFIG_NAME
from scythe_cli.config.schema import Config, load_config
from scythe_cli.errors import ConfigError
from tests.fuzzing import cases

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True).filter(
    lambda name: name.lower()[:3] not in {"con", "prn", "aux", "nul", "com", "lpt"}
)
experiments = st.fixed_dictionaries(
    {"entrypoint": st.sampled_from(["m:f", "a.b:C.d"])},
    optional={
        "execution_timeout": st.sampled_from(["10m", "1h30m", 5, 0.5]),
        "memory_limit": st.sampled_from(["4GB", 1024]),
        "retries": st.integers(0, 100),
        "max_depth": st.integers(0, 10),
        "factor": st.integers(1, 100_000),
        "specs_per_task": st.just("auto") | st.integers(1, 10**6),
    },
)
documents = st.fixed_dictionaries(
    {"experiments": st.dictionaries(names, experiments, max_size=3)},
    optional={
        "scythe": st.fixed_dictionaries(
            {}, optional={"storage": st.just("runs"), "engine": st.just("local"), "workers": st.integers(1, 1024)}
        ),
        "hatchet": st.fixed_dictionaries({}, optional={"embedded": st.booleans()}),
    },
)
leaves = (
    st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda x: float(f"{x:.5f}") if abs(x) < 1e9 else 1.5)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=8)
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abz. \n\x1b", max_size=4), inner, max_size=2),
    max_leaves=4,
)


def toml(value: Any) -> str:
    """A value as inline TOML; its strings are nearly those of JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=not isinstance(value, str))


def load(text: str | bytes) -> Config | ConfigError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CONFIG_NAME
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            return load_config(path)
        except ConfigError as error:
            return error


@given(documents)
@cases(20, at_night=500)
def test_what_is_allowed_is_taken(document: dict[str, Any]) -> None:
    config = load("\n".join(f"{key} = {toml(value)}" for key, value in document.items()))
    assert isinstance(config, Config), config
    assert list(config.experiments) == list(document["experiments"])
    for name, given_ in document["experiments"].items():
        experiment = config.experiments[name]
        assert experiment.entrypoint == given_["entrypoint"]
        assert experiment.retries == given_.get("retries")
        assert experiment.specs_per_task == given_.get("specs_per_task", "auto")


@given(documents, st.data())
@cases(40, at_night=600)
def test_anything_in_any_place_is_taken_or_refused(document: dict[str, Any], data: st.DataObject) -> None:
    where = data.draw(st.sampled_from(["", "scythe", "hatchet", "experiments", "experiment"]))
    target = document
    if where == "experiment":
        target = document["experiments"].setdefault("some", {"entrypoint": "m:f"})
    elif where:
        target = document.setdefault(where, {})
    allowed = ["entrypoint", "execution_timeout", "memory_limit", "retries", "specs_per_task", "storage", "workers"]
    key = data.draw(st.sampled_from([*allowed, "scythe", "embedded"]) | st.text("ab.\n\x1b\"'", max_size=5))
    target[key] = data.draw(anything)
    result = load("\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in document.items()))
    if isinstance(result, ConfigError):
        assert all(line.isprintable() for line in str(result).splitlines())
        assert CONFIG_NAME in result.message


@given(st.binary(max_size=60) | st.text("[]{}=.\"'a1#\n ", max_size=60).map(str.encode))
@cases(40, at_night=600)
def test_any_bytes_are_taken_or_refused(text: bytes) -> None:
    result = load(text)
    assert isinstance(result, (Config, ConfigError))
