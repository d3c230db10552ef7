"""Replicates: cases that run several times, what is told of them, and as many as a goal takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import t as student

from scythe_cli.arrow.seeds import RowSeeds
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Execution, Job
from scythe_cli.errors import UsageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.spec_rows import META_SCHEMA, artifacts_mark
from scythe_cli.run.ledger import write_part
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.allocation.repeating import Goal, more_replicates, read_goals
from scythe_cli.services.project import Project
from tests.growing import CODE, AnsweringEngine, growing_project, write_csv
from tests.made_runs import outcomes


@dataclass
class NoisyEngine(AnsweringEngine):
    """Says of each spec a normal number, x its standard deviation, drawn with the spec's seed; fails where x < 0."""

    rounds: list[int] = field(default_factory=list)

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        with SpecFile.open(job.storage, job.run) as specs:
            table = specs.read(0, job.n_specs)
        seeds = RowSeeds(table, job.seed, leave_out=META_SCHEMA.names, artifacts=artifacts_mark(job.run.experiment_id))
        rows: list[int] = list(range(job.n_specs)) if job.todo is None else job.todo["sort_index"].to_pylist()
        xs: list[float] = table["x"].to_pylist()
        self.rounds.append(len(rows))
        for good, state in ((True, "succeeded"), (False, "failed")):
            part = [row for row in rows if (xs[row] >= 0) == good]
            if not part:
                continue
            made = outcomes(part, state)
            if good:
                ys = [100 + xs[row] * np.random.default_rng(seeds.of(row)).normal() for row in part]
                place = made.column_names.index("out:y")
                made = made.set_column(place, made.schema.field(place), pa.chunked_array([pa.array(ys)]))
            write_part(job.storage, job.run, uuid4().hex, made)
        return Execution()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return growing_project(tmp_path / "my sweep [1]", NoisyEngine())


def test_replicates_that_are_added_are_those_of_one_run(project: Project) -> None:
    file = write_csv(project.root / "a.csv", [1, 2, 3])
    project.allocate(file, replicates=2)
    result = project.allocate(file, replicates=5, into="latest")
    assert (result.n_specs, result.n_added, result.n_known) == (15, 9, 6)
    grown = project.run()
    project.allocate(file, replicates=5)
    whole = project.run()
    tables = [run.scalars().drop("experiment_id", "workflow_run_id", "root_workflow_run_id") for run in (grown, whole)]
    assert tables[0].equals(tables[1])
    assert tables[0]["replicate"].to_list() == [i // 3 for i in range(15)]
    assert tables[0]["x"].to_list() == [1, 2, 3] * 5
    assert len(set(tables[0]["y"])) == 15
    specs = [pq.read_schema(Path(run.uri) / "specs.pq") for run in (grown, whole)]
    assert specs[0].names == specs[1].names
    levels = whole.to_pandas(ids=True).index.names
    assert list(levels).index("replicate") == 4


def test_a_run_without_replicates_gets_some(project: Project) -> None:
    file = write_csv(project.root / "a.csv", [1, 2])
    project.allocate(file)
    assert "replicate" not in project.run().scalars().columns
    project.allocate(file, replicates=3, into="latest")
    assert project.run().scalars()["replicate"].to_list() == [0, 0, 1, 1, 2, 2]
    project.allocate(write_csv(project.root / "b.csv", [5]), into="latest")
    assert project.run().scalars()["replicate"].to_list() == [0, 0, 1, 1, 2, 2, 0]


def test_by_case_tells_mean_deviation_interval_and_quantiles(project: Project) -> None:
    file = write_csv(project.root / "a.csv", [1, -1, 2])
    project.allocate(file, replicates=6)
    run = project.run()
    frame = run.by_case(["y"], confidence=0.9, quantiles=[0.25, 0.995])
    assert frame.columns[:5] == ["case", "x", "label", "weather", "replicates"]
    assert frame.select("case", "x", "replicates", "missing").rows() == [(0, 1, 6, 0), (2, 2, 6, 0)]
    for case, x in ((0, 1), (1, 2)):
        ys = run.scalars().filter(pl.col("x") == x)["y"].to_numpy()
        half = student.ppf(0.95, 5) * ys.std(ddof=1) / np.sqrt(6)
        wanted = [ys.mean(), ys.std(ddof=1), half, ys.mean() - half, ys.mean() + half, *np.quantile(ys, [0.25, 0.995])]
        columns = ["y.mean", "y.sd", "y.half_width", "y.low", "y.high", "y.q25", "y.q99.5"]
        assert frame.select(columns).row(case) == pytest.approx(wanted)
    project.allocate(file, bump="keep")
    single = project.run().by_case(["y"])
    assert single["y.half_width"].is_null().all() or single["y.half_width"].is_nan().all()


def test_until_adds_replicates_where_they_are_needed(project: Project) -> None:
    file = write_csv(project.root / "a.csv", [0.01, 1, 3, 3, -1])
    result = project.allocate(file, until="half_width(y) < 0.3", replicates=5, bump="major")
    run = project.run()
    frame = run.by_case(["y"])
    assert (frame["y.half_width"] < 0.3).all()
    replicates = dict(frame.select("x", "replicates").rows())
    assert replicates[0.01] == 5
    # what the normal distribution would need: (1.96 x / 0.3)²
    assert 25 <= replicates[1] <= 80
    assert 250 <= replicates[3] <= 520
    assert run.scalars().filter(pl.col("x") == -1).is_empty()
    assert result.n_specs == sum(replicates.values()) + 5
    assert result.notices[-1] == "1 case has no replicate that succeeded"
    assert len(project.runs()) == 1


def test_until_ends_with_the_most_replicates(project: Project) -> None:
    file = write_csv(project.root / "a.csv", [1])
    result = project.allocate(file, until="half_width(y) < 0.001%", max_replicates=12)
    assert result.n_specs == 12
    [notice] = [text for text in result.notices if "--until" in text]
    assert notice == "1 case does not reach --until with 12 replicates; --max-replicates allows more"
    more = project.allocate(file, until="half_width(y) < 1", into="latest")
    assert more.n_specs >= 12
    assert "--until is reached" in more.notices[-1]


@pytest.mark.parametrize("width", [0.3, 0.1])
def test_a_goal_takes_few_more_replicates_than_who_knows_the_deviation_would_need(width: float) -> None:
    oracle = next(n for n in range(2, 10**5) if student.ppf(0.975, n - 1) / np.sqrt(n) < width)
    numbers = np.random.default_rng(1).normal(size=(40, 4 * oracle + 200))
    have = np.full(40, 10)
    for _ in range(50):
        sd = np.array([row[:n].std(ddof=1) for row, n in zip(numbers, have, strict=True)])
        half = student.ppf(0.975, have - 1) * sd / np.sqrt(have)
        frame = pl.DataFrame({"replicates": have, "missing": 0 * have, "y.mean": sd, "y.sd": sd, "y.half_width": half})
        more = more_replicates(frame, [Goal("y", width)], confidence=0.95, most=10**6)
        if (more == have).all():
            break
        have = more
    assert (half < width).all()
    assert have.mean() <= 1.2 * oracle


def test_goals_are_read_or_refused() -> None:
    assert read_goals("half_width(y) < 0.01", ["y"]) == [Goal("y", 0.01)]
    both = read_goals(" half_width( y )<=1% and half_width(z) < 2e-3", ["y", "z"])
    assert both == [Goal("y", 0.01, is_relative=True), Goal("z", 0.002)]
    for text in ("", "y < 1", "half_width(y) < 0", "half_width(y) < x", "half_width(y) > 1", "half_width(y) < nan"):
        with pytest.raises(UsageError, match="is no goal"):
            read_goals(text, ["y"])
    with pytest.raises(UsageError, match="no numeric output 'w'"):
        read_goals("half_width(w) < 1", ["y"])


def test_what_does_not_go_together_is_refused(project: Project, tmp_path: Path) -> None:
    file = write_csv(project.root / "a.csv", [1])
    refused: list[tuple[str, dict[str, Any]]] = [
        ("dedupe runs equal cases once", {"replicates": 2, "dedupe": True}),
        ("of a part of a file cannot be added", {"replicates": 2, "into": "latest", "limit": 1}),
        ("replicates is 0", {"replicates": 0}),
        ("confidence is 2", {"until": "half_width(y) < 1", "confidence": 2}),
    ]
    for message, options in refused:
        with pytest.raises(UsageError, match=message):
            project.allocate(file, **options)
    named = growing_project(tmp_path / "named", NoisyEngine(), code=CODE.replace("label: str", "replicate: str"))
    with pytest.raises(UsageError, match="has a field replicate"):
        named.allocate(write_csv(named.root / "a.csv", [1]), replicates=2)
