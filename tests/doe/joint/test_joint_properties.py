"""Rows that hold, rows of populations and correlated fields, whatever was asked for."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, create_model

from scythe_cli.base import ExperimentInputSpec
from scythe_cli.doe.domains import leaves_of
from scythe_cli.doe.drawing import Drawn, draw_settings
from scythe_cli.doe.points import base_points, unending
from scythe_cli.doe.settings import SampleOptions, read_settings
from tests.fuzzing import cases

SEQUENCES = ["lhs", "sobol", "halton", "random"]


def frame_of(drawn: Drawn) -> pl.DataFrame:
    frame: Any = pl.from_arrow(drawn.table)
    return frame


@cases(25, at_night=500)
@given(
    design=st.sampled_from(SEQUENCES),
    n=st.integers(1, 40),
    more=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    share=st.floats(0.1, 1),
    d=st.integers(1, 3),
)
def test_rows_hold_and_are_the_first_of_a_larger_design(
    design: Any, n: int, more: int, seed: int, share: float, d: int
) -> None:
    fields: dict[str, Any] = {f"x{i}": (Annotated[float, Field(ge=-i, le=i + 1)], ...) for i in range(d)}
    model = create_model("M", __base__=ExperimentInputSpec, **fields)
    where = f"x{d - 1} <= {-(d - 1) + share * (2 * d - 1)} AND x0 >= 0"
    options, leaves = SampleOptions(where=[where]), leaves_of(model)
    settings = read_settings(options, leaves, from_folder=None, to_folder=None)  # type: ignore[arg-type]

    def part(count: int, before: list[int]) -> Drawn:
        return draw_settings(
            model, leaves, settings, design, n=count, seed=seed, options=options, experiment=None, before=before
        )

    parts = [part(n, []), part(more, [n])]
    for made, rows in zip(parts, (n, more), strict=True):
        assert made.table.num_rows == rows
        held = pl.SQLContext(t=frame_of(made)).execute(f"SELECT * FROM t WHERE {where}", eager=True)
        assert held.height == rows
    both = pl.concat(map(frame_of, parts))
    if design != "lhs":  # a hypercube begins with as many points as were asked for
        assert both.equals(frame_of(part(n + more, [])))
        return
    strata = n
    while strata < (parts[1].record.tried or 0):
        strata *= 2
    places = (both["x0"].to_numpy() * strata + 1e-9).astype(int)
    assert len(set(places)) == len(places)


@cases(20)
@given(design=st.sampled_from(SEQUENCES), first=st.integers(1, 50), d=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_unending_points_begin_with_those_of_the_design(design: str, first: int, d: int, seed: int) -> None:
    pieces = unending(design, first, d, seed)
    points = np.concatenate([next(pieces), next(pieces)])
    parts = [first, first] if design == "lhs" else [len(points)]
    assert np.array_equal(points[: sum(parts)], base_points(design, parts, d, seed))
