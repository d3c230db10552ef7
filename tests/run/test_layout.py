from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.names import check_experiment_name
from scythe_cli.core.semver import SemVer
from scythe_cli.errors import InvalidInputError
from scythe_cli.run.layout import RunLayout, parse_timestamp, version_claim_key
from tests.fuzzing import cases

RUN = "energy/v1.2.0/2024-05-06_07-08-09"


@pytest.mark.parametrize("name", ["energy", "a", "1", "A.b-c_d", "x" * 128, "v1.0.0", "confuse", "a..b"])
def test_names(name: str) -> None:
    assert check_experiment_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "a\\b",
        "/abs",
        ".hidden",
        "-flag",
        "_x",
        "a b",
        "a\n",
        "a\x00",
        "ünï",
        "x" * 129,
        "ends.",
        "con",
        "NUL.txt",
        "Com1",
        "~",
        "a:b",
        "%2e%2e",
    ],
)
def test_names_that_no_folder_can_have_everywhere(name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be the name of an experiment") as caught:
        check_experiment_name(name)
    assert "Use letters, digits" in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_timestamps() -> None:
    assert parse_timestamp("2024-05-06_07-08-09") == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-05-06",
        "2024-05-06 07-08-09",
        "2024-05-06_07:08:09",
        "2024-5-6_7-8-9",
        "2024-13-06_07-08-09",
        "2024-02-30_07-08-09",
        "2024-05-06_24-08-09",
        "2024-05-06_07-08-99",
        "0000-05-06_07-08-09",
        "٢٠٢٤-05-06_07-08-09",
        "2024-05-06_07-08-09\n",
        "2024-05-06_07-08-09Z",
    ],
)
def test_what_is_no_timestamp(text: str) -> None:
    assert parse_timestamp(text) is None


def test_every_key_of_a_run() -> None:
    layout = RunLayout.from_experiment_id(RUN)
    assert layout is not None
    assert layout == RunLayout("energy", SemVer(major=1, minor=2), datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
    assert layout.experiment_id == RUN
    keys = {
        layout.specs: "specs.pq",
        layout.manifest: "manifest.yml",
        layout.io_spec: "experiment_io_spec.yml",
        layout.input_artifacts: "input_artifacts.yml",
        layout.workflow_spec: "workflow_spec.yml",
        layout.artifacts: "artifacts",
        layout.outcomes: "outcomes",
        layout.outcome_part("000-1"): "outcomes/000-1.pq",
        layout.result_file("plot", "abc", ".png"): "results/plot/abc.png",
        layout.final: "final",
        layout.table("scalars"): "final/scalars.pq",
        layout.key("a", "b"): "a/b",
    }
    assert {key: f"{RUN}/{name}" for key, name in keys.items()} == {key: key for key in keys}
    assert version_claim_key("energy", layout.version) == "energy/.v1.2.0.claim"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "energy",
        "energy/v1.2.0",
        f"{RUN}/specs.pq",
        f"/{RUN}",
        f"{RUN}/",
        "/v1.2.0/2024-05-06_07-08-09",
        "../v1.2.0/2024-05-06_07-08-09",
        "./v1.2.0/2024-05-06_07-08-09",
        "..\\..\\up/v1.2.0/2024-05-06_07-08-09",
        "energy/v1.2/2024-05-06_07-08-09",
        "energy/v1.2.0.9/2024-05-06_07-08-09",
        "energy/v1.2.0/latest",
    ],
)
def test_what_is_no_run(text: str) -> None:
    assert RunLayout.from_experiment_id(text) is None


def test_runs_are_ordered_by_version_and_time() -> None:
    ids = ["e/v1.10.0/2024-01-01_00-00-00", "e/v1.9.0/2024-01-02_00-00-00", "e/v1.9.0/2024-01-01_00-00-00"]
    layouts = [layout for text in ids if (layout := RunLayout.from_experiment_id(text))]
    assert [layout.experiment_id for layout in sorted(layouts)] == ids[::-1]


@given(st.datetimes(datetime(1, 1, 1), timezones=st.just(UTC)), st.integers(0, 99), st.integers(0, 99))
@cases(30, at_night=500)
def test_an_id_is_read_again(moment: datetime, major: int, patch: int) -> None:
    layout = RunLayout("energy", SemVer(major=major, patch=patch), moment.replace(microsecond=0))
    assert RunLayout.from_experiment_id(layout.experiment_id) == layout


def test_the_word_for_the_newest_run_is_no_name() -> None:
    with pytest.raises(InvalidInputError, match="cannot be called 'latest'"):
        check_experiment_name("latest")
