"""The schema that editors get says of each file what the program says."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from scripts.make_config_schema import FILE
from scythe_cli.config.schema import Config, ExperimentConfig, load_config
from scythe_cli.errors import ConfigError

SCHEMA = json.loads(files("scythe_cli.config").joinpath(FILE.name).read_text(encoding="utf-8"))

VALUES = (
    *('"auto"', '"row"', '"project"', '"a:b"', '"failed"', '"always"', '"fork"', '"10m"', '"1h 30m"', '"90 S"', '""'),
    *('"500MB"', '"4GiB"', '"4 g"', '"many"', '"-1s"', '["failed", "lost"]', '["never"]', "[]"),
    *("0", "1", "3", "101", "-1", "1.5", "2000000", "true", "{ a = 1 }"),
)
OTHER_RULES = {"entrypoint"}
"""Keys of which the program asks more than their form."""


def says(text: str, folder: Path) -> bool:
    path = folder / "experiments.toml"
    path.write_text(text, encoding="utf-8")
    try:
        load_config(path)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("key", [*ExperimentConfig.model_fields, "unknown"])
def test_the_keys_of_an_experiment(key: str, tmp_path: Path) -> None:
    Draft7Validator.check_schema(SCHEMA)
    validator = Draft7Validator(SCHEMA)
    for value in VALUES:
        entrypoint = "" if key == "entrypoint" else 'entrypoint = "a:b"\n'
        text = f"[experiments.e]\n{entrypoint}{key} = {value}\n"
        is_valid = validator.is_valid(tomllib.loads(text))
        if key in OTHER_RULES:
            assert is_valid or not says(text, tmp_path), text
        else:
            assert is_valid == says(text, tmp_path), text


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[scythe]\nstorage = "s3://b/p"\nengine = "local"\nworkers = 3',
        "[scythe]\nworkers = 0",
        "[scythe]\nwokers = 1",
        "[hatchet]\nembedded = true",
        "[hatchet]\nembedded = 1",
        "[experiments.e]\nretries = 1",
        "scythe = 1",
        'name = "x"',
    ],
)
def test_the_other_tables(text: str, tmp_path: Path) -> None:
    assert Draft7Validator(SCHEMA).is_valid(tomllib.loads(text)) == says(text, tmp_path)


def test_every_key_is_described() -> None:
    for table in (SCHEMA, *SCHEMA["definitions"].values()):
        assert all(each["description"] for each in table["properties"].values())
    assert SCHEMA["properties"].keys() == Config.model_fields.keys()
