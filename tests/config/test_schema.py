from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from scythe_cli.config.file import CONFIG_NAME, find_config
from scythe_cli.config.schema import Config, load_config
from scythe_cli.errors import ConfigError

FULL = """
[scythe]
storage = "s3://bucket/prefix"
engine = "hatchet"
workers = 2

[hatchet]
embedded = true

[experiments.energy]
entrypoint = "experiments.building:simulate"
execution_timeout = "10m"
schedule_timeout = 90
memory_limit = "4GB"
retries = 0
max_depth = 1
factor = 10
specs_per_task = 5

[experiments."battery.cell-2"]
entrypoint = "battery:Cell.run"
"""


def load(folder: Path, text: str | bytes) -> Config:
    path = folder / CONFIG_NAME
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path)


def test_every_key(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)
    assert (config.scythe.storage, config.scythe.engine, config.scythe.workers) == ("s3://bucket/prefix", "hatchet", 2)
    assert config.hatchet.embedded is True
    energy, cell = config.experiments.values()
    assert energy.execution_timeout == timedelta(minutes=10)
    assert energy.schedule_timeout == timedelta(seconds=90)
    assert energy.memory_limit == 4 * 10**9
    assert (energy.retries, energy.max_depth, energy.factor, energy.specs_per_task) == (0, 1, 10, 5)
    assert cell.entrypoint == "battery:Cell.run"
    assert cell.specs_per_task == "auto"
    left_out = ("execution_timeout", "schedule_timeout", "memory_limit", "retries", "max_depth", "factor")
    assert all(getattr(cell, key) is None for key in left_out)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert (config.scythe.storage, config.scythe.engine, config.scythe.workers) == ("runs", "local", None)
    assert config.hatchet.embedded is False
    assert config.experiments == {}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_windows_lines_are_taken(tmp_path: Path, end: str) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + FULL.replace("\n", end).encode()) == load(tmp_path, FULL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("storage = 'runs'", "unknown key 'storage'; allowed are scythe, hatchet, slurm, experiments"),
        ("[scyhte]", "unknown key 'scyhte'; did you mean 'scythe'?"),
        ("[scythe]\nstroage = 'x'", "unknown key 'scythe.stroage'; did you mean 'storage'?"),
        ("[hatchet]\ntoken = 'x'", "unknown key 'hatchet.token'; allowed are embedded"),
        (
            "[experiments.a]\nentrypoint='m:f'\nretires=1",
            "unknown key 'experiments.a.retires'; did you mean 'retries'?",
        ),
        ("[experiments.int]\nentrypoint='m:f'\nzzz=1", "unknown key 'experiments.int.zzz'; allowed are entrypoint, "),
        ('"a\\n\\u001b[2J" = 1', "unknown key 'a\\n\\x1b[2J'; allowed are"),
        ("scythe = 3", "'scythe' is 3; it should be a table"),
        ("experiments = ['a']", "'experiments' is ['a']; it should be a table"),
        ("[experiments]\na = 'm:f'", "'experiments.a' is 'm:f'; it should be a table"),
        ("[experiments.a]", "'experiments.a.entrypoint' is missing"),
        ("[experiments.int]", "'experiments.int.entrypoint' is missing"),
        ("[scythe]\nstorage = ''", "'scythe.storage' is ''; it should have at least 1 character"),
        ("[scythe]\nstorage = 3", "'scythe.storage' is 3; it should be text"),
        ("[scythe]\nstorage = {a = 1}", "'scythe.storage' is a table; it should be text"),
        ("[scythe]\nengine = 'Local'", "'scythe.engine' is 'Local'; it should be 'local', 'hatchet' or 'slurm'"),
        ("[scythe]\nworkers = true", "'scythe.workers' is true; it should be a whole number"),
        ("[scythe]\nworkers = '2'", "'scythe.workers' is '2'; it should be a whole number"),
        ("[scythe]\nworkers = 2.0", "'scythe.workers' is 2.0; it should be a whole number"),
        ("[scythe]\nworkers = 0", "'scythe.workers' is 0; it should be 1 or more"),
        ("[scythe]\nworkers = 1025", "'scythe.workers' is 1025; it should be 1024 or less"),
        ("[scythe]\nworkers = 1979-05-27", "'scythe.workers' is datetime.date(1979, 5, 27); it should be a whole"),
        (f"[scythe]\nworkers = 0x{'f' * 5000}", "'scythe.workers' is a number of thousands of digits; it should be"),
        (f"[scythe]\nworkers = {'1' * 5000}", "not valid TOML: Exceeds the limit"),
        ("[slurm]\npartitio = 'x'", "unknown key 'slurm.partitio'; did you mean 'partition'?"),
        ("[slurm]\ntime = '5s'", "'slurm.time' is '5s'; it should be a minute or more"),
        ("[slurm]\nextra = ['--array=3']", "'slurm.extra' is ['--array=3']; --array is set by scythe"),
        ("[experiments.a]\nentrypoint='m:f'\nslurm={cpu=3}", "unknown key 'experiments.a.slurm.cpu'; did you mean"),
        ("[hatchet]\nembedded = 1", "'hatchet.embedded' is 1; it should be true or false"),
        ("[hatchet]\nembedded = 'true'", "'hatchet.embedded' is 'true'; it should be true or false"),
    ],
)
def test_mistakes_name_file_key_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{CONFIG_NAME}: {message}")) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == 3
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("execution_timeout = '5 parsecs'", "'5 parsecs'; it is not a duration; write it like '90s', '10m' or '1h30m'"),
        ("execution_timeout = '0s'", "'0s'; it must be longer than zero"),
        ("execution_timeout = -1", "-1; it must be longer than zero"),
        ("execution_timeout = inf", "inf; it is too long a duration"),
        ("execution_timeout = nan", "nan; it is not a duration"),
        ("execution_timeout = true", "true; write it like '90s', '10m' or '1h30m'"),
        ("execution_timeout = [1]", "[1]; write it like '90s', '10m' or '1h30m'"),
        ("schedule_timeout = 10:00:00", "datetime.time(10, 0); write it like '90s', '10m' or '1h30m'"),
        ("memory_limit = 'lots'", "'lots'; it is not a size; write it like '500MB' or '4GB'"),
        ("memory_limit = 0", "0; it must be larger than zero"),
        ("memory_limit = 1.5", "1.5; write it like '500MB' or '4GB'"),
        ("memory_limit = false", "false; write it like '500MB' or '4GB'"),
        (f"memory_limit = '{'9' * 400}GB'", f"'{'9' * 76}...; it is more than any machine has"),
        ("retries = -1", "-1; it should be 0 or more"),
        ('retry_on = ["pending"]', "'pending'; it should be 'failed', 'timeout', 'crashed' or 'lost'"),
        ("retries = 101", "101; it should be 100 or less"),
        ("retries = true", "true; it should be a whole number"),
        ("max_depth = 11", "11; it should be 10 or less"),
        ("factor = 0", "0; it should be 1 or more"),
        ("specs_per_task = 0", "0; it should be 'auto' or 1 or more"),
        ("specs_per_task = 'Auto'", "'Auto'; it should be 'auto' or a whole number"),
        ("specs_per_task = true", "true; it should be 'auto' or a whole number"),
    ],
)
def test_mistakes_in_an_experiment(tmp_path: Path, line: str, message: str) -> None:
    key = line.partition(" ")[0]
    with pytest.raises(ConfigError, match=re.escape(f"{CONFIG_NAME}: 'experiments.a.{key}' is {message}")):
        load(tmp_path, f"[experiments.a]\nentrypoint = 'm:f'\n{line}")


@pytest.mark.parametrize(
    "entrypoint", ["", "m", ":f", "m:", "m:f:g", "m/n.py:f", "../m:f", "m:f()", "m..n:f", "m :f", "1m:f", "m:f\n"]
)
def test_entrypoints_are_names(tmp_path: Path, entrypoint: str) -> None:
    toml = "".join(f"\\u{ord(c):04x}" for c in entrypoint)
    with pytest.raises(ConfigError, match=r"write it as 'module:function', such as 'experiments\.building:simulate'"):
        load(tmp_path, f'[experiments.a]\nentrypoint = "{toml}"')


@pytest.mark.parametrize(
    "name", ["..", "../up", "a/b", "a\\\\b", "/etc", "", " ", "CON", "a\\u0000", "\\u001b[2J", "ö"]
)
def test_names_that_climb_or_break_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\[experiments\]: .* cannot be the name of an experiment") as caught:
        load(tmp_path, f'[experiments."{name}"]\nentrypoint = "m:f"')
    assert "Use letters, digits" in str(caught.value.hint)
    assert str(caught.value).isprintable() or "\n" in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scythe\n", "not valid TOML: Expected ']'"),
        ("[scythe]\nworkers = 1\nworkers = 2\n", "not valid TOML: Cannot overwrite a value"),
        ("[scythe]\n[scythe]\n", r"not valid TOML: Cannot declare \('scythe',\) twice"),
        ("a = " + "[" * 5000, "not valid TOML: nested too deeply"),
        (b"[scythe]\nstorage = '\xff'", "byte 20 is not UTF-8"),
        ("[scythe]\n".encode("utf-16"), "byte 0 is not UTF-8"),
        (b"\x00" * 10, "not valid TOML"),
        (b"#" * 1_000_001, "larger than 1 MB, so not a configuration file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=f"{CONFIG_NAME}: {message}"):
        load(tmp_path, text)


def test_a_deeply_nested_table_is_one_unknown_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'a'"):
        load(tmp_path, f"[{'.'.join('a' * 3000)}]")


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        load_config(tmp_path / "other.toml")
    assert caught.value.hint == "`scythe init` makes a working project."
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_an_endless_file_ends() -> None:
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        load_config(Path("/dev/zero"))


def test_all_mistakes_are_told_at_once_but_not_endlessly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "".join(f"[experiments.e{i}]\nretries = -1\n" for i in range(8)))
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[0].endswith("'experiments.e0.entrypoint' is missing")
    assert lines[1].endswith("'experiments.e0.retries' is -1; it should be 0 or more")
    assert lines[-1] == "… and 6 more"


def test_the_path_is_shown_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ö dir"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^ö dir/{CONFIG_NAME}: unknown"):
        load(folder, "x = 1")
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=f"^{CONFIG_NAME}: unknown"):
        load(folder, "x = 1")


def test_the_file_is_found_from_below(tmp_path: Path) -> None:
    below = tmp_path / "a b" / "c"
    below.mkdir(parents=True)
    (tmp_path / "a b" / CONFIG_NAME).mkdir()
    assert find_config(below) is None
    (tmp_path / CONFIG_NAME).write_text("")
    assert find_config(below) == tmp_path / CONFIG_NAME, "a folder of that name is passed over"
    (below / CONFIG_NAME).write_text("")
    assert find_config(below) == below / CONFIG_NAME
