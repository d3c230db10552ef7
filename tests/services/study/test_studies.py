"""Studies as a whole, with cases that are answered at once."""

from __future__ import annotations

import math
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from gest_api import Generator

from scythe_cli.engines.base import Engine
from scythe_cli.errors import ConfigError, NotFoundError, UsageError
from scythe_cli.services.project import Project
from scythe_cli.services.study.calling import made_study
from scythe_cli.services.study.listing import listed_studies, plan_study
from scythe_cli.services.study.records import StudyResult
from scythe_cli.services.study.settings import configured_study
from tests.studying import ComputingEngine, points_of, studied, study_project

PREDICT = """
initial = 16
batch = 8
targets = { y = "rmse <= 2%", z = "r2 >= 0.98" }
strata = ["site"]
max_cases = 200
"""
HERE = "tests.services.study.test_studies"


class Drawing(Generator):
    """A generator of somebody else: its state is that of a source of random numbers, and it knows its cases by ids."""

    returns_id = True
    told: list[dict[str, Any]] = []

    def __init__(self, vocs: Any, *, spread: float = 1.0, seed: int | None = None) -> None:
        super().__init__(vocs)
        self._vocs, self._dice, self._spread = vocs, random.Random(seed), spread
        self._open: dict[int, dict[str, Any]] = {}
        self._n = 0

    def _validate_vocs(self, vocs: Any) -> None:
        assert vocs.variables

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        points = []
        for _ in range(num_points or 1):
            point: dict[str, Any] = {"_id": self._n}
            for name, variable in self._vocs.variables.items():
                values = getattr(variable, "values", None)
                low, high = (0, 0) if values is not None else variable.domain
                point[name] = self._dice.uniform(low, high) if values is None else self._dice.choice(sorted(values))
            self._open[self._n] = point
            self._n += 1
            points.append(point)
        return points

    def ingest(self, results: list[dict[str, Any]]) -> None:
        for result in results:
            if "_id" in result:
                assert self._open.pop(result["_id"])["a"] == result["a"]
            assert math.isfinite(result["y"])
            # what comes next depends on what was told
            self._dice.seed(self._dice.random() + result["y"])
        type(self).told += results


def wandering(vocs: Any) -> Drawing:
    """A generator that suggests something else each time."""
    return Drawing(vocs, seed=None)


@dataclass(frozen=True)
class Reached:
    """A study that has reached its targets, for all tests that ask what came of it.

    Attributes:
        folder: That of its project.
        result: What came of it.
        rows: The rows that each round has run.
        said: What was told after each round.
    """

    folder: Path
    result: StudyResult
    rows: list[list[int]]
    said: list[str]

    def copied(self, folder: Path, study: str = PREDICT, engine: Engine | None = None) -> Project:
        """Its project in a folder of a test's own."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return study_project(folder, study, engine)


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Reached:
    folder, engine, said = tmp_path_factory.mktemp("reached"), ComputingEngine(), list[str]()
    result = studied(study_project(folder, PREDICT, engine), on_round=lambda _, line: said.append(line))
    return Reached(folder, result, engine.rows, said)


def test_targets_are_reached_in_each_stratum_and_the_tables_are_there(reached: Reached, tmp_path: Path) -> None:
    project, result, said = reached.copied(tmp_path), reached.result, reached.said
    assert (result.end, result.ok, result.reason) == ("reached", True, "all targets hold")
    last = result.rounds[-1]
    assert {tuple(each.stratum) for each in last.standings} == {(), ("Oslo",), ("Rome",)}
    assert all(each.ratio is not None and each.ratio <= 1 for each in last.standings)
    assert [each.cases for each in result.rounds] == list(range(15, 15 + 8 * len(said), 8))  # the model refuses one
    assert said[0].startswith("s round 0: 15 cases")
    run = project.run()
    assert run.scalars().height == last.succeeded == result.counts.succeeded
    history = run.study()
    assert history is not None
    assert (history.rounds, history.end) == (result.rounds, "reached")
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [0.5, -0.5], "n": [1, 4], "site": ["Oslo", "Rome"]})
    predicted = run.surrogate().predict(frame)
    truth = [math.sin(1) + 0.25 + 0.1, 2 * math.sin(2) + 0.25 + 0.4]
    assert predicted["y"].to_list() == pytest.approx(truth, abs=0.15)
    figure = run.plot(kind="convergence", y="y")
    assert "y rmse <= 2 %, Rome" in figure.text()
    assert figure.notes == [f"{len(result.rounds)} rounds", "all targets hold"]
    with pytest.raises(UsageError, match="has nothing measured of q"):
        run.plot(kind="convergence", y="q")
    run.report(tmp_path / "report.html")
    assert "s: all targets hold" in (tmp_path / "report.html").read_text()


def test_no_case_is_run_twice_or_refused_by_the_model(reached: Reached, tmp_path: Path) -> None:
    rows = [row for each in reached.rows for row in each]
    points = points_of(reached.copied(tmp_path))
    assert sorted(rows) == list(range(len(points)))
    assert len(set(points)) == len(points)
    assert not any(a > 2.5 and b > 0.8 for a, b, _, _ in points)


def test_a_finished_study_runs_nothing_and_goes_on_with_a_harder_target(reached: Reached, tmp_path: Path) -> None:
    first, engine = reached.result, ComputingEngine()
    assert studied(reached.copied(tmp_path, engine=engine)).rounds == first.rounds
    assert engine.rows == []
    harder = PREDICT.replace("rmse <= 2%", "rmse <= 0.5%")
    again = studied(study_project(tmp_path, harder, engine))
    assert again.experiment_id == first.experiment_id
    assert again.counts.total > first.counts.total


@pytest.mark.parametrize(
    ("study", "function", "end", "reason"),
    [
        (
            "initial = 8\nbatch = 8\nmax_cases = 20",
            None,
            "max_cases",
            "20 cases, as many as max_cases",
        ),
        ("initial = 8", "raises", "too_few", "only 0 of 8 cases succeeded"),
        ("initial = 16\nbatch = 2\npatience = 2", "noise", "no_progress", "no progress in 2 rounds: y has rmse"),
        (
            'set = { n = "1:4" }\nonly = ["n"]\nfix = { a = 1, b = 0 }\ninitial = 4',
            None,
            "exhausted",
            "suggests no case",
        ),
    ],
)
def test_why_it_ends(study: str, function: Any, end: str, reason: str, tmp_path: Path) -> None:
    def raises(*_: object) -> tuple[float, float]:
        raise ValueError("no")

    dice = random.Random(1)
    functions: dict[str, Any] = {"raises": raises, "noise": lambda *_: (dice.random(), 0.0)}
    engine = ComputingEngine(functions.get(function, function)) if function else ComputingEngine()
    result = studied(study_project(tmp_path, f'{study}\ntargets = {{ y = "rmse <= 0.0001%" }}', engine))
    assert result.end == end
    assert not result.ok
    assert reason in result.reason


def test_what_it_was_begun_with_cannot_change(tmp_path: Path) -> None:
    short = FOREIGN.replace("max_cases = 16", "max_cases = 4")
    first = studied(study_project(tmp_path, short))
    with pytest.raises(UsageError, match=r"begun with other settings: seed") as raised:
        studied(study_project(tmp_path, f"{short}seed = 4"))
    assert "--new" in str(raised.value.hint)
    assert studied(study_project(tmp_path, f"{short}seed = 4"), new=True).experiment_id != first.experiment_id


FOREIGN = f"""
initial = 4
batch = 3
suggest = "{HERE}:Drawing"
options = {{ spread = 2.0 }}
targets = {{ y = "minimize" }}
max_cases = 16
"""


def test_a_generator_of_somebody_else_goes_on_where_it_was(tmp_path: Path) -> None:
    Drawing.told.clear()
    project = study_project(tmp_path / "whole", FOREIGN)
    result = studied(project)
    points, told = points_of(project), list(Drawing.told)
    assert result.end == "max_cases"
    assert [("_id" in each) for each in told[:4]] == [False] * len(told[:4])
    assert sum("_id" in each for each in told) >= 8
    begun = study_project(tmp_path / "parts", FOREIGN.replace("max_cases = 16", "max_cases = 10"))
    studied(begun)
    Drawing.told.clear()
    again = study_project(tmp_path / "parts", FOREIGN)
    assert studied(again).notices == []
    assert points_of(again) == points
    assert Drawing.told == told
    best = result.rounds[-1].best[0]
    assert best.outputs["y"] == min(project.run().scalars()["y"])


def test_one_that_is_not_deterministic_learns_from_the_cases_of_the_run(tmp_path: Path) -> None:
    study = FOREIGN.replace(":Drawing", ":wandering").replace("options = { spread = 2.0 }", "")
    studied(study_project(tmp_path, study.replace("max_cases = 16", "max_cases = 10")))
    result = studied(study_project(tmp_path, study))
    assert result.counts.total == 16
    assert any("it is not deterministic" in notice for notice in result.notices)


@pytest.mark.parametrize(
    ("suggest", "message"),
    [("math:floor", "makes no generator"), (f"{HERE}:HERE", "not callable|no function|is a str")],
)
def test_what_is_no_generator_is_told_before_anything_runs(suggest: str, message: str, tmp_path: Path) -> None:
    project = study_project(tmp_path, f'suggest = "{suggest}"\ntargets = {{ y = "minimize" }}')
    with pytest.raises(Exception, match=message):
        studied(project)
    assert not list(tmp_path.glob("runs/*/*/*"))


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ('targets = { y = "rmse < x" }', r"studies\.s\.targets\.y: 'rmse < x' is no target"),
        ('targets = { q = "rmse <= 1%" }', "there is no numeric output 'q'"),
        ('targets = { y = "minimize" }', "surrogate needs an output with a target"),
        ('suggest = "optimize"\ntargets = { y = "r2 >= 0.9" }', "optimize needs an output to 'minimize'"),
        ('targets = { y = "r2 >= 0.9", z = "minimize" }', "either predicted or made small"),
        ('targets = { y = "r2 >= 0.9" }\nstrata = ["a"]', "'a' has numbers between two ends"),
        ('targets = { y = "r2 >= 0.9" }\nstrata = ["q"]', "'q' is no field that varies"),
        ('targets = { y = "r2 >= 0.9" }\nset = { q = "1:2" }', "there is no field 'q'"),
    ],
)
def test_what_cannot_be_is_told(study: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        configured_study(study_project(tmp_path, study), "s")


@pytest.mark.parametrize("study", ["", "targets = {}", 'targets = { y = "minimize" }\nsuggest = "magic"'])
def test_what_is_no_study_is_no_configuration(study: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"studies\.s\.(targets|suggest)"):
        study_project(tmp_path, study)


def test_a_population_has_all_cases_that_there_are(tmp_path: Path) -> None:
    dice = random.Random(3)
    sites = ["Oslo"] * 90 + ["Rome"] * 10
    rows = [(dice.uniform(0, 2.4), dice.uniform(-1, 1), dice.randint(1, 4), site) for site in sites]
    population = pl.DataFrame(rows, ["a", "b", "n", "site"], orient="row")
    tmp_path.mkdir(exist_ok=True)
    population.write_parquet(tmp_path / "all.parquet")
    study = 'population = "all.parquet"\ninitial = 12\nbatch = 6\nmax_cases = 30\nstrata = ["site"]\n'
    project = study_project(tmp_path, study + 'targets = { y = "rmse <= 0.001%" }')
    result = studied(project)
    points = points_of(project)
    assert len(points) == len(set(points)) == 30
    assert set(points) <= set(population.rows())
    assert [p[3] for p in points[:12]].count("Rome") == 6
    assert {tuple(each.stratum) for each in result.rounds[-1].standings} == {(), ("Oslo",), ("Rome",)}


def test_the_list_and_the_plan_run_nothing(reached: Reached, tmp_path: Path) -> None:
    engine = ComputingEngine()
    project = study_project(tmp_path / "new", PREDICT, engine)
    (listed,) = listed_studies(project)
    assert (listed.name, listed.run, listed.cases) == ("s", None, 0)
    study = configured_study(project, "s")
    plan = plan_study(project, study)
    assert (plan.run, plan.initial, plan.batch, plan.pending) == (None, 15, 8, 0)
    assert plan.fields["site"] == "Oslo, Rome"
    assert engine.rows == []
    project = reached.copied(tmp_path / "reached", engine=engine)
    (listed,) = listed_studies(project)
    assert listed.run == project.run().experiment_id
    assert listed.last is not None
    assert plan_study(project, configured_study(project, "s")).end == "reached"
    assert engine.rows == []
    with pytest.raises(NotFoundError, match="there is no study 'q'"):
        configured_study(project, "q")


def of_call(a: float, kind: str = "x") -> float:
    """What a call studies."""
    return a * (2 if kind == "y" else 1)


def test_a_study_of_a_function(tmp_path: Path) -> None:
    project: Project = study_project(tmp_path, PREDICT)
    settings: Any = {"set": {"a": (0, 2), "kind": ["x", "y"]}, "targets": {"value": "rmse <= 1%"}, "strata": ["kind"]}
    study = made_study(project, of_call, None, settings)
    assert (study.name, study.space.names, study.first.table.num_rows) == ("of_call", ["a", "kind"], 8)
    with pytest.raises(UsageError, match="initial: Input should be greater"):
        made_study(project, of_call, None, {**settings, "initial": 1})
    with pytest.raises(UsageError, match="has its settings"):
        made_study(project, "s", None, settings)
