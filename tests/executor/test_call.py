"""One spec to its outcome, in this process."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference, OptionalFileReference
from scythe_cli.core.states import State
from scythe_cli.executor.rows.attempts import Attempts
from scythe_cli.executor.rows.call import Leaf, LeafResult, RunContext
from scythe_cli.executor.rows.cells import array_of_objects
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.executor.rows.outcomes import OutcomeBatch
from scythe_cli.model.columns import outcome_schema
from scythe_cli.model.outcome_schema import LEVELS_KEY
from scythe_cli.registry import ExperimentOptions, experiment_from_function

RUN = "e/v1.0.0/2025-01-01_00-00-00"


class In(ExperimentInputSpec):
    angle: float = 1.0
    tags: list[str] = []


class Out(ExperimentOutputSpec):
    y: float = 0.0
    n: int = 0
    day: date | None = None
    text: str = ""


class Needing(Out):
    need: float


class Featured(In):
    @property
    def computed_features(self) -> dict[str, Any]:
        return FEATURES[0](self)


FEATURES: dict[int, Any] = {0: lambda spec: {}}


def _leaf(fn: Any, tmp_path: Path, **options: Any) -> Leaf:
    experiment = experiment_from_function(fn, options=ExperimentOptions(**options))
    return Leaf(experiment, RunContext(str(tmp_path / "runs"), RUN, "root", "here"), scratch=tmp_path / "scratch")


def _run(leaf: Leaf, spec: ExperimentInputSpec, run_id: str = "root-00000003") -> LeafResult | Failure:
    spec.sort_index, spec.experiment_id = 3, RUN
    leaf.prepare(spec, run_id)
    return leaf.run(spec)


def _outcomes(leaf: Leaf, *results: LeafResult | Failure) -> list[pa.Table]:
    n = len(results)
    attempts = Attempts.of(range(n), [1] * n, [f"id-{position}" for position in range(n)])
    batch = OutcomeBatch(leaf.experiment.output_validator_type, "here", attempts, 1_000.0)
    for position, result in enumerate(results):
        batch.add(position, 0.5, 0.25, None, result)
    outcomes = batch.finish()
    assert len(batch) == 0
    return outcomes.tables


def _frames_of(
    tmp_path: Path, *frames: dict[str, Any], model: Any = In, spec: In | None = None
) -> list[LeafResult | Failure]:
    waiting = list(frames)

    def simulate(spec: In) -> Out:
        return Out(dataframes=waiting.pop(0))

    simulate.__annotations__["spec"] = model
    leaf = _leaf(simulate, tmp_path)
    return [_run(leaf, spec or model()) for _ in frames]


def _frame(tmp_path: Path, frame: Any, spec: In | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a dataframe as the outcome holds them, and its levels."""
    (result,) = _frames_of(tmp_path, {"hourly": frame}, spec=spec)
    assert isinstance(result, LeafResult), result
    batch = OutcomeBatch(Out, "here", Attempts.of([0], [1], ["id"]))
    batch.add(0, 0.0, 0.0, None, result)
    (table,) = batch.finish().tables
    field = table.schema.field("frame:hourly")
    return table.column("frame:hourly").to_pylist()[0], json.loads(field.metadata[LEVELS_KEY])


def test_what_the_function_sees(tmp_path: Path) -> None:
    seen: list[In] = []

    def simulate(spec: In) -> Out:
        seen.append(spec)
        return Out(y=spec.angle)

    assert isinstance(_run(_leaf(simulate, tmp_path), In(angle=2.0)), LeafResult)
    (spec,) = seen
    assert (spec.workflow_run_id, spec.root_workflow_run_id) == ("root-00000003", "root")
    assert spec.storage_settings is not None
    assert spec.storage_settings.location == str(tmp_path / "runs")
    _run(_leaf(simulate, tmp_path, inject_workflow_run_id=False), In(angle=2.0))
    assert seen[1].workflow_run_id is None
    assert seen[1].root_workflow_run_id == "root"


def test_storage_settings_of_s3() -> None:
    settings = RunContext("s3://bucket/some/prefix", RUN, "root", "here").storage_settings
    assert (settings.BUCKET, settings.BUCKET_PREFIX) == ("bucket", "some/prefix")
    context = RunContext("s3://bucket/some/prefix", RUN, "root", "here")
    assert RunContext.from_bytes(context.to_bytes()) == context


def test_outcomes_of_successes_and_failures(tmp_path: Path) -> None:
    def simulate(spec: In) -> Out:
        if spec.angle < 0:
            raise ValueError(f"negative: {spec.angle}")
        return Out(y=spec.angle, n=int(spec.angle), day=date(2025, 1, 2), text="é")

    leaf = _leaf(simulate, tmp_path)
    (table,) = _outcomes(leaf, *[_run(leaf, In(angle=a)) for a in (1.0, -1.0, 2.0)])
    assert table.schema.equals(outcome_schema(Out))
    rows = {row["sort_index"]: row for row in table.to_pylist()}
    assert [rows[i]["state"] for i in range(3)] == ["succeeded", "failed", "succeeded"]
    assert [rows[i]["out:y"] for i in range(3)] == [1.0, None, 2.0]
    assert rows[2]["out:day"] == date(2025, 1, 2)
    assert rows[1]["error_type"] == "ValueError"
    assert rows[0]["started_at"].timestamp() == 1_000.5
    assert rows[0]["duration_s"] == 0.25


def test_values_that_do_not_fit_cost_their_rows_only(tmp_path: Path) -> None:
    values = [
        Needing(need=1, n=1),
        Needing(need=1, n=2**64),
        Needing.model_construct(need="text", n=1, day=None, text=""),
        Needing.model_construct(need=1.0, n=3, day=pd.NaT, text=""),
        Needing(need=1, text="\udcff"),
    ]

    def simulate(spec: In) -> Needing:
        return values[int(spec.angle)]

    leaf = _leaf(simulate, tmp_path)
    batch = OutcomeBatch(Needing, "here", Attempts.of(range(10, 15), [1] * 5, ["id"] * 5))
    for i in range(5):
        batch.add(i, 0.0, 0.0, None, _run(leaf, In(angle=float(i))))
    outcomes = batch.finish([1] * 5)
    (table,) = outcomes.tables
    rows = {row["sort_index"]: row for row in table.to_pylist()}
    assert [rows[i]["state"] for i in range(10, 15)] == ["succeeded"] * 2 + ["failed", "succeeded", "succeeded"]
    assert (outcomes.failed, outcomes.again) == ([2], [2])
    assert rows[12]["message"].startswith("the output field need: 'text' does not fit a column of type double")
    assert [rows[i]["out:n"] for i in (10, 11, 13)] == [1, None, 3]
    assert [rows[i]["out:day"] for i in (10, 11, 13, 14)] == [None] * 4
    assert rows[10]["frame::warnings"] is None
    (warned,) = rows[11]["frame::warnings"]
    assert warned == {
        "field": "n",
        "what": "null instead of its value",
        "why": "18446744073709551616 does not fit a column of type int64",
    }
    assert rows[13]["frame::warnings"] is None, "NaT says that there is no date"
    assert [each["field"] for each in rows[14]["frame::warnings"]] == ["text"]
    assert rows[14]["out:text"] == "\\udcff"


class Anything(ExperimentOutputSpec):
    value: Any
    moment: datetime | None = None
    waits: list[timedelta] = []


FINE = pd.Timestamp("2020-01-01 00:00:00.123456789")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float32(1.5), 1.5),
        (np.int8(3), 3),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (pd.Series([1, 2]), [1, 2]),
        ({"a": np.arange(2), "b": [np.bool_(True)]}, {"a": [0, 1], "b": [True]}),
        (np.datetime64("2020-01-01T00:00:00.123456789"), "2020-01-01T00:00:00.123456789"),
        (np.datetime64("2020-01-01"), "2020-01-01"),
        (np.timedelta64(5, "ns"), "5 nanoseconds"),
        ([FINE], ["2020-01-01 00:00:00.123456789"]),
        ({"a": pd.Timedelta(5, "ns")}, {"a": "0 days 00:00:00.000000005"}),
        (pd.Period("2020-01"), "2020-01"),
        (b"\xff", "b'\\xff'"),
    ],
    ids=repr,
)
def test_values_of_any_type_are_kept_in_the_nearest_form_and_told(tmp_path: Path, value: Any, stored: Any) -> None:
    def simulate(spec: In) -> Anything:
        return Anything(value=value)

    leaf = _leaf(simulate, tmp_path)
    batch = OutcomeBatch(Anything, "here", Attempts.of([0], [1], ["id"]))
    batch.add(0, 0.0, 0.0, None, _run(leaf, In()))
    (row,) = batch.finish([1]).tables[0].to_pylist()
    assert json.loads(row["out:value"]) == stored
    assert [(each["field"], each["what"]) for each in row["frame::warnings"]] == [
        ("value", "the nearest that can be stored")
    ]


def test_nanoseconds_are_never_lost_in_silence(tmp_path: Path) -> None:
    def simulate(spec: In) -> Anything:
        return Anything(value=1, moment=FINE, waits=[pd.Timedelta(1_000_005, "ns")])

    leaf = _leaf(simulate, tmp_path)
    batch = OutcomeBatch(Anything, "here", Attempts.of([0], [1], ["id"]))
    batch.add(0, 0.0, 0.0, None, _run(leaf, In()))
    (row,) = batch.finish([1]).tables[0].to_pylist()
    assert row["out:moment"] == datetime(2020, 1, 1, 0, 0, 0, 123456)
    assert row["out:waits"] == [timedelta(milliseconds=1)]
    assert [each["field"] for each in row["frame::warnings"]] == ["moment", "waits"]
    assert all("has nanoseconds, and times are kept in microseconds" in w["why"] for w in row["frame::warnings"])


def test_memory_error_is_a_crash(tmp_path: Path) -> None:
    def simulate(spec: In) -> Out:
        raise MemoryError

    result = _run(_leaf(simulate, tmp_path), In())
    assert isinstance(result, Failure)
    assert (result.state, result.message) == (State.CRASHED, "out of memory")


# computed features


def test_computed_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = [
        {"a": 1, "b": "x", "c": True},
        {"a": 1.5, "b": None, "d": np.float32(0.5), "e": np.int16(3)},
    ]

    def simulate(spec: Featured) -> Out:
        spec.angle = -1.0
        return Out()

    leaf = _leaf(simulate, tmp_path)
    results: list[Any] = []
    for features in given:
        monkeypatch.setitem(FEATURES, 0, lambda spec, f=features: {**f, "half": spec.angle / 2})
        results.append(_run(leaf, Featured(angle=4.0)))
    (table,) = _outcomes(leaf, *results)
    assert table.column("feature:a").to_pylist() == [1.0, 1.5]
    assert table.column("feature:b").to_pylist() == ["x", None]
    assert table.column("feature:c").to_pylist() == [True, None]
    assert table.column("feature:d").to_pylist() == [None, 0.5]
    assert table.column("feature:e").to_pylist() == [None, 3]
    assert table.column("feature:half").to_pylist() == [2.0, 2.0]
    assert table.schema.field("feature:c").type == pa.bool_()


def test_features_that_contradict_each_other_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(spec: Featured) -> Out:
        return Out(y=spec.angle)

    leaf = _leaf(simulate, tmp_path)
    results: list[Any] = []
    for i, value in enumerate([1, "one", 2]):
        monkeypatch.setitem(FEATURES, 0, lambda spec, v=value: {"a": v})
        results.append(_run(leaf, Featured(angle=float(i))))
    tables = _outcomes(leaf, *results)
    assert [t.column("feature:a").to_pylist() for t in tables] == [[1, 2], ["one"]]
    assert [t.column("out:y").to_pylist() for t in tables] == [[0.0, 2.0], [1.0]]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"angle": 1.0}, "'angle' has the name of a field"),
        ({"sort_index": 1}, "'sort_index' has the name of a field"),
        ({"y": 1.0}, "'y' has the name of a field"),
        ({1: 1.0}, "names must be text"),
        ({"a": [1]}, "'a' is a list; it can be int, float, str or bool"),
        ({"a": 2**70}, "does not fit into 64 bits"),
    ],
)
def test_features_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features: Any, message: str) -> None:
    def simulate(spec: Featured) -> Out:
        return Out()

    monkeypatch.setitem(FEATURES, 0, lambda spec: features)
    result = _run(_leaf(simulate, tmp_path), Featured())
    assert isinstance(result, Failure)
    assert message in result.message


# dataframes


def test_the_same_frame_from_three_libraries(tmp_path: Path) -> None:
    data = {"hour": [1, 2], "load": [0.5, None], "name": ["a", "b"]}
    expected = [{"hour": 1, "load": 0.5, "name": "a"}, {"hour": 2, "load": None, "name": "b"}]
    frames = [pd.DataFrame(data), pl.DataFrame(data), pl.LazyFrame(data), pa.table(data)]
    frames.append(pa.RecordBatch.from_pydict(data))
    results = _frames_of(tmp_path, *[{"hourly": frame} for frame in frames])
    batch = OutcomeBatch(Out, "here", Attempts.of(range(5), [1] * 5, ["id"] * 5))
    for i, result in enumerate(results):
        batch.add(i, 0.0, 0.0, None, result)
    (table,) = batch.finish().tables
    assert table.column("frame:hourly").to_pylist() == [expected] * 5
    struct = table.schema.field("frame:hourly").type.value_type
    assert [(f.name, str(f.type)) for f in struct] == [("hour", "int64"), ("load", "double"), ("name", "string")]


def test_specs_without_a_frame_have_null_and_empty_frames_have_none(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    results = _frames_of(tmp_path, {"x": frame}, {}, {"x": frame.clear()}, {"z": frame}, {"x": pd.DataFrame()})
    leaf = _leaf(lambda_simulate, tmp_path)
    (table,) = _outcomes(leaf, *results, Failure(State.FAILED, "E", "m"))
    assert table.column("frame:x").to_pylist() == [[{"a": 1}, {"a": 2}], None, [], None, None, None]
    assert table.column("frame:z").to_pylist() == [None, None, None, [{"a": 1}, {"a": 2}], None, None]


def lambda_simulate(spec: In) -> Out:
    return Out()


def test_frames_of_different_columns_are_one_and_contradictions_are_kept_apart(tmp_path: Path) -> None:
    results = _frames_of(
        tmp_path,
        {"x": pl.DataFrame({"a": [1]})},
        {"x": pl.DataFrame({"a": ["text"]})},
        {"x": pl.DataFrame({"a": [0.5], "b": [None]})},
        {"x": pl.DataFrame({"b": ["late"], "a": [2]})},
        {"x": pd.DataFrame({"b": ["indexed"]}, index=pd.Index([7], name="a"))},
    )
    tables = _outcomes(_leaf(lambda_simulate, tmp_path), *results)
    assert [t.column("frame:x").to_pylist() for t in tables] == [
        [[{"a": 1.0, "b": None}], [{"a": 0.5, "b": None}], [{"a": 2.0, "b": "late"}]],
        [[{"a": "text"}]],
        [[{"a": 7, "b": "indexed"}]],
    ]
    assert [t.column("sort_index").to_pylist() for t in tables] == [[0, 2, 3], [1], [4]]


def test_indexes_of_pandas(tmp_path: Path) -> None:
    data = {"load": [1.0, 2.0]}
    rows = [{"load": 1.0}, {"load": 2.0}]
    assert _frame(tmp_path, pd.DataFrame(data)) == (rows, [])
    hours = pd.DataFrame(data, index=pd.RangeIndex(2, name="hour"))
    assert _frame(tmp_path, hours) == ([{"hour": 0, "load": 1.0}, {"hour": 1, "load": 2.0}], ["hour"])
    odd = pd.DataFrame(data, index=[5, 3])
    assert _frame(tmp_path, odd) == ([{"index": 5, "load": 1.0}, {"index": 3, "load": 2.0}], ["index"])
    names = pd.DataFrame(data, index=pd.Index(["a", "b"]))
    assert _frame(tmp_path, names)[1] == ["index"]
    several = pd.DataFrame(data, index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["zone", None]))
    assert _frame(tmp_path, several) == (
        [{"zone": "a", "level_1": 1, "load": 1.0}, {"zone": "a", "level_1": 2, "load": 2.0}],
        ["zone", "level_1"],
    )
    specs = pd.DataFrame(
        data,
        index=pd.MultiIndex.from_arrays([[7.0, 7.0], [0, 1], ["p", "q"]], names=["angle", "sort_subindex", "room"]),
    )
    assert _frame(tmp_path, specs, In(angle=7.0)) == (
        [{"room": "p", "load": 1.0}, {"room": "q", "load": 2.0}],
        ["room"],
    )
    dated = pd.DataFrame(data, index=pd.date_range("2025-01-01", periods=2, freq="h", name="time"))
    assert _frame(tmp_path, dated)[0][1]["time"] == pd.Timestamp("2025-01-01 01:00")
    kinds = pd.DataFrame({"kind": pd.Categorical(["a", "b"]), "for": [timedelta(hours=1), timedelta(0)]})
    assert _frame(tmp_path, kinds)[0][0] == {"kind": "a", "for": timedelta(hours=1)}


def test_make_multiindex_is_taken_off(tmp_path: Path) -> None:
    def simulate(spec: Featured) -> Out:
        one = pd.DataFrame({"a": [1.0]}, index=spec.make_multiindex())
        index = spec.make_multiindex(additional_index_data=[{"month": m} for m in range(3)], n_rows=3)
        return Out(dataframes={"one": one, "three": pd.DataFrame({"b": [1, 2, 3]}, index=index)})

    leaf = _leaf(simulate, tmp_path)
    FEATURES[0] = lambda spec: {"double": 2 * spec.angle}
    try:
        (table,) = _outcomes(leaf, _run(leaf, Featured(angle=4.0)))
    finally:
        FEATURES[0] = lambda spec: {}
    assert table.column("frame:one").to_pylist() == [[{"a": 1.0}]]
    assert table.column("frame:three").to_pylist() == [[{"month": m, "b": m + 1} for m in range(3)]]
    assert table.column("feature:double").to_pylist() == [8.0]


def _kept(tmp_path: Path, frame: Any, name: Any = "x") -> tuple[str, list[dict[str, Any]], list[tuple[str, str]]]:
    """The name and the rows that a table gets, and what is said of it."""
    (result,) = _frames_of(tmp_path, {name: frame})
    assert isinstance(result, LeafResult), result
    ((kept, made),) = (result.frames or {}).items()
    return kept, made.table.to_pylist(), [(w.field, w.what) for w in result.warnings or []]


def test_tables_whose_name_is_none_for_a_file_get_one(tmp_path: Path) -> None:
    ok = pl.DataFrame({"a": [1]})
    assert _kept(tmp_path, ok, "scalars")[::2] == ("output_scalars", [("scalars", "called output_scalars")])
    assert _kept(tmp_path, ok, "../up")[::2] == ("_up", [("../up", "called _up")])
    assert _kept(tmp_path, ok, "")[0] == "table"
    assert _kept(tmp_path, ok, "energy use (kWh)")[0] == "energy_use_kWh_"


class Roof(Enum):
    FLAT = "flat"


def test_tables_of_any_form_are_kept(tmp_path: Path) -> None:
    def rows(frame: Any) -> Any:
        name, made, _ = _kept(tmp_path, frame)
        assert name == "x"
        return made

    def said(frame: Any) -> list[tuple[str, str]]:
        return _kept(tmp_path, frame)[2]

    assert rows(pl.DataFrame({"angle": [1.0]})) == [{"angle": 1.0}], "the final table gives it another name"
    assert rows(pd.DataFrame([[1, 2]])) == [{"0": 1, "1": 2}]
    assert rows(pd.DataFrame([[1, 2]], columns=["a", "a"])) == [{"a": 1, "a_2": 2}]
    assert said(pd.DataFrame([[1, 2]], columns=["a", "a"])) == [("x.a", "called a_2")]
    assert rows(pd.DataFrame({"a": [1]}, index=pd.Index([2], name="a"))) == [{"a_2": 2, "a": 1}]
    assert rows(pd.DataFrame({"a": [1, "x", None, 2.5]})) == [{"a": "1"}, {"a": "x"}, {"a": None}, {"a": "2.5"}]
    assert said(pd.DataFrame({"a": [1, "x"]})) == [("x.a", "stored as text")]
    differing = pd.DataFrame({"a": [1, 2]}, index=pd.Index([1.0, 2.0], name="angle"))
    assert rows(differing) == [{"angle": 1.0, "a": 1}, {"angle": 2.0, "a": 2}]
    assert rows(pd.DataFrame({"a": [1]}, index=pd.Index([3.0], name="angle"))) == [{"angle": 3.0, "a": 1}]
    assert rows(pd.DataFrame({"a": [1]}, index=pd.Index([1.0], name="angle"))) == [{"a": 1}], "the spec's own"
    assert rows(pd.DataFrame(index=pd.RangeIndex(2))) == [{"index": 0}, {"index": 1}]
    assert rows(pd.Series([1, 2], name="load")) == [{"load": 1}, {"load": 2}]
    assert rows(pl.Series([1])) == [{"value": 1}]
    assert rows(np.array([[1, 2]])) == [{"0": 1, "1": 2}]
    assert rows(pd.DataFrame({"a": np.array([1.5], np.float16)})) == [{"a": 1.5}]
    assert rows(pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])})) == [{"a": 0}, {"a": 1}]
    assert rows(pd.DataFrame({"a": [1 + 2j]})) == [{"a": {"real": 1.0, "imag": 2.0}}]
    assert rows(pd.DataFrame({"a": [Path("b/c"), None]})) == [{"a": "b/c"}, {"a": None}]
    assert rows(pd.DataFrame({"a": [Roof.FLAT]})) == [{"a": "flat"}]
    assert rows(pd.DataFrame({"a": [np.ones((1, 2)), np.ones(1)]})) == [{"a": "[[1.0, 1.0]]"}, {"a": "[1.0]"}]
    assert rows(pd.DataFrame({"a": [np.ones((1, 2))]})) == [{"a": [[1.0, 1.0]]}]
    assert rows(pd.DataFrame({"a": [2**70, 1]})) == [{"a": Decimal(2**70)}, {"a": Decimal(1)}]
    assert rows(pd.DataFrame({"a": [True, 2]}, dtype=object)) == [{"a": 1}, {"a": 2}]
    assert rows(pl.DataFrame({"a": pl.Series([2**100], dtype=pl.Int128)})) == [{"a": Decimal(2**100)}]
    assert rows(pl.DataFrame({"a": pl.Series([Roof.FLAT], dtype=pl.Object)})) == [{"a": "flat"}]
    months = pd.DataFrame({"a": [1]}, index=pd.period_range("2026-01", periods=1, freq="M", name="month"))
    assert rows(months) == [{"month": "2026-01", "a": 1}]
    assert said(months) == [("x.month", "stored as text")]
    loads = pd.DataFrame({"v": [1.0, 2.0, 9.0]})
    by_class = loads.groupby(pd.cut(loads.v, [0, 5, 10]), observed=True).size().to_frame("n")
    assert rows(by_class) == [{"v": "(0, 5]", "n": 2}, {"v": "(5, 10]", "n": 1}]
    times: Any = [datetime(2026, 1, 1, 5), date(2026, 1, 2)]
    assert rows(pd.DataFrame({"a": pd.Series(times, dtype=object)}))[0] == {"a": datetime(2026, 1, 1, 5)}


def test_a_table_that_is_none_costs_only_itself(tmp_path: Path) -> None:
    def simulate(spec: In) -> Out:
        output = Out(dataframes={"y": pl.DataFrame({"a": [1]})})
        output.dataframes["x"] = [1, 2, 3]
        return output

    result = _run(_leaf(simulate, tmp_path), In())
    assert isinstance(result, LeafResult)
    assert list(result.frames or {}) == ["y"]
    assert result.warnings == [("x", "not kept", "it is a list, not a pandas, Polars or Arrow table")]


# files


class FileIn(In):
    weather: FileReference
    schedule: OptionalFileReference = None


class FileOut(ExperimentOutputSpec):
    report: FileReference
    extra: OptionalFileReference = None


def test_a_temporary_folder_and_output_files(tmp_path: Path) -> None:
    seen: list[Path] = []

    def simulate(spec: In, tempdir: Path) -> FileOut:
        seen.append(tempdir)
        (tempdir / "out.csv").write_text("a,b\n")
        (tempdir / "full.html").write_text("x")
        return FileOut(report=Path("out.csv"), extra=tempdir / "full.html")

    leaf = _leaf(simulate, tmp_path)
    result = _run(leaf, In())
    assert isinstance(result, LeafResult)
    assert not seen[0].exists()
    report = tmp_path / "runs" / RUN / "results" / "report" / "root-00000003.csv"
    assert report.read_text() == "a,b\n"
    (table,) = _outcomes(leaf, result)
    assert table.column("file:report").to_pylist() == [str(report)]
    assert table.column("file:extra").to_pylist() == [str(report.parent.parent / "extra" / "root-00000003.html")]


def test_output_files_that_are_not_uploaded(tmp_path: Path) -> None:
    where: list[Any] = []

    def simulate(spec: In, tempdir: Path) -> FileOut:
        return FileOut(report=where[0])

    leaf = _leaf(simulate, tmp_path)
    where[:] = ["s3://other/key.csv"]
    remote = _run(leaf, In())
    assert isinstance(remote, LeafResult)
    assert remote.files == {"report": "s3://other/key.csv", "extra": None}
    for path, message in ((Path("no.csv"), "no.csv is not there"), (tmp_path, "is a folder")):
        where[:] = [path]
        result = _run(leaf, In())
        assert isinstance(result, LeafResult)
        assert result.files == {"report": None, "extra": None}
        ((field, what, why),) = result.warnings or []
        assert (field, what) == ("report", "null instead of a file")
        assert message in why


def test_input_files(tmp_path: Path) -> None:
    seen: list[FileIn] = []

    def simulate(spec: FileIn, tempdir: Path) -> Out:
        seen.append(spec)
        assert isinstance(spec.weather, Path)
        return Out(text=spec.weather.read_text())

    (tmp_path / "a.epw").write_text("sunny")
    spec = FileIn(weather=tmp_path / "a.epw")
    leaf = _leaf(simulate, tmp_path, local_file_location="copied-to-tempdir")
    result = _run(leaf, spec)
    assert isinstance(result, LeafResult)
    assert result.output.text == "sunny"  # type: ignore[attr-defined]
    assert seen[0].weather != tmp_path / "a.epw"
    assert seen[0]._original_spec is spec
    assert spec.weather == tmp_path / "a.epw"
    result = _run(leaf, FileIn(weather=tmp_path / "a.epw", schedule=tmp_path / "a.epw"))
    assert isinstance(result, LeafResult)
    assert isinstance(seen[1].schedule, Path)
    assert seen[1].schedule.name == "schedule-a.epw"
    result = _run(_leaf(simulate, tmp_path), FileIn(weather=tmp_path / "a.epw"))
    assert seen[2].weather == tmp_path / "a.epw"
    result = _run(leaf, FileIn(weather=tmp_path / "b.epw"))
    assert isinstance(result, Failure)
    assert result.message == f"the input file weather is not there: {tmp_path}/b.epw"


def test_remote_input_files_go_through_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch(self: object, uri: str, **_: object) -> Path:
        fetched.append(uri)
        path = tmp_path / "cached.epw"
        path.write_text("rain")
        return path

    monkeypatch.setattr("scythe_cli.storage.cache.ArtifactCache.fetch", fetch)

    def simulate(spec: FileIn) -> Out:
        assert isinstance(spec.weather, Path)
        return Out(text=spec.weather.read_text())

    result = _run(_leaf(simulate, tmp_path), FileIn(weather="https://example.org/w.epw"))  # type: ignore[arg-type]
    assert isinstance(result, LeafResult)
    assert fetched == ["https://example.org/w.epw"]

    def leave(spec: FileIn) -> Out:
        return Out(text=str(spec.weather))

    result = _run(
        _leaf(leave, tmp_path, auto_fetch_files=False),
        FileIn(weather="https://example.org/w.epw"),  # type: ignore[arg-type]
    )
    assert isinstance(result, LeafResult)
    assert len(fetched) == 1


@pytest.mark.parametrize("fetches", [True, False])
def test_an_input_file_of_a_run_that_was_moved(tmp_path: Path, fetches: bool) -> None:
    """The function gets what is there now, whether or not the file is copied for it."""
    name = f"{RUN}/artifacts/{sha256(b'rain').hexdigest()}/w.epw"
    (tmp_path / "runs" / name).parent.mkdir(parents=True)
    (tmp_path / "runs" / name).write_bytes(b"rain")

    def simulate(spec: FileIn) -> Out:
        return Out(text=Path(str(spec.weather)).read_text())

    leaf = _leaf(simulate, tmp_path, auto_fetch_files=fetches)
    result = _run(leaf, FileIn(weather=Path("/where/it/was") / name))
    assert isinstance(result, LeafResult), result
    assert vars(result.output)["text"] == "rain"


@pytest.mark.parametrize(
    ("cells", "type_", "told"),
    [
        ([2**63, -1, None], pa.decimal128(19, 0), None),
        ([2**70, True, -1], pa.decimal128(22, 0), None),
        ([2**63, 10**60], pa.string(), "a table has no column of integers that are so large"),
        ([{1: 2}], pa.struct([("1", pa.int64())]), "names in a table are text"),
        ([[{"a": {2: 1}}]], None, "names in a table are text"),
        ([{"a": (1, 2)}], pa.struct([("a", pa.list_(pa.int64()))]), None),
    ],
    ids=repr,
)
def test_cells_that_arrow_takes_in_another_form(cells: list[Any], type_: pa.DataType | None, told: str | None) -> None:
    said: list[tuple[str, str]] = []
    column = array_of_objects(cells, lambda what, why: said.append((what, why)))
    assert type_ is None or column.type == type_
    assert len(column) == len(cells)
    assert [why for _, why in said] == ([told] if told else [])
