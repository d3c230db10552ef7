"""Rows that hold, rows of populations and correlated fields, whatever was asked for."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import polars as pl
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field, create_model

from scythe_cli.base import ExperimentInputSpec
from scythe_cli.doe.domains import leaves_of
from scythe_cli.doe.drawing import Drawn, draw_settings
from scythe_cli.doe.joint.population_rows import population_rows, shared_out
from scythe_cli.doe.points import base_points, unending
from scythe_cli.doe.settings import SampleOptions, read_settings
from scythe_cli.errors import UsageError
from tests.fuzzing import cases

SEQUENCES = ["lhs", "sobol", "halton", "random"]


def frame_of(drawn: Drawn) -> pl.DataFrame:
    frame: Any = pl.from_arrow(drawn.table)
    return frame


@cases(12, at_night=500)
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


@cases(100)
@given(data=st.data())
def test_populations_are_drawn_as_they_should_be(data: st.DataObject) -> None:
    n_strata = data.draw(st.integers(1, 5))
    # strata without a row, with one, with many
    rooms = data.draw(st.lists(st.sampled_from([0, 1, 2, 7, 20]), min_size=n_strata, max_size=n_strata))
    strata = np.repeat(np.arange(n_strata), rooms).astype(np.int64)
    strata = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(strata)
    weight = st.sampled_from([0.0, 1e-300, 0.5, 1.0, 3.0, 1e300])
    weights = np.array(data.draw(st.lists(weight, min_size=len(strata), max_size=len(strata))), np.float64)
    parts = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    per_stratum, seed = data.draw(st.booleans()), data.draw(st.integers(0, 2**63))
    n_room = int((weights > 0).sum())
    drawn: list[Any] = []
    try:
        for i in range(1, len(parts) + 1):
            drawn.append(population_rows(strata, n_strata, weights, parts[:i], per_stratum=per_stratum, seed=seed))
    except UsageError:  # there are no more
        assert n_room == 0 or per_stratum or sum(parts[: len(drawn) + 1]) > n_room
    if not drawn:
        return
    rows = np.concatenate([each.rows for each in drawn])
    assert (weights[rows] > 0).all()
    assert [len(each.rows) for each in drawn] == drawn[-1].sizes
    assert all((np.bincount(strata[each.rows], minlength=n_strata) == each.counts).all() for each in drawn)
    if not drawn[0].replaced:
        assert len(set(rows.tolist())) == len(rows)
    if per_stratum:
        room = np.bincount(strata[weights > 0], minlength=n_strata)
        assert (np.bincount(strata[rows], minlength=n_strata) == np.minimum(sum(parts[: len(drawn)]), room)).all()


@cases(100)
@given(
    n=st.integers(0, 60),
    shares=st.lists(st.floats(0, 1e6), min_size=1, max_size=6).filter(any),
    more=st.integers(0, 60),
)
def test_strata_are_never_a_row_off(n: int, shares: list[float], more: int) -> None:
    share, room = np.array(shares), np.full(len(shares), 2**62)
    counts = shared_out(n, share, room, np.zeros(len(shares), np.int64))
    assert counts.sum() == n
    assert (np.abs(counts - n * share / share.sum()) < 1 + 1e-6).all()
    longer = shared_out(n + more, share, room, counts)
    assert longer.sum() == n + more
    assert (longer >= counts).all()


@cases(40)
@given(
    asked=st.lists(st.floats(-0.85, 0.85), min_size=1, max_size=3),
    n=st.integers(60, 300),
    seed=st.integers(0, 2**32),
    design=st.sampled_from(SEQUENCES),
)
def test_rank_correlations_are_near_what_was_asked(asked: list[float], n: int, seed: int, design: Any) -> None:
    fields: dict[str, Any] = {f"x{i}": (Annotated[float, Field(ge=0, le=1)], ...) for i in range(4)}
    model = create_model("M", __base__=ExperimentInputSpec, **fields)
    pairs = {f"x{i},x{i + 1}": value for i, value in enumerate(asked)}
    options, leaves = SampleOptions(correlation=pairs), leaves_of(model)
    settings = read_settings(options, leaves, from_folder=None, to_folder=None)  # type: ignore[arg-type]
    matrix = np.eye(4)
    for i, value in enumerate(asked):
        matrix[i, i + 1] = matrix[i + 1, i] = 2 * np.sin(np.pi * value / 6)
    assume(np.linalg.eigvalsh(matrix)[0] > 1e-6)
    made = draw_settings(model, leaves, settings, design, n=n, seed=seed, options=options, experiment=None)
    plain = base_points(design, [n], 4, seed)
    frame = frame_of(made)
    for i in range(4):
        assert np.array_equal(np.sort(frame[f"x{i}"].to_numpy()), np.sort(plain[:, i]))
    for pair, value in pairs.items():
        reached = frame.select(pl.corr(*pair.split(","), method="spearman")).item()
        assert abs(reached - value) < 0.05 + 0.4 / np.sqrt(n)
        assert abs(made.quality.rank_correlation[pair] - reached) < 1e-5
