from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from scythe_cli.base import SPEC_LEVELS, ExperimentInputSpec
from scythe_cli.errors import SpecsError
from scythe_cli.model.spec_rows import (
    META_SCHEMA,
    build_specs,
    spec_factory,
    specs_schema,
    table_from_specs,
    with_meta,
)

RUN = "energy/v1.0.0/2024-01-01_00-00-00"


class Spec(ExperimentInputSpec):
    angle: float = Field(ge=0, le=90)
    name: str | None = None


class Other(ExperimentInputSpec):
    angle: float


class Bare(ExperimentInputSpec):
    pass


def through_parquet(table: pa.Table) -> pa.Table:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return pq.read_table(sink)


def test_specs_survive_their_file() -> None:
    specs = [Spec(angle=1, name="a"), Spec(angle=2)]
    table = through_parquet(with_meta(table_from_specs(specs, Spec), RUN, "root"))
    assert table.schema == specs_schema(Spec)
    assert table.column_names == [*SPEC_LEVELS, "angle", "name"]
    read = build_specs(table, Spec)
    assert [(s.angle, s.name) for s in read] == [(1.0, "a"), (2.0, None)]  # type: ignore[attr-defined]
    assert [s.sort_index for s in read] == [0, 1]
    assert {(s.experiment_id, s.workflow_run_id, s.root_workflow_run_id) for s in read} == {(RUN, None, "root")}


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_model_without_fields_keeps_its_rows(n: int) -> None:
    inputs = table_from_specs([Bare()] * n, Bare)
    assert inputs.num_rows == n
    table = with_meta(inputs, RUN, None)
    assert table.schema == META_SCHEMA == specs_schema(Bare)
    assert [spec.sort_index for spec in build_specs(through_parquet(table), Bare)] == list(range(n))


def test_no_specs_have_the_same_schema() -> None:
    table = with_meta(table_from_specs([], Spec), RUN, None)
    assert table.num_rows == 0
    assert table.schema == specs_schema(Spec)
    assert build_specs(table, Spec) == []


def test_meta_columns_are_ours_whatever_the_specs_say() -> None:
    specs = [Spec(angle=1, sort_index=7, experiment_id="mine", workflow_run_id="w", root_workflow_run_id="r")]
    (row,) = with_meta(table_from_specs(specs, Spec), RUN, None).to_pylist()
    assert row == {
        "experiment_id": RUN,
        "sort_index": 0,
        "workflow_run_id": None,
        "root_workflow_run_id": None,
        "angle": 1.0,
        "name": None,
    }


@pytest.mark.parametrize(
    "extra", ["note", "_private", "copy", "model_config", "with space", "1st", "class", "ünï", "schema", ""]
)
def test_extras_of_any_name_are_kept(extra: str) -> None:
    specs = [Spec(angle=1, **{extra: {"a": [1, None]}}), Spec(angle=2), Spec(angle=3, **{extra: "text"})]
    table = through_parquet(with_meta(table_from_specs(specs, Spec), RUN, None))
    assert table.column_names[-1] == extra
    extras = [spec.model_extra for spec in build_specs(table, Spec)]
    assert extras == [{extra: {"a": [1, None]}}, {}, {extra: "text"}]


def test_extras_of_a_model_that_forbids_them() -> None:
    class Closed(ExperimentInputSpec):
        model_config = ConfigDict(extra="forbid")

        angle: float

    table = table_from_specs([Closed(angle=1)], Closed)
    assert build_specs(table, Closed) == [Closed(angle=1)]
    wide = table.append_column("note", pa.array([None], pa.string()))
    assert build_specs(wide, Closed) == [Closed(angle=1)], "a column that says nothing is no extra"
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        build_specs(table.append_column("note", pa.array(["x"])), Closed)


@pytest.mark.parametrize("spec", [Other(angle=1), {"angle": 1}, None, META_SCHEMA])
def test_specs_of_another_type_are_refused(spec: Any) -> None:
    with pytest.raises(SpecsError, match=rf"^spec 1 is a {type(spec).__name__}; expected Spec$"):
        table_from_specs([Spec(angle=1), spec], Spec)


def test_a_subclass_is_taken_with_the_fields_of_the_model() -> None:
    class Sub(Spec):
        more: int = 1

    assert table_from_specs([Sub(angle=1)], Spec).column_names == ["angle", "name"]


def test_values_that_no_cell_holds_are_refused() -> None:
    class Big(ExperimentInputSpec):
        n: int

    with pytest.raises(SpecsError, match="n: 1267650600228229401496703205376 does not fit a column of type int64"):
        table_from_specs([Big(n=1), Big(n=2**100)], Big)
    with pytest.raises(SpecsError, match=r"note: <object object at .*> cannot be written as JSON"):
        table_from_specs([Spec(angle=1, note=object())], Spec)  # type: ignore[call-arg]


def test_refused_rows_stay_in_their_place() -> None:
    table = table_from_specs([Spec(angle=1), Spec.model_construct(angle=200.0), Spec(angle=3)], Spec)
    build = spec_factory(Spec, table.schema)
    good, bad, also = build(table.to_batches()[0])
    assert isinstance(good, Spec)
    assert isinstance(also, Spec)
    assert isinstance(bad, ValidationError)
    assert "less than or equal to 90" in str(bad)
    with pytest.raises(ValidationError, match="less than or equal to 90"):
        build_specs(table, Spec)


def test_a_model_that_has_changed_refuses_its_rows_one_by_one() -> None:
    class Part(BaseModel):
        a: int
        b: dict[str, int]

    class Changed(ExperimentInputSpec):
        part: Part
        data: dict[str, int]

    table = pa.table({"part": [{"a": 1}, {"a": 2}], "data": ["{}", "{broken"]})
    rows = spec_factory(Changed, table.schema)(table.to_batches()[0])
    assert [isinstance(row, ValidationError) for row in rows] == [True, True]
    assert "part.b" in str(rows[0])
    assert "data" in str(rows[1])
    assert "data" not in str(rows[0])


def test_a_strict_model_takes_what_was_written_for_it() -> None:
    class Part(BaseModel):
        model_config = ConfigDict(strict=True)

        pair: tuple[int, ...]
        names: set[str]

    class Strict(ExperimentInputSpec):
        model_config = ConfigDict(strict=True)

        part: Part
        pair: tuple[float, str]

    spec = Strict(part=Part(pair=(1, 2), names={"a"}), pair=(1.0, "x"))
    assert build_specs(through_parquet(table_from_specs([spec], Strict)), Strict) == [spec]


def test_aliases_do_not_matter() -> None:
    class Part(BaseModel):
        u: float = Field(alias="U")

    class Aliased(ExperimentInputSpec):
        tilt: float = Field(validation_alias="Tilt", serialization_alias="T")
        part: Part
        parts: dict[str, Part] = {}

    part = Part.model_validate({"U": 2})
    spec = Aliased.model_validate({"Tilt": 1, "part": part, "parts": {"a": part}})
    table = table_from_specs([spec], Aliased)
    assert table.column_names == ["tilt", "part", "parts"]
    assert build_specs(table, Aliased) == [spec]


def test_validators_see_what_the_cells_hold() -> None:
    class Checked(ExperimentInputSpec):
        x: int

        @field_validator("x", mode="before")
        @classmethod
        def _check(cls, value: Any) -> Any:
            assert isinstance(value, int)
            return value

    assert build_specs(table_from_specs([Checked(x=3)], Checked), Checked) == [Checked(x=3)]
