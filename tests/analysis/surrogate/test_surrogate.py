"""Models of outputs: what they predict, how they are kept, and which cases they ask for."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.analysis.surrogate.assessing import Cases, assess
from scythe_cli.analysis.surrogate.choosing import candidates_of, choose, outer_points
from scythe_cli.analysis.surrogate.failures import Failures, failure_rules
from scythe_cli.analysis.surrogate.fitting import folds_of
from scythe_cli.analysis.surrogate.gaussian import fit_gaussian
from scythe_cli.analysis.surrogate.generator import SurrogateGenerator
from scythe_cli.analysis.surrogate.libraries import VOCS
from scythe_cli.analysis.surrogate.optimizing import OptunaGenerator
from scythe_cli.analysis.surrogate.space import Dimension, Space
from scythe_cli.analysis.surrogate.stored import ExtrapolationWarning, read_surrogate, write_surrogate
from scythe_cli.analysis.surrogate.targets import read_constraints, read_targets
from scythe_cli.core.semver import SemVer
from scythe_cli.errors import NotFoundError, StorageError, UsageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.local import LocalStorage
from tests.fuzzing import cases

NUMBERS = Space((Dimension("a", 0.0, 3.0), Dimension("b", 0.1, 10.0, is_log=True)))
MIXED = Space(
    (Dimension("a", 0.0, 3.0), Dimension("n", 1.0, 5.0, step=1.0, is_whole=True), Dimension("s", values=("x", "y")))
)
RUN = RunLayout("e", SemVer.FromString("v1.0.0"), datetime(2026, 1, 1, tzinfo=UTC))
VARIABLES: dict[str, Any] = {"a": [0.0, 3.0], "b": [-1.0, 1.0], "s": {"x", "y"}}


def output(a: float, b: float, s: str = "x") -> float:
    return (2 if s == "y" else 1) * math.sin(a) + b * b


def some(n: int, seed: int = 0, space: Space = NUMBERS) -> list[dict[str, Any]]:
    return space.points(np.random.default_rng(seed).random((n, len(space.dimensions))))


def smooth(n: int = 40) -> Cases:
    points = some(n)
    return Cases(NUMBERS, points, {"y": np.array([math.sin(p["a"]) + math.log(p["b"]) for p in points])})


@cases(30)
@given(units=st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=5))
def test_a_point_lies_where_its_coordinates_say(units: list[tuple[float, ...]]) -> None:
    points = MIXED.points(np.array(units))
    assert not MIXED.outside({name: [p[name] for p in points] for name in MIXED.names}).any()
    again = MIXED.coordinates(points)
    assert np.allclose(again[:, 0], [u[0] for u in units], atol=1e-12)
    assert [p["s"] for p in points] == ["x" if row[2] > 0 else "y" for row in again]
    assert all(isinstance(p["n"], int) for p in points)
    assert Space.from_json(MIXED.to_json()) == MIXED


def test_what_a_vocs_says_is_the_same_in_every_process() -> None:
    variables: dict[str, Any] = {"n": {3, 1, 2}, "s": {"q", "r", "p"}, "a": [0.0, 1.0]}
    space = Space.of_vocs(VOCS(variables=variables, objectives={"y": "EXPLORE"}))
    assert space.dimensions[0] == Dimension("n", 1.0, 3.0, step=1.0, is_whole=True)
    assert space.dimensions[1].values == ("p", "q", "r")


def test_a_gaussian_process_is_right_where_cases_are_and_unsure_elsewhere() -> None:
    x = np.random.default_rng(1).random((30, 2))
    y = np.sin(3 * x[:, 0]) + x[:, 1]
    process = fit_gaussian(x, y, np.arange(2), seed=[0])
    means, deviations = process.predict(x)
    assert np.allclose(means, y, atol=1e-3)
    assert process.predict(np.array([[3.0, 3.0]]))[1][0] > 50 * deviations.max()


@pytest.mark.parametrize(
    ("said", "value", "holds"),
    [
        ("rmse <= 1%", 0.02, False),
        ("rmse<=3 %", 0.02, True),
        ("mae <= 0.05", 0.02, True),
        ("max_error <= 1%", 0.02, False),
        ("r2 >= 0.999", 0.02, False),
        ("r2 > 0.9", 0.02, True),
    ],
)
def test_targets(said: str, value: float, holds: bool) -> None:
    (target,) = read_targets({"y": said})
    truth = np.linspace(5, 6, 11)
    measured = target.measured(truth, truth + value, 1.0)
    assert (target.ratio(measured) <= 1) is holds


@pytest.mark.parametrize("said", ["rmse", "rmse >= 1%", "r2 <= 0.9", "r2 >= 1", "r2 >= 90%", "rmse <= 0", "of > 1", ""])
def test_what_is_no_target_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match=r"studies\.s\.y"):
        read_targets({"y": said}, "studies.s")


def test_constraints() -> None:
    upper, lower = read_constraints({"c": "<= 100", "d": ">= 0.5"})
    assert (upper.excess(110), lower.excess(0.4) > 0, lower.excess(1) > 0) == (10, True, False)
    with pytest.raises(UsageError, match=r"constraints\.c: 'small' is no constraint"):
        read_constraints({"c": "small"})


def test_folds_divide_each_stratum() -> None:
    strata = [("x",)] * 30 + [("y",)] * 10
    folds = folds_of(40, 10, strata)
    assert np.bincount(folds).tolist() == [4] * 10
    assert np.bincount(folds[30:], minlength=10).tolist() == [1] * 10


def test_strata_are_measured_by_themselves() -> None:
    points = some(60, space=MIXED)
    noise = np.random.default_rng(3).normal(size=60)
    y = np.array([p["a"] + (n if p["s"] == "y" else 0) for p, n in zip(points, noise, strict=True)])
    found = assess(Cases(MIXED, points, {"y": y}), read_targets({"y": "rmse <= 5%"}), ["s"])
    by_stratum = {each.stratum: each.value for each in found.standings}
    assert set(by_stratum) == {(), ("x",), ("y",)}
    assert by_stratum["y",] > by_stratum["x",]
    assert not found.holds


def test_what_is_kept_predicts_the_same(tmp_path: Path) -> None:
    storage, run = LocalStorage(tmp_path), RUN
    with pytest.raises(NotFoundError, match="no surrogate"):
        read_surrogate(storage, run)
    points = some(160, 5)
    jumps = np.array([float(p["a"] > 1) + np.random.default_rng(i).normal() for i, p in enumerate(points)])
    known = smooth(160)
    both = Cases(NUMBERS, points, {"y": known.outputs["y"], "jump": jumps, "same": np.ones(160)})
    found = assess(both, read_targets({"y": "rmse <= 1%"}))
    assert {name: fit.learned.kind for name, fit in found.fits.items()}["same"] == "constant"
    write_surrogate(storage, run, found)
    frame = pl.DataFrame(some(20, 9)).with_columns(other=1)
    first = read_surrogate(storage, run).predict(frame)
    x = NUMBERS.of_columns(frame.to_dict(as_series=False))
    for name, fit in found.fits.items():
        assert np.array_equal(first[name].to_numpy(), fit.predict(x)[0]), name
    assert not list((tmp_path / run.experiment_id).rglob("*.pkl"))
    document = tmp_path / run.experiment_id / "study" / "surrogate.json"
    document.write_text(document.read_text().replace('"form": 2', '"form": 3'))
    with pytest.raises(StorageError, match="was written by a newer version"):
        read_surrogate(storage, run)


def test_outside_of_the_cases_it_warns(tmp_path: Path) -> None:
    storage, run = LocalStorage(tmp_path), RUN
    write_surrogate(storage, run, assess(smooth(), []))
    surrogate = read_surrogate(storage, run)
    with pytest.warns(ExtrapolationWarning, match="1 row lies outside of what the cases cover.*: 1"):
        predicted = surrogate.predict([{"a": 1.0, "b": 1.0}, {"a": 9.0, "b": 1.0}])
    assert predicted["outside"].to_list() == [False, True]
    assert predicted["y.error"][1] > predicted["y.error"][0]
    with pytest.raises(UsageError, match="no column b"):
        surrogate.predict({"a": [1.0]})


def test_where_cases_fail_is_learned_and_said() -> None:
    points = some(80, 2, MIXED)
    good = np.array([not (p["a"] > 2 and p["s"] == "x") for p in points])
    success = Failures.learned(MIXED.coordinates(points), good, MIXED.groups, seed=[0]).success(
        MIXED.coordinates([{"a": 2.8, "n": 2, "s": "x"}, {"a": 0.5, "n": 2, "s": "x"}])
    )
    assert success[0] < 0.3
    assert success[1] > 0.9
    (rule, *_) = failure_rules(MIXED, points, good)
    assert "a > " in rule
    assert rule.endswith(f"{(~good).sum()} of {(~good).sum()} failed")
    assert failure_rules(MIXED, points, np.ones(80, np.bool_)) == []


def told(generator: Any, points: list[dict[str, Any]]) -> None:
    results = [{**p, "y": math.nan if p["a"] > 2.5 else output(p["a"], p["b"], p["s"])} for p in points]
    generator.ingest(results)


def generator(seed: int = 0) -> SurrogateGenerator:
    vocs = VOCS(variables=VARIABLES, objectives={"y": "EXPLORE"})
    return SurrogateGenerator(vocs, targets={"y": "rmse <= 1%"}, strata=["s"], seed=seed)


def first_points(n: int = 24) -> list[dict[str, Any]]:
    return some(n, 4, Space.of_vocs(VOCS(variables=VARIABLES, objectives={"y": "EXPLORE"})))


def test_suggestions_follow_from_what_was_ingested_alone() -> None:
    one, other = generator(), generator()
    told(one, first_points())
    first = one.suggest(4)
    assert first == one.suggest(4)
    told(one, first)
    for points in (first_points(), first):
        told(other, points)
    assert one.suggest(4) == other.suggest(4)
    assert len({tuple(p.values()) for p in [*first, *one.suggest(4)]}) == 8


def test_where_cases_fail_few_are_chosen() -> None:
    suggesting = generator()
    told(suggesting, first_points(40))
    nearest = min(p["a"] for p in first_points(40) if p["a"] > 2.5)
    assert all(p["a"] < nearest for p in suggesting.suggest(12))


def test_before_anything_is_known_points_fill_the_space() -> None:
    points = generator().suggest(8)
    assert len({p["a"] for p in points}) == 8


def test_outer_points_lie_at_edges_and_can_be_chosen_there() -> None:
    space = Space((*NUMBERS.dimensions, Dimension("s", values=("x", "y", "z"))))
    points = outer_points(space, set(), None, seed=[1, 2])
    again = {space.key(point) for point in points}
    assert len(again) == len(points)
    assert points == outer_points(space, set(), None, seed=[1, 2])
    assert not outer_points(space, again, None, seed=[1, 2])
    assert not outer_points(space, set(), points, seed=[1, 2])
    units = space.coordinates(points)[:, :2]
    assert ((units >= 0) & (units <= 1)).all()
    assert 0.2 < ((units < 1e-9) | (units > 1 - 1e-9)).mean() < 0.35
    assert all(100 < sum(point["s"] == value for point in points) < 250 for value in "xyz")


def test_nothing_is_to_be_predicted_at_outer_points() -> None:
    found = assess(smooth(20), read_targets({"y": "rmse <= 0.001%"}))
    candidates = candidates_of(NUMBERS, set(), None, seed=[1])[:128]
    far = [{"a": 3.0 + i, "b": 10.0} for i in range(100, 110)]
    plain = choose(found, candidates, [], 3, seed=[1])
    # far away, all is uncertain, and learning it helps with no candidate
    assert choose(found, candidates, [], 3, seed=[1], also=far) == plain
    outer = outer_points(NUMBERS, set(), None, seed=[1])[:128]
    assert any(point in outer for point in choose(found, candidates, [], 3, seed=[1], also=outer))


def test_a_small_space_is_exhausted() -> None:
    suggesting = SurrogateGenerator(VOCS(variables={"n": {1, 2, 3}}, objectives={"y": "EXPLORE"}))
    suggesting.ingest([{"n": n, "y": float(n)} for n in (1, 3)])
    assert suggesting.suggest(5) == [{"n": 2}]
    suggesting.ingest([{"n": 2, "y": 2.0}])
    assert suggesting.suggest(5) == []


@pytest.mark.filterwarnings("ignore:Argument ``")
def test_optuna_finds_the_least_and_keeps_away_from_what_fails() -> None:
    vocs = VOCS(variables=VARIABLES, objectives={"y": "MINIMIZE"}, constraints={"c": ["GREATER_THAN", 0.5]})
    suggesting = OptunaGenerator(vocs, seed=1)
    ended: list[dict[str, Any]] = []
    for _ in range(25):
        points = suggesting.suggest(2)
        results = [{**p, "y": (p["a"] - 1) ** 2 + p["b"] ** 2, "c": p["a"]} for p in points]
        results = [r | ({"y": math.nan, "c": math.nan} if r["a"] > 2 else {}) for r in results]
        ended += results
        suggesting.ingest(results)
    assert sum(r["a"] > 2 for r in ended[-20:]) < 6
    assert min(r["y"] for r in ended if r["a"] >= 0.5 and not math.isnan(r["y"])) < 0.1
    with pytest.raises(ValueError, match="no case 999"):
        suggesting.ingest([{**ended[0], "_id": 999}])
    with pytest.raises(ValueError, match="to minimize or maximize"):
        OptunaGenerator(VOCS(variables=VARIABLES, objectives={"y": "EXPLORE"}))
