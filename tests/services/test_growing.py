"""Runs that grow: which cases are added, what runs, what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from scythe_cli.analysis.sensitivity import sobol_indices
from scythe_cli.errors import CodeChangedError, InvalidInputError, SamplingFileError, UsageError
from scythe_cli.run.lease import hold_lease
from scythe_cli.run.outcomes.summary import empty_summary
from scythe_cli.services.project import Project
from tests.growing import CODE, AnsweringEngine, AnsweringFleet, growing_project, write_csv


@pytest.fixture
def engine() -> AnsweringEngine:
    return AnsweringEngine()


@pytest.fixture
def project(tmp_path: Path, engine: AnsweringEngine) -> Project:
    return growing_project(tmp_path / "my sweep [1]", engine)


def xs_of(project: Project, reference: str = "latest") -> list[float]:
    run = project.run(reference)
    return pl.read_parquet(Path(run.uri) / "specs.pq", glob=False)["x"].to_list()


def test_new_cases_are_added_and_run_alone(project: Project, engine: AnsweringEngine) -> None:
    project.allocate(write_csv(project.root / "a.csv", [1, 2, 3]))
    result = project.allocate(write_csv(project.root / "b.csv", [3, 5, 1, 4]), into="latest")
    assert (result.n_specs, result.n_added, result.n_known) == (5, 2, 2)
    assert engine.rows == [[0, 1, 2], [3, 4]]
    assert xs_of(project) == [1, 2, 3, 5, 4]
    run = project.run()
    assert run.status().counts is not None
    assert run.status().counts.succeeded == 5
    assert run.scalars()["x"].to_list() == [1, 2, 3, 5, 4]
    assert len(project.runs()) == 1
    assert run.manifest is not None
    [extension] = run.manifest.extensions or []
    assert (extension.first_row, extension.rows, extension.known) == (3, 2, 2)
    assert extension.sampling_file == "b.csv"


def test_specs_are_those_of_one_run_of_all_cases(project: Project) -> None:
    whole = [1.0, 2, 2, 3, 3, 3]
    project.allocate(write_csv(project.root / "a.csv", whole[:2]))
    project.allocate(write_csv(project.root / "b.csv", whole), into="latest")
    grown = project.run()
    project.allocate(project.root / "b.csv")
    at_once = project.run()
    tables = [pq.read_table(Path(run.uri) / "specs.pq") for run in (grown, at_once)]
    own = ["experiment_id", "root_workflow_run_id"]
    assert tables[0].drop_columns(own).equals(tables[1].drop_columns(own))
    assert grown.manifest is not None
    assert at_once.manifest is not None
    assert grown.manifest.specs_sha256 == at_once.manifest.specs_sha256
    assert grown.manifest.cases_sha256 == at_once.manifest.cases_sha256


def test_a_file_that_repeats_a_case_more_often_adds_repetitions(project: Project) -> None:
    project.allocate(write_csv(project.root / "a.csv", [1, 1]))
    result = project.allocate(write_csv(project.root / "b.csv", [1, 1, 1]), into="latest")
    assert (result.n_added, result.n_known) == (1, 2)
    repetitions = pl.read_parquet(Path(project.run().uri) / "specs.pq", glob=False)["__repetition__"]
    assert repetitions.to_list() == [0, 1, 2]


def test_files_count_by_their_content_and_are_uploaded_once(project: Project) -> None:
    for name, text in (("w.epw", "a"), ("same.epw", "a"), ("v.epw", "b")):
        (project.root / name).write_text(text)
    project.allocate(write_csv(project.root / "a.csv", [1], lambda _: "w.epw"))
    (project.root / "b.csv").write_text("x,weather\n1,same.epw\n2,same.epw\n3,v.epw\n")
    result = project.allocate(project.root / "b.csv", into="latest")
    assert (result.n_added, result.n_known) == (2, 1)
    folder = Path(project.run().uri)
    assert sorted(path.name for path in (folder / "artifacts").rglob("*.epw")) == ["v.epw", "w.epw"]
    weather = pl.read_parquet(folder / "specs.pq", glob=False)["weather"]
    assert [Path(uri).name for uri in weather] == ["w.epw", "w.epw", "v.epw"]


def test_with_nothing_new_nothing_is_written(project: Project, engine: AnsweringEngine) -> None:
    file = write_csv(project.root / "a.csv", [1, 2])
    project.allocate(file)
    folder = Path(project.run().uri)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    result = project.allocate(file, into="latest")
    assert (result.n_specs, result.n_added, result.n_known) == (2, 0, 2)
    assert result.ok
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert len(engine.rows) == 1


def test_cases_of_the_file_that_are_pending_are_run_too(project: Project, engine: AnsweringEngine) -> None:
    file = write_csv(project.root / "a.csv", [1, 2, 3])
    project.allocate(file)
    stopped = project.run()
    next((Path(stopped.uri) / "outcomes").glob("*.pq")).unlink()
    empty_summary(stopped.storage, stopped.layout)
    result = project.allocate(write_csv(project.root / "b.csv", [1, 2, 3, 4]), into="latest")
    assert result.ok
    assert len(engine.rows[1]) == 2
    assert engine.rows[1][-1] == 3


@pytest.mark.parametrize("options", [{"limit": 2}, {"sample": 2, "seed": 7}])
def test_a_part_of_a_file_and_then_the_rest(project: Project, options: dict[str, int]) -> None:
    file = write_csv(project.root / "a.csv", [1, 2, 3, 4, 5])
    assert project.plan(file, **options).n_specs == 2  # type: ignore[arg-type]
    first = project.allocate(file, **options)  # type: ignore[arg-type]
    assert first.n_specs == 2
    again = project.allocate(file, **options)  # type: ignore[arg-type]
    assert xs_of(project, first.experiment_id) == xs_of(project, again.experiment_id)
    more = project.allocate(file, into="latest", **options)  # type: ignore[arg-type]
    assert (more.n_specs, more.n_known) == (4, 2)
    assert any("1 case of the file can still be added" in notice for notice in more.notices)
    rest = project.allocate(file, into="latest")
    assert rest.n_specs == 5
    assert sorted(xs_of(project)) == [1, 2, 3, 4, 5]


def test_a_new_field_with_a_default_does_not_stop_it(tmp_path: Path, engine: AnsweringEngine) -> None:
    project = growing_project(tmp_path / "a", engine)
    project.allocate(write_csv(project.root / "a.csv", [1, 2]))
    changed = CODE.replace('label: str = "q"', 'label: str = "q"\n    depth: int = 7')
    later = _changed(project, changed)
    (project.root / "b.csv").write_text("x,depth\n1,7\n1,8\n")
    with pytest.raises(CodeChangedError, match=r"growing_model\.py") as caught:
        later.allocate(project.root / "b.csv", into="latest")
    assert "--accept-new-code" in str(caught.value.hint)
    result = later.allocate(project.root / "b.csv", into="latest", accept_new_code=True)
    assert (result.n_added, result.n_known) == (1, 1)
    table = pl.read_parquet(Path(later.run().uri) / "specs.pq", glob=False)
    assert table["depth"].to_list() == [7, 7, 8]
    assert any("outcomes of the new code are marked" in notice for notice in result.notices)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('label: str = "q"', 'label: str = "q"\n    depth: int', "depth is new and has no default"),
        ('label: str = "q"', "", "it has no field label now"),
        ('label: str = "q"', "label: int = 1", "label was string and is int64"),
        ("y: float", "y: float\n    z: float = 0", "the output model of 'energy' has changed .*: z"),
    ],
)
def test_models_that_do_not_fit_are_refused(
    tmp_path: Path, engine: AnsweringEngine, old: str, new: str, said: str
) -> None:
    project = growing_project(tmp_path / "a", engine)
    project.allocate(write_csv(project.root / "a.csv", [1]))
    later = _changed(project, CODE.replace(old, new, 1))
    cells = "x,depth\n5,1\n" if "depth" in new else "x\n5\n"
    (project.root / "b.csv").write_text(cells)
    with pytest.raises(InvalidInputError, match=said):
        later.allocate(project.root / "b.csv", into="latest", accept_new_code=True)
    assert xs_of(project) == [1]


def _changed(project: Project, code: str) -> Project:
    """The project in another process, after its module was changed."""
    import sys

    from scythe_cli.registry import ExperimentRegistry

    sys.modules.pop("growing_model", None)
    ExperimentRegistry.clear()
    return growing_project(project.root, project.engine, code=code)


def test_what_does_not_go_together_is_refused(project: Project) -> None:
    file = write_csv(project.root / "a.csv", [1])
    project.allocate(file)
    with pytest.raises(UsageError, match="--reuse does not go with --into"):
        project.allocate(file, into="latest", reuse=True)
    with pytest.raises(UsageError, match=r"the seed of energy/.* is 0"):
        project.allocate(file, into="latest", seed=3)
    with pytest.raises(UsageError, match="is a run of 'energy', not of 'other'"):
        project.allocate(file, into="latest", experiment="other")
    with pytest.raises(UsageError, match="exclude each other"):
        project.allocate(file, limit=1, sample=1)
    with pytest.raises(UsageError, match="--plan does not go with --into"):
        project.plan(file, into="latest")
    with pytest.raises(UsageError, match="limit is 0"):
        project.allocate(file, limit=0)
    with pytest.raises(UsageError, match="accept_new_code is for adding to a run"):
        project.allocate(file, accept_new_code=True)
    (project.root / "bad.csv").write_text("x\nabc\n")
    with pytest.raises(SamplingFileError, match="line 2, x: abc"):
        project.allocate(project.root / "bad.csv", into="latest")


def test_while_another_process_is_at_work_it_is_told(project: Project) -> None:
    file = write_csv(project.root / "a.csv", [1])
    project.allocate(file)
    run = project.run()
    more = write_csv(project.root / "b.csv", [2])
    with hold_lease(run.storage, run.layout), pytest.raises(UsageError, match="another process is working on"):
        project.allocate(more, into="latest")
    assert project.allocate(more, into="latest").n_specs == 2


def test_on_a_fleet_the_lease_is_held_for_a_moment(tmp_path: Path) -> None:
    engine = AnsweringFleet()
    project = growing_project(tmp_path / "a", engine)
    project.allocate(write_csv(project.root / "a.csv", [1]))
    result = project.allocate(write_csv(project.root / "b.csv", [1, 2]), into="latest")
    assert result.ok
    assert engine.rows[-1] == [1]
    assert not list(Path(project.run().uri).glob(".lease*"))


def test_retry_and_verify_and_errors_read_a_grown_run(project: Project, engine: AnsweringEngine) -> None:
    project.allocate(write_csv(project.root / "a.csv", [1, 2]))
    engine.state = "failed"
    grown = project.allocate(write_csv(project.root / "b.csv", [3, 4]), into="latest")
    assert grown.counts.failed == 2
    assert [error.sort_index for error in project.run().errors().errors] == [2, 3]
    engine.state = "succeeded"
    vars(project)["engine_named"] = lambda _: engine
    assert project.retry().ok
    assert engine.rows[-1] == [2, 3]


def test_indices_of_a_grown_run_are_of_the_rows_of_its_design(project: Project) -> None:
    project.sample(project.root / "s.csv", design="saltelli", n=8, seed=1, set={"x": (0, 1)})
    project.allocate(project.root / "s.csv")
    before = sobol_indices(project.run(), ["y"])
    project.allocate(write_csv(project.root / "b.csv", [7, 8]), into="latest")
    after = sobol_indices(project.run(), ["y"])
    assert after.indices == before.indices
    assert any("without the 2 added later" in notice for notice in after.notices)
