"""Whatever experiments.toml and the environment say, a project is opened or refused with one of our errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scythe_cli.config.file import CONFIG_NAME
from scythe_cli.config.location import find_storage
from scythe_cli.errors import ScytheError
from scythe_cli.services.project import open_project
from tests.fuzzing import cases, check_message, spoiled, writes_only_below

GOOD = b"""# runs of one study
[scythe]
storage = "runs"
engine = "local"
workers = 2

[hatchet]
embedded = false

[experiments.energy]
entrypoint = "models.building:simulate"
execution_timeout = "10m"
schedule_timeout = 90
memory_limit = "4GB"
retries = 1
max_depth = 1
factor = 10
specs_per_task = "auto"

[experiments."other.one"]
entrypoint = "a:b"
"""
PIECES = [
    *(b"[", b"]", b"[[", b"]]", b"=", b'"', b"'''", b'"""', b"\n", b"\r", b".", b",", b"{", b"}", b"#", b"\0", b"\xff"),
    *(b"inf", b"nan", b"1e999", b"0x", b"99999999999999999999", b"1979-05-27", b"true", b"\xef\xbb\xbf", b"\\u0000"),
    *(b"[scythe]\n", b"[experiments]\n", b"[experiments.x]\n", b"storage = ", b'"s3://b/p"', b'"../.."', b'"~root"'),
    *(b'"~nobody-of-this-name"', b'"s3:/"', b'"http://x"', b'"\\u0000"', b'"\\n"', b"[experiments.'..']\n", b"\x1b[2J"),
]
location = st.one_of(
    st.sampled_from(
        ["", " ", ".", "..", "/", "~", "~x/y", "s3://", "s3:/", "S3://a b", "s3://u:p@b/x", "s3://bkt/..", "ftp://x"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map("s3://bucket/{}".format),
    st.text("s3:/a.~%$\\ \n\x1b", max_size=12),
    st.integers(200, 5000).map(lambda n: "x" * n),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


def try_project(folder: Path, **options: Any) -> None:
    """Open a project and ask for what needs neither a module nor a server."""
    with writes_only_below(folder):
        try:
            project = open_project(start=folder, **options)
            for name in project.experiment_names():
                assert project.config.experiments[name].entrypoint
            storage = project.storage
            assert storage.location
            assert find_storage(start=folder, storage=options.get("storage")).location == storage.location
        except ScytheError as error:
            check_message(error)
    assert [path.name for path in folder.iterdir()] == [CONFIG_NAME]


@given(spoiled(GOOD, PIECES) | st.binary(max_size=80))
@example(GOOD)
@example(b"[scythe]\nstorage = 's3://x@y/z'")
@cases(30)
def test_any_file_is_a_configuration_or_refused(folder: Path, data: bytes) -> None:
    (folder / CONFIG_NAME).write_bytes(data)
    try_project(folder)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "storage": location,
            "engine": st.sampled_from(["local", "hatchet", "", "LOCAL"]) | st.text(max_size=5),
        },
    ),
    st.dictionaries(
        st.sampled_from(
            ["SCYTHE_STORAGE_URI", "SCYTHE_STORAGE_BUCKET", "SCYTHE_STORAGE_BUCKET_PREFIX", "SCYTHE_ENGINE"]
        ),
        location.filter(lambda text: "\0" not in text),
        max_size=2,
    ),
)
@cases(30)
def test_any_option_and_environment_is_taken_or_refused(
    folder: Path, options: dict[str, str], environment: dict[str, str]
) -> None:
    (folder / CONFIG_NAME).write_bytes(GOOD)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        # relative places are taken from the working directory
        before = Path.cwd()
        os.chdir(folder)
        try:
            try_project(folder, **options)
        finally:
            os.chdir(before)
