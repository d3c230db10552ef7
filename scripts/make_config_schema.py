"""Writes the JSON schema of experiments.toml, for editors: `python -m scripts.make_config_schema [--check]`.

It is made from the models that check the file, and lies in the package, from where `scythe init` copies it. What TOML
cannot say, such as null, is left out; durations and sizes are what the file takes, not what the models make of them.
"""

from __future__ import annotations

import json
import sys
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from scripts.made_files import ROOT, write_or_check
from scythe_cli.config.schema import Config, ExperimentConfig
from scythe_cli.config.values import FIELD_NAME
from scythe_cli.core.distribution import ENGINES, entry_point_names

FILE = ROOT / "scythe_cli" / "config" / "experiments.schema.json"

DURATION = {
    "anyOf": [
        {"type": "string", "pattern": r"^ *([0-9]+(\.[0-9]+)? ?([mM]?[sS]|[mMhHdD]) ?)+ *$"},
        {"type": "number", "exclusiveMinimum": 0},
    ]
}
SIZE = {
    "anyOf": [
        {"type": "string", "pattern": r"^ *[0-9]+(\.[0-9]+)? *[kKmMgGtT]?i?[bB]? *$"},
        {"type": "integer", "minimum": 1},
    ]
}
_SIZES = {"memory_limit": SIZE, "memory": {"anyOf": [*SIZE["anyOf"], FIELD_NAME]}}
"""Keys that are numbers to the models, and may be text in the file."""

_NAMED = ("properties", "definitions")
"""Keys of a schema below which keys are names."""


class _AsWritten(GenerateJsonSchema):
    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        del schema
        return dict(DURATION)


def schema() -> dict[str, Any]:
    """What the file should hold."""
    made = cast("dict[str, Any]", _tidied(_raw()))
    assert ExperimentConfig.model_fields.keys() >= _SIZES.keys()
    keys = made["definitions"]["ExperimentConfig"]["properties"]
    for name, form in _SIZES.items():
        keys[name] = {"description": keys[name]["description"], **form}
    # an engine that is installed beside ours has a name and a table of its own
    made["definitions"]["ScytheConfig"]["properties"]["engine"]["examples"] = entry_point_names(ENGINES)
    made["additionalProperties"] = {"type": "object"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **made, "title": "experiments.toml"}


def _raw() -> dict[str, Any]:
    made = Config.model_json_schema(ref_template="#/definitions/{model}", schema_generator=_AsWritten)
    return {"definitions": made.pop("$defs"), **made}  # as the draft calls it that most editors know


def _tidied(part: Any) -> Any:
    """Without titles, which say the names again, and without null."""
    if isinstance(part, list):
        return [_tidied(each) for each in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    tidy = {
        key: {name: _tidied(value) for name, value in inner.items()} if key in _NAMED else _tidied(inner)
        for key, inner in cast("dict[str, Any]", part).items()
        if key != "title" and not (key == "default" and (inner is None or isinstance(inner, dict)))
    }
    choices = tidy.get("anyOf", [])
    real = [choice for choice in choices if choice != {"type": "null"}]
    if len(real) == 1 and len(choices) == 2:
        del tidy["anyOf"]
        tidy.update(real[0])
    elif choices:
        tidy["anyOf"] = real
    return tidy


def main() -> int:
    """Write the file, or compare it."""
    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    return write_or_check("scripts.make_config_schema", {FILE: text}, [FILE], made=f"{FILE.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
