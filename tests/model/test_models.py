from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from copy import deepcopy
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from scythe_cli.arrow.seeds import REPETITION, RowSeeds
from scythe_cli.base import (
    RESERVED_INPUT_FIELDS,
    SPEC_LEVELS,
    BaseSpec,
    ExperimentIndexAdditionalDataDoesNotMatchNRowsError,
    ExperimentIndexAdditionalDataOverlapsWithSpecError,
    ExperimentIndexNotSerializableError,
    ExperimentInputSpec,
    ExperimentOutputSpec,
    FileReference,
    OptionalFileReference,
    index_columns,
    input_columns,
    output_columns,
    output_files,
)
from scythe_cli.model.columns import file_columns
from scythe_cli.model.spec_rows import with_meta
from scythe_cli.settings import ScytheStorageSettings

RUN = "energy/v1.0.0/2024-01-01_00-00-00"


class Part(BaseModel):
    a: int = 1


class Spec(ExperimentInputSpec):
    u_value: float
    weather: FileReference = Path("w.epw")
    parts: list[Part] = []
    part: Part = Part()
    note: str | None = None


class Output(ExperimentOutputSpec):
    heat: float = 0.0
    plot: FileReference | None = None
    series: list[float] = []


def spec(**values: Any) -> Spec:
    meta = {"experiment_id": RUN, "sort_index": 7, "workflow_run_id": "w", "root_workflow_run_id": "r"}
    return Spec(**{"u_value": 1.5, **meta, **values})


@pytest.mark.processes
@pytest.mark.parametrize("module", ["scythe_cli", "scythe_cli.base", "scythe_cli.registry"])
def test_importing_loads_no_client_and_no_pandas(module: str) -> None:
    code = f"""
import sys
import {module}
heavy = {{"hatchet_sdk", "s3fs", "pandas", "polars", "typer", "rich"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_which_columns_are_which() -> None:
    assert [column.name for column in input_columns(Spec)] == ["u_value", "weather", "parts", "part", "note"]
    assert [column.name for column in index_columns(Spec)] == ["u_value", "part.a", "note"]
    assert [column.name for column in file_columns(Spec)] == ["weather"]
    assert [column.name for column in output_columns(Output)] == ["heat", "series"]
    assert [column.name for column in output_files(Output)] == ["plot"]
    assert {*SPEC_LEVELS, "storage_settings", "sort_subindex"} == RESERVED_INPUT_FIELDS
    assert input_columns(ExperimentInputSpec) == []


def test_the_index_of_one_row() -> None:
    index = spec().make_multiindex()
    assert list(index.names) == [*SPEC_LEVELS, "u_value", "part.a", "note"]
    assert index.to_list()[0][:-1] == (RUN, 7, "w", "r", 1.5, 1)
    assert pd.isna(index.to_list()[0][-1])


def test_the_index_of_several_rows_counts_them() -> None:
    index = spec().make_multiindex(n_rows=3)
    assert index.names[-1] == "sort_subindex"
    assert index.get_level_values("sort_subindex").to_list() == [0, 1, 2]
    assert set(index.get_level_values("sort_index")) == {7}
    assert "sort_subindex" not in spec().make_multiindex(n_rows=3, include_sort_subindex=False).names


@pytest.mark.parametrize("data", [None, {"hour": 1}, []])
def test_the_index_of_no_rows_has_its_levels(data: Any) -> None:
    index = spec().make_multiindex(n_rows=0, additional_index_data=data)
    assert len(index) == 0
    assert list(index.names) == [*SPEC_LEVELS, "u_value", "part.a", "note", *(data or {})]


def test_additional_index_data_for_all_rows_or_each() -> None:
    index = spec().make_multiindex({"month": "jan"}, n_rows=2)
    assert index.get_level_values("month").to_list() == ["jan", "jan"]
    assert index.names[-2:] == ["month", "sort_subindex"]
    index = spec().make_multiindex([{"month": "jan"}, {"month": "feb"}], n_rows=2, include_sort_subindex=False)
    assert index.get_level_values("month").to_list() == ["jan", "feb"]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_there_is_additional_data_for_each_row(n: int) -> None:
    with pytest.raises(
        ExperimentIndexAdditionalDataDoesNotMatchNRowsError, match=f"^2 rows of additional index data for {n} rows$"
    ) as caught:
        spec().make_multiindex([{"a": 1}, {"a": 2}], n_rows=n)
    assert caught.value.n_rows == n
    assert len(caught.value.additional_index_data) == 2


@pytest.mark.parametrize("data", [{"u_value": 1, "sort_index": 2, "x": 3}, [{"u_value": 1, "sort_index": 2}]])
def test_additional_data_replaces_no_level(data: Any) -> None:
    with pytest.raises(
        ExperimentIndexAdditionalDataOverlapsWithSpecError, match="levels already: u_value, sort_index"
    ) as caught:
        spec().make_multiindex(data)
    assert caught.value.overlapping_keys == ["u_value", "sort_index"]


def test_the_subindex_is_a_level_too() -> None:
    with pytest.raises(ExperimentIndexAdditionalDataOverlapsWithSpecError, match="levels already: sort_subindex"):
        spec().make_multiindex([{"sort_subindex": 5}, {"sort_subindex": 6}], n_rows=2)
    own = spec().make_multiindex([{"sort_subindex": 5}, {"sort_subindex": 6}], n_rows=2, include_sort_subindex=False)
    assert own.get_level_values("sort_subindex").to_list() == [5, 6]


def test_fields_can_be_left_out() -> None:
    index = spec().make_multiindex(additional_excludes=frozenset({"part", "root_workflow_run_id", "nothing"}))
    assert list(index.names) == ["experiment_id", "sort_index", "workflow_run_id", "u_value", "note"]
    assert "part.a" not in spec().make_multiindex(additional_excludes=frozenset({"part.a"})).names
    again = spec().make_multiindex({"weather": "cold"})
    assert again.get_level_values("weather").to_list() == ["cold"]


def test_computed_features_come_after_the_fields() -> None:
    class Featured(Spec):
        @property
        def computed_features(self) -> dict[str, int | float | str]:
            return {"r_value": 1 / self.u_value}

    index = Featured(u_value=2).make_multiindex({"x": 1})
    assert list(index.names)[-3:] == ["note", "r_value", "x"]
    assert index.get_level_values("r_value").to_list() == [0.5]
    with pytest.raises(ExperimentIndexAdditionalDataOverlapsWithSpecError, match="r_value"):
        Featured(u_value=2).make_multiindex({"r_value": 1})


def test_a_computed_feature_replaces_no_field() -> None:
    class Overlapping(Spec):
        @property
        def computed_features(self) -> dict[str, int | float | str]:
            return {"u_value": 3}

    with pytest.raises(ExperimentIndexAdditionalDataOverlapsWithSpecError, match="u_value"):
        Overlapping(u_value=2).make_multiindex()


def test_the_index_shows_the_spec_as_it_was_allocated() -> None:
    class Featured(Spec):
        @property
        def computed_features(self) -> dict[str, int | float | str]:
            return {"at": str(self.weather)}

    fetched = Featured(u_value=2, weather=Path("/cache/abc"))
    fetched._original_spec = Featured(u_value=1, weather="s3://bucket/w.epw")
    index = fetched.make_multiindex()
    assert index.get_level_values("at").to_list() == ["s3://bucket/w.epw"]
    assert index.get_level_values("u_value").to_list() == [1]


def test_references_to_files_are_no_levels_and_scalars_of_nested_models_are() -> None:
    class Deep(BaseModel):
        height: float
        plan: FileReference
        layers: list[int] = []

    class Outer(BaseModel):
        deep: Deep | None = None
        itself: Outer | None = None
        mass: int = 1

    class Nested(ExperimentInputSpec):
        outer: Outer
        maybe: Part | None = None

    names = ["outer.deep.height", "outer.mass", "maybe.a"]
    assert [column.name for column in index_columns(Nested)] == names
    full = Nested(outer=Outer(deep=Deep(height=2.5, plan=Path("p.dxf"))), maybe=Part(a=3)).make_multiindex()
    assert list(full.names)[4:] == names
    assert full.to_list()[0][4:] == (2.5, 1, 3)
    empty = Nested(outer=Outer()).make_multiindex().to_frame(index=False)
    assert empty[["outer.deep.height", "maybe.a"]].isna().all(axis=None)


def test_dates_and_times_are_such_in_the_index() -> None:
    class Dated(ExperimentInputSpec):
        day: date
        at: datetime
        zoned: AwareDatetime
        hour: time
        took: timedelta

    zoned = datetime(2024, 1, 1, 5, tzinfo=timezone(timedelta(hours=2)))
    values = (date(2024, 1, 2), datetime(2024, 1, 2, 3), zoned, time(4), timedelta(minutes=5))
    given = Dated(**dict(zip(["day", "at", "zoned", "hour", "took"], values, strict=True)))
    assert given.make_multiindex({"until": date(2025, 1, 1)}).to_list()[0][4:] == (*values, date(2025, 1, 1))


def test_index_levels_keep_their_names() -> None:
    class Aliased(ExperimentInputSpec):
        model_config = ConfigDict(serialize_by_alias=True)

        tilt: float = Field(alias="Tilt")

    assert list(Aliased.model_validate({"Tilt": 1}).make_multiindex().names)[-1] == "tilt"


@pytest.mark.parametrize("data", [{"x": object()}, {"x": {1, 2}}, {"x": Path("a")}, [{"x": b"1"}]])
def test_index_data_is_plain(data: Any) -> None:
    with pytest.raises(ExperimentIndexNotSerializableError, match="index data of Spec cannot be written as JSON"):
        spec().make_multiindex(data)


def test_a_field_that_is_not_plain_is_told_the_same_way() -> None:
    class Raw(ExperimentInputSpec):
        raw: bytes

    with pytest.raises(ExperimentIndexNotSerializableError, match="index data of Raw") as caught:
        Raw(raw=b"\xff").make_multiindex()
    assert caught.value.cls is Raw


def test_the_log_goes_to_the_sink_or_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        spec().log("100 % {done}")
    assert [record.getMessage() for record in caplog.records] == ["100 % {done}"]
    lines: list[str] = []
    sunk = spec()
    sunk._log_sink = lines.append
    sunk.log({"a": 1})
    assert lines == ["{'a': 1}"]
    assert len(caplog.records) == 1


def test_what_the_engine_keeps_on_a_spec_is_no_part_of_its_value() -> None:
    plain, marked = spec(), spec()
    marked._log_sink, marked._original_spec = print, plain
    assert marked == plain
    assert marked.model_dump() == plain.model_dump()
    assert marked.model_dump_json() == plain.model_dump_json()
    assert dict(marked) == dict(plain)
    assert repr(marked) == repr(plain)
    for copy in (pickle.loads(pickle.dumps(marked)), marked.model_copy(), deepcopy(marked)):
        assert copy._log_sink is print
        assert copy._original_spec == plain


def test_a_frozen_spec_takes_what_the_engine_keeps_on_it() -> None:
    class Frozen(ExperimentInputSpec):
        model_config = ConfigDict(frozen=True)

    frozen = Frozen()
    frozen._original_spec = Frozen(sort_index=3)
    assert frozen._original_spec == Frozen(sort_index=3)
    assert hash(frozen) == hash(Frozen())


def test_the_keys_of_output_files() -> None:
    assert spec().construct_output_key("plot", Path("/tmp/x.tar.gz")) == f"{RUN}/results/plot/w.gz"
    assert spec().construct_output_key("plot", Path("noext")) == f"{RUN}/results/plot/w"
    assert spec(workflow_run_id=None).construct_output_key("plot", Path("a.png")) == f"{RUN}/results/plot/00000007.png"


def test_the_prefix_needs_a_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spec(storage_settings=ScytheStorageSettings(BUCKET="b", BUCKET_PREFIX="p/q")).prefix == f"p/q/{RUN}"
    with pytest.raises(ValueError, match="storage_settings is not set, so there is no key"):
        _ = spec().prefix


def test_file_references_are_local_or_remote() -> None:
    class Files(ExperimentInputSpec):
        a: FileReference
        b: FileReference
        c: OptionalFileReference = None

    files = Files(a="rel/a.txt", b="https://example.org/b.txt")  # type: ignore[arg-type]
    assert files.local_artifact_file_paths == {"a": Path("rel/a.txt")}
    assert {k: str(v) for k, v in files.remote_artifact_file_paths.items()} == {"b": "https://example.org/b.txt"}


def test_defaults_and_checks_of_the_base() -> None:
    bare = ExperimentInputSpec()
    assert (bare.experiment_id, bare.sort_index, bare.workflow_run_id, bare.storage_settings) == ("", 0, None, None)
    assert bare.computed_features == {}
    assert BaseSpec(anything=1).model_extra == {"anything": 1}  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        ExperimentInputSpec(sort_index=-1)


FRAME = {"a": [1, 2]}


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(FRAME),
        pl.DataFrame(FRAME),
        pl.LazyFrame(FRAME),
        pa.table(FRAME),
        pa.record_batch(FRAME),
    ],
    ids=lambda frame: f"{type(frame).__module__.partition('.')[0]}.{type(frame).__name__}",
)
def test_tables_of_three_libraries_are_taken_as_they_are(frame: Any) -> None:
    output = Output(heat=1, dataframes={"hourly": frame})
    assert output.dataframes["hourly"] is frame
    assert output.model_dump()["dataframes"]["hourly"] is frame
    read = Output.model_validate(json.loads(json.dumps(output.model_dump(mode="json"))))
    assert read.heat == 1
    assert read.dataframes["hourly"].equals(pd.DataFrame(FRAME))
    assert Output.model_validate_json(output.model_dump_json()).dataframes["hourly"].equals(pd.DataFrame(FRAME))
    assert "dataframes" not in output.model_json_schema()["properties"]


@pytest.mark.parametrize("frame", [FRAME, [1], None, pa.array([1]), "x", pd.DataFrame])
def test_anything_else_is_no_table(frame: Any) -> None:
    with pytest.raises(
        ValidationError, match=f"'bad' is a {type(frame).__name__}, not a pandas, Polars or Arrow table"
    ):
        Output(dataframes={"good": pd.DataFrame(FRAME), "bad": frame})


@pytest.mark.parametrize("frame", [pd.Series([1]), pl.Series([1]), np.ones((2, 2))])
def test_what_becomes_a_table_by_itself_is_taken(frame: Any) -> None:
    assert Output(dataframes={"x": frame}).dataframes["x"] is frame


def test_a_library_that_is_not_there_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)  # what a test that blocks an import leaves there
    assert Output(dataframes={"x": pa.table(FRAME)}).dataframes
    monkeypatch.delitem(sys.modules, "polars")
    with pytest.raises(ValidationError, match="'x' is a int"):
        Output(dataframes={"x": 1})


class Drawn(ExperimentInputSpec):
    x: float
    name: str = "a"
    file: Path | None = None


def test_a_spec_has_a_seed_that_follows_from_what_it_says(tmp_path: Path) -> None:
    spec = Drawn(x=1.0)
    assert 0 <= spec.seed < 2**63
    placed = Drawn(x=1.0, sort_index=4, experiment_id="a/v1.0.0/2026-01-01_00-00-00", workflow_run_id="w")
    assert placed.seed == spec.seed
    assert Drawn(x=1.0, extra=3).seed not in (spec.seed, Drawn(x=2.0).seed)
    assert spec.model_copy(update={"x": 2.0}).seed == Drawn(x=2.0).seed
    for name in "ab":
        (tmp_path / name).write_text("same")
    assert Drawn(x=1.0, file=tmp_path / "a").seed == Drawn(x=1.0, file=tmp_path / "b").seed
    assert spec.rng().random(3).tolist() == spec.rng().random(3).tolist()
    assert spec.rng().random() == np.random.default_rng(spec.seed).random()
    with pytest.raises(AttributeError, match="nothing"):
        spec.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_a_field_of_this_name_is_the_user_s_own() -> None:
    class Own(ExperimentInputSpec):
        seed: int
        x: float = 1.0

    own = Own(seed=5)
    assert own.seed == 5
    assert own.model_dump()["seed"] == 5
    assert own.rng().random() != Own(seed=6).rng().random()
    assert Drawn(x=1.0, seed=7).seed == 7  # a value beyond the fields


def test_the_seed_of_a_row_goes_to_other_processes() -> None:
    rows = with_meta(pa.table({"x": [1.0, 1.0], REPETITION: pa.array([0, 1], pa.int32())}), "run", "root")
    seeds = RowSeeds(rows, 3, leave_out=SPEC_LEVELS, artifacts="")
    spec = Drawn(x=1.0, sort_index=1)
    vars(spec)["_seeds"] = seeds
    assert spec.seed == seeds.of(1) != seeds.of(0)
    for copied in (pickle.loads(pickle.dumps(spec)), deepcopy(spec), spec.model_copy(update={"x": 9.0})):
        assert copied.seed == spec.seed
    assert len(pickle.dumps(spec)) < 2_000
    assert "_seeds" not in spec.model_dump_json()
    assert spec == Drawn(x=1.0, sort_index=1)
