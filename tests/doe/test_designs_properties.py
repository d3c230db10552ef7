"""Whatever the model, a sampling file that was made from it is valid for it, and says what it should."""

from __future__ import annotations

import math
import tempfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, Field, create_model

from scythe_cli.base import ExperimentInputSpec
from scythe_cli.doe.drawing import draw
from scythe_cli.doe.rows import draw_rows
from scythe_cli.doe.sample_file import sample_file
from scythe_cli.doe.settings import SampleOptions
from scythe_cli.doe.variables import variable_of
from scythe_cli.sampling.reading import read_design, read_sampling_file
from tests.fuzzing import cases


@st.composite
def _bounded(draw_: Any, values: Any, *, is_continuous: bool) -> dict[str, Any]:
    """Bounds with a value between them."""
    low, high = sorted([draw_(values), draw_(values)])
    opens = is_continuous and low < high
    lower = draw_(st.sampled_from(["ge", "gt"] if opens else ["ge"]))
    upper = draw_(st.sampled_from(["le", "lt"] if opens else ["le"]))
    if is_continuous and isinstance(low, float) and math.nextafter(math.nextafter(low, high), high) >= high:
        lower, upper = "ge", "le"
    return {lower: low, upper: high}


_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_INTS = st.integers(-(2**63), 2**63 - 1)
_TEXT = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=6)
_WORDS = st.lists(_TEXT.filter(lambda t: bool(t.strip())), min_size=1, max_size=4, unique=True)
_MOMENTS = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))


def _field(type_: Any, bounds: Any) -> Any:
    return bounds.map(lambda b: Annotated[type_, Field(**b)])


_NUMBERS = st.one_of(
    _field(float, _bounded(_FLOATS, is_continuous=True)),
    _field(int, _bounded(_INTS, is_continuous=False)),
    st.integers(1, 50).flatmap(
        lambda m: st.integers(-100, 100).map(lambda k: Annotated[int, Field(multiple_of=m, ge=k * m, le=(k + 3) * m)])
    ),
    st.sampled_from([0.1, 0.25, 0.5, 2.5]).map(lambda m: Annotated[float, Field(multiple_of=m, ge=-3 * m, lt=4 * m)]),
    _field(Decimal, _bounded(st.decimals(-1000, 1000, places=2), is_continuous=False)),
)
_OTHERS = st.one_of(
    st.just(bool),
    _WORDS.map(lambda words: Literal[tuple(words)]),
    st.lists(st.integers(-5, 5), min_size=1, unique=True).map(lambda numbers: Literal[tuple(numbers)]),
    _field(date, _bounded(st.dates(date(1, 1, 1)), is_continuous=False)),
    _field(datetime, _bounded(_MOMENTS, is_continuous=False)),
    _field(AwareDatetime, _bounded(_MOMENTS.map(lambda m: m.replace(tzinfo=UTC)), is_continuous=False)),
    _field(timedelta, _bounded(st.timedeltas(timedelta(0), timedelta(days=4000)), is_continuous=False)),
)
_PLAIN = _NUMBERS | _OTHERS
_OPTIONAL = _PLAIN.map(lambda type_: (type_ | None, None))
_REQUIRED = _PLAIN.map(lambda type_: (type_, ...))
_NAMES = st.sampled_from(["a", "b", "tilt", "u_value", "öl", "x1"])


@st.composite
def _models(draw_: Any) -> type[ExperimentInputSpec]:
    fields = draw_(st.dictionaries(_NAMES, _REQUIRED | _OPTIONAL, min_size=1, max_size=4))
    if draw_(st.booleans()):
        parts = draw_(st.dictionaries(_NAMES, _REQUIRED, min_size=1, max_size=2))
        fields["part"] = (create_model("Part", __base__=BaseModel, **parts), ...)
    return create_model("Made", __base__=ExperimentInputSpec, **fields)


@cases(20, at_night=500)
@given(
    model=_models(),
    design=st.sampled_from(["lhs", "sobol", "random", "grid", "oat", "saltelli"]),
    seed=st.integers(0, 2**63),
    n=st.integers(1, 9),
    suffix=st.sampled_from([".csv", ".pq"]),
)
def test_a_sampling_file_is_valid_for_its_model(model: Any, design: Any, seed: int, n: int, suffix: str) -> None:
    random = design not in ("grid", "oat")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"cases{suffix}"
        result = sample_file(
            path,
            "made",
            model,
            design,
            n=n if random else None,
            seed=seed if random else None,
            options=None if random else SampleOptions(default_levels=2),
        )
        table = read_sampling_file(path, model)  # raises if a value is out of bounds

        assert table.inputs.num_rows == result.n_specs
        assert table.defaulted == []
        assert table.ignored == []
        record, notice = read_design(path)
        assert notice is None
        assert record is not None
        assert record.model_copy(update={"file_sha256": None}) == result.design


@given(
    low=_FLOATS,
    high=_FLOATS,
    unit=st.lists(st.floats(0, 1, exclude_max=True), min_size=2),
    kind=st.sampled_from(["uniform", "log", "normal", "triangular"]),
)
def test_distributions_are_monotone_and_within_bounds(low: float, high: float, unit: list[float], kind: str) -> None:
    low, high = sorted([low, high])
    if low == high or not math.isfinite(high - low) or (kind == "log" and low <= 0):
        return
    if kind in ("normal", "triangular") and not 1e-100 < high - low < 1e100:
        return
    model = create_model("M", __base__=ExperimentInputSpec, x=(Annotated[float, Field(ge=low, le=high)], ...))
    said: dict[str, Any] = {
        "normal": {"normal": {"x": (low / 2 + high / 2, (high - low) / 3)}},
        "triangular": {"triangular": {"x": (low, low / 2 + high / 2, high)}},
        "log": {"log": ["x"]},
    }.get(kind, {})
    from scythe_cli.doe.domains import leaves_of
    from scythe_cli.doe.settings import read_settings

    leaves = leaves_of(model)
    variable = variable_of(
        leaves[0],
        read_settings(SampleOptions(**said), leaves, from_folder=Path(), to_folder=Path())["x"],
    )
    values = variable.at(np.sort(np.array(unit))).to_numpy()
    assert ((values >= low) & (values <= high)).all()
    slack = 1e-12 * max(abs(low), abs(high))
    assert (np.diff(values) >= -slack).all()


@given(n=st.integers(1, 300), d=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_lhs_is_stratified(n: int, d: int, seed: int) -> None:
    fields: dict[str, Any] = {f"x{i}": (Annotated[float, Field(ge=0, le=1)], ...) for i in range(d)}
    model = create_model("M", __base__=ExperimentInputSpec, **fields)
    frame: Any = pl.from_arrow(draw(model, "lhs", n=n, seed=seed).table)
    for name in fields:
        strata = np.floor(frame[name].to_numpy() * n + 1e-9).astype(int)
        assert sorted(strata.clip(0, n - 1)) == list(range(n))


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_a_grid_has_each_combination_once(counts: list[int]) -> None:
    from scythe_cli.doe.domains import leaves_of
    from scythe_cli.doe.settings import FieldSettings

    fields: dict[str, Any] = {f"x{i}": (Annotated[float, Field(ge=0, le=1)], ...) for i in range(len(counts))}
    model = create_model("M", __base__=ExperimentInputSpec, **fields)
    variables = [variable_of(leaf, FieldSettings()) for leaf in leaves_of(model)]
    levels = {variable.name: count for variable, count in zip(variables, counts, strict=True)}
    made = draw_rows("grid", variables, n=None, seed=None, levels=levels, all_levels=None)
    rows = list(zip(*(column.to_pylist() for column in made.columns), strict=True))
    assert len(rows) == len(set(rows)) == math.prod(counts)
    assert rows == sorted(rows)
    assert [len(set(column.to_pylist())) for column in made.columns] == counts
