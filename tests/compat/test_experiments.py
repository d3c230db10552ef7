"""The names of scythe-engine, as programs that were written for it use them."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import AwareDatetime, BaseModel

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, S3Url
from scythe_cli.errors import InvalidInputError
from scythe_cli.experiments import (
    BaseExperiment,
    ExperimentRun,
    ExperimentSpecsMismatchError,
    SemVer,
    SerializableRunnable,
    VersionedExperiment,
)
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.sampling.cells.changes import changes_of_specs
from scythe_cli.scatter_gather import ScatterGatherResult, combine_experiment_outputs, sift_results
from scythe_cli.settings import ScytheStorageSettings


class House(ExperimentInputSpec):
    area: float


class Bill(ExperimentOutputSpec):
    cost: float


@pytest.fixture
def simulate() -> Any:
    @ExperimentRegistry.Register(name="house")
    def simulate(input_spec: House, tempdir: Path) -> Bill:
        assert tempdir.is_dir()
        return Bill(cost=input_spec.area * 2)

    return simulate


def test_a_deep_copy_shares_the_runnable(simulate: Any) -> None:
    experiment = BaseExperiment(runnable=simulate)
    other = experiment.model_copy(deep=True)
    assert other is not experiment
    assert other == experiment
    other.run_name = "other"
    assert other.runnable is experiment.runnable is simulate
    assert other.run_name != experiment.run_name
    assert other.storage_settings == experiment.storage_settings
    assert other.storage_settings is not experiment.storage_settings
    assert copy.deepcopy(simulate) is copy.copy(simulate) is simulate


def test_types_may_be_written_behind_the_names(simulate: Any) -> None:
    experiment = BaseExperiment[House, Bill](runnable=simulate)
    version = VersionedExperiment[House, Bill](base_experiment=experiment, version=SemVer(major=1))
    run: ExperimentRun[House, Bill] = ExperimentRun[House, Bill](
        versioned_experiment=version, timestamp=datetime(2026, 1, 2, tzinfo=UTC)
    )
    assert run.experiment_id == "house/v1.0.0/2026-01-02_00-00-00"

    class Ref(BaseModel):
        run: ExperimentRun[House, Bill]

    again = Ref.model_validate(json.loads(json.dumps(Ref(run=run).model_dump(mode="json")))).run
    assert again.versioned_experiment.base_experiment.runnable is simulate
    assert again.experiment_id == run.experiment_id


def test_a_spec_may_hold_a_runnable(simulate: Any) -> None:
    class Training(ExperimentInputSpec, SerializableRunnable):
        rounds: int = 1

    spec = Training(runnable=simulate)
    assert spec.model_dump(mode="json")["runnable"] == "house"
    assert Training.model_validate_json(spec.model_dump_json()).runnable is simulate
    assert spec.model_copy(deep=True).runnable is simulate
    assert "runnable" not in spec.make_multiindex().names


def test_the_keys_of_a_run_in_a_bucket(simulate: Any) -> None:
    settings = ScytheStorageSettings(BUCKET="data", BUCKET_PREFIX="deep/er")
    experiment = BaseExperiment(runnable=simulate, run_name="City 1/baseline", storage_settings=settings)
    version = VersionedExperiment(base_experiment=experiment, version=SemVer(major=2))
    run = ExperimentRun(versioned_experiment=version, timestamp=datetime(2026, 1, 2, tzinfo=UTC))
    folder = "deep/er/City 1/baseline/v2.0.0/2026-01-02_00-00-00/"
    assert run.prefix == folder
    assert run.scalars_filekey == f"{folder}final/scalars.pq"
    assert run.final_results_dirkey == f"{folder}final/"
    assert run.specs_filekey == f"{folder}specs.pq"
    assert run.manifest_filekey == f"{folder}manifest.yml"
    assert run.artifact_prefix == f"{folder}artifacts/"
    assert run.workflow_spec_filekey == f"{folder}workflow_spec.yml"
    assert run.as_uri(run.specs_filekey) == S3Url(f"s3://data/{folder}specs.pq")
    assert str(run.construct_manifest("id").specs_uri) == str(S3Url(f"s3://data/{folder}specs.pq"))


def test_where_a_run_in_a_folder_is(simulate: Any, tmp_path: Path) -> None:
    settings = ScytheStorageSettings(URI=str(tmp_path / "runs"))
    experiment = BaseExperiment(runnable=simulate, storage_settings=settings)
    version = VersionedExperiment(base_experiment=experiment, version=SemVer(major=2))
    run = ExperimentRun(versioned_experiment=version, timestamp=datetime(2026, 1, 2, tzinfo=UTC))
    assert run.as_uri(run.specs_filekey) == tmp_path / "runs/house/v2.0.0/2026-01-02_00-00-00/specs.pq"


@pytest.mark.parametrize(
    "name", ["City/baseline", "City 1/base line", "a/v1.0.0/2026-01-02_00-00-00/sample", "x/y/z", "2026/x"]
)
def test_runs_may_be_kept_in_folders_of_folders(simulate: Any, name: str) -> None:
    assert BaseExperiment(runnable=simulate, run_name=name).base_id == name


@pytest.mark.parametrize(
    "name",
    [
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/..",
        " a",
        "a ",
        "a/ b",
        "a\\b",
        "a/v1.0.0",
        "a/2026-01-02_00-00-00",
        "a/con",
        "x" * 600,
    ],
)
def test_other_names_are_refused(simulate: Any, name: str) -> None:
    with pytest.raises(InvalidInputError):
        BaseExperiment(runnable=simulate, run_name=name)


def test_specs_of_another_model_are_refused(simulate: Any) -> None:
    with pytest.raises(ExperimentSpecsMismatchError, match="expected specs of type House, got ExperimentInputSpec"):
        BaseExperiment(runnable=simulate).check_spec_type(ExperimentInputSpec())


def test_what_the_function_gets_otherwise_is_told_of_specs_too() -> None:
    class Odd(ExperimentInputSpec):
        at: AwareDatetime
        number: int | float
        anything: Any = None

    oslo = timezone(timedelta(hours=1))
    plain = Odd(at=datetime(2026, 1, 1, tzinfo=UTC), number=1.5, anything=["a", 1])
    assert changes_of_specs(Odd, [plain]) == []
    odd = Odd(at=datetime(2026, 1, 1, tzinfo=oslo), number=1, anything=date(2026, 1, 1), sort_index=7, made=(1, 2))  # type: ignore[call-arg]
    assert changes_of_specs(Odd, [plain, odd]) == [
        "set by the run, whatever the cases say: sort_index",
        "at: times arrive in UTC: the same moments, without their offsets",
        "number: whole numbers arrive as floats: 1 as 1.0",
        "anything: values that JSON has no form for, such as dates, arrive as text",
        "made: values that JSON has no form for, such as dates, arrive as text",
    ]


def test_a_registered_function_can_be_tried_without_an_engine(simulate: Any) -> None:
    assert simulate.mock_run(input=House(area=3)).cost == 6
    assert simulate.tasks == [simulate]


def test_where_tables_are_goes_through_json() -> None:
    result = ScatterGatherResult(uris={"scalars": S3Url("s3://a/b.pq"), "x": Path("/c/d.pq")})
    again = ScatterGatherResult.model_validate_json(result.model_dump_json())
    assert str(again.uris["scalars"]) == "s3://a/b.pq"
    assert again.uris["x"] == Path("/c/d.pq")


def test_tables_of_outputs_are_combined_and_errors_are_parted() -> None:
    outputs = [ExperimentOutputSpec(dataframes={"x": pd.DataFrame({"a": [i]})}) for i in range(2)]
    assert combine_experiment_outputs(outputs).dataframes["x"]["a"].to_list() == [0, 1]
    specs = [House(area=1), House(area=2)]
    good, bad = sift_results(specs, [1, ValueError("no")], make_error_specs=True)
    assert good == [1]
    assert bad is not None
    assert bad["msg"].to_list() == ["no"]
    assert bad.index.get_level_values("area").to_list() == [2]


def test_a_spec_finds_its_copies_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.epw").write_text("weather")
    spec = House(area=1, experiment_id="house/v1.0.0/2026-01-02_00-00-00")
    first = spec.local_path("s3://a/deep/w.epw")
    assert first.parts[-2:] == ("deep", "w.epw")
    assert first != spec.local_path("s3://b/deep/w.epw")
    assert ".." not in spec.local_path("https://a/../../x").parts
    with pytest.raises(ValueError, match="no path"):
        spec.local_path("s3://a/")
    assert spec.fetch_uri(f"file://{tmp_path}/w.epw", use_cache=False).read_text() == "weather"
