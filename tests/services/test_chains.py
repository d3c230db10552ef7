"""A run in place of a sampling file: which rows and columns become cases, what is refused, and what is kept of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scythe_cli.errors import MissingFileError, NotFoundError, SamplingFileError, ScytheError, SpecsError, UsageError
from scythe_cli.run import manifest
from scythe_cli.run.chain.lineage import read_lineage
from scythe_cli.run.lease import hold_lease
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.sampling.reading import SamplingTable
from scythe_cli.services.allocation.intake import cases_of
from scythe_cli.services.allocation.options import AllocateOptions
from scythe_cli.services.project import Project
from tests import servers
from tests.chaining import CallingEngine, chain_project, write_roofs

ENERGY = {"energy": "annual_yield"}


@pytest.fixture
def engine() -> CallingEngine:
    return CallingEngine()


@pytest.fixture
def project(tmp_path: Path, engine: CallingEngine, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = chain_project(tmp_path / "my sweep [1]", engine)
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a run, for what reads it and runs nothing."""
    project = chain_project(tmp_path_factory.mktemp("done"), CallingEngine(), module="chain_done")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(manifest, "_git_state", lambda folder: (None, None))
        solar(project, [10, 20, 90, 40, 30], "BABAB")
    return project


def cases(project: Project, **options: Any) -> SamplingTable:
    return cases_of(project, "solar", AllocateOptions(experiment="economics", **options)).table


def solar(project: Project, tilts: list[float], sites: str = "", **options: Any) -> str:
    file = write_roofs(project.root / "roofs.csv", tilts, sites)
    return project.allocate(file, experiment="solar", **options).experiment_id


def specs_of(project: Project, reference: str = "economics") -> pl.DataFrame:
    return pl.read_parquet(Path(project.run(reference).uri) / "specs.pq", glob=False)


def test_inputs_and_outputs_by_name_row_by_row(project: Project) -> None:
    upstream = solar(project, [10, 90, 20], "ABC")
    result = project.allocate("solar/latest", experiment="economics", map=ENERGY)
    assert result.ok
    assert result.notices[:3] == [
        f"2 cases from {upstream}",
        f"1 of 3 cases of {upstream} did not succeed and are left out: 1 failed",
        "not used, since economics has no such input: tilt, hours, name, by_month",
    ]
    specs = specs_of(project)
    assert specs["energy"].to_list() == [990, 980]
    assert specs["site"].to_list() == ["A", "C"]
    assert specs["wind"].to_list() == [{"speed": 0.0, "kind": "calm"}, {"speed": 2.0, "kind": "calm"}]
    # its output files are inputs, in this run's own folder
    run = project.run("economics")
    assert all(uri.startswith(f"{run.uri}/artifacts/") and uri.endswith("/report.txt") for uri in specs["report"])
    assert [Path(uri).read_text() for uri in specs["report"]] == ["10.0", "20.0"]
    assert run.scalars()["revenue"].to_list() == [990 * 2 + 4, 980 * 2 + 4]
    kept, before = run.manifest, project.run(upstream).manifest
    assert kept is not None
    assert before is not None
    assert kept.upstream is not None
    assert kept.sampling_file == kept.upstream.run == upstream
    assert kept.upstream.specs_sha256 == before.specs_sha256
    assert kept.upstream.map["energy"] == "annual_yield"
    assert kept.upstream.not_succeeded == {"failed": 1}
    assert read_lineage(run.storage, run.layout, [1]) == {upstream: [2]}


def test_bad_cells_name_run_row_and_column(project: Project) -> None:
    upstream = solar(project, [90, 5, 20])
    before = project.run("solar").storage.list_tree("")
    with pytest.raises(BadCellsError) as caught:
        project.allocate("solar", experiment="economics", map=ENERGY)
    assert str(caught.value).splitlines()[:2] == [
        f"{upstream}: 1 bad cell",
        "  row 1, energy: 995.0: Input should be less than or equal to 990",
    ]
    with pytest.raises(BadCellsError, match="row 1, energy: n: not a number"):
        project.validate("solar", "economics", map={"energy": "name"})
    assert project.run("solar").storage.list_tree("") == before


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, SamplingFileError, r"missing column 'energy': the field has no default\n--map energy=NAME takes .* site"),
        ({"map": {"energy": "anual_yield"}}, UsageError, "no input or output 'anual_yield'\nDid you mean 'annual_y"),
        ({"map": {"energie": "tilt"}}, UsageError, "economics has no input 'energie'; did you mean 'energy'"),
        (
            {"map": {"energy": "tilt:mean"}},
            UsageError,
            "nothing says of which rows\nAdd --group-by, or --agg tilt:mean",
        ),
        ({"agg": ["tilt"], "map": ENERGY}, UsageError, "write it as OUTPUT:HOW"),
        ({"agg": "tilt:avg", "map": ENERGY}, UsageError, "HOW is one of mean, sum"),
        ({"agg": "name:mean", "map": ENERGY}, UsageError, "holds text, which has no mean"),
        ({"agg": "report:min", "map": ENERGY}, UsageError, "holds files"),
        ({"group_by": "steps", "map": {"energy": "steps:count"}}, UsageError, "by which rows cannot be grouped"),
        ({"group_by": "place", "map": ENERGY}, UsageError, "--group-by place: .* has no input or output 'place'"),
        ({"encoding": "utf-8", "map": ENERGY}, UsageError, "--encoding is for sampling files"),
        ({"units_row": True, "map": ENERGY}, UsageError, "--units-row is for sampling files"),
    ],
)
def test_what_is_refused(done: Project, options: Any, error: type[ScytheError], said: str) -> None:
    with pytest.raises(error) as caught:
        cases(done, **options)
    assert re.search(said, str(caught.value)), str(caught.value)


def test_an_ambiguous_name_is_refused_with_what_to_write(project: Project) -> None:
    solar(project, [20], "B")
    project.allocate("solar", experiment="economics", map=ENERGY)
    with pytest.raises(UsageError) as caught:
        project.validate("economics", "score")
    assert "'site' is an input and an output of economics/" in caught.value.message
    assert caught.value.hint == "Write --map site=input.site or --map site=output.site."
    with pytest.raises(UsageError, match=r"--group-by site: 'site' is an input and an output"):
        project.validate("economics", "score", group_by="site", agg="revenue:sum")
    for side, site in (("input", "B"), ("output", "elsewhere")):
        project.allocate("economics", experiment="score", map={"site": f"{side}.site"})
        assert specs_of(project, "score")["site"].to_list() == [site]
    # where the next experiment has no input of the name, nothing has to be said
    assert project.validate("economics", "score", ignore_columns="site").n_specs == 1


def test_groups(done: Project) -> None:
    table = cases(done, map=ENERGY, group_by="site", agg="annual_yield:mean")
    assert table.inputs["site"].to_pylist() == ["B", "A"]
    assert table.inputs["energy"].to_pylist() == [980, 970]
    assert table.inputs["report"].null_count == 2
    assert table.upstream is not None
    assert table.upstream.rows.to_pylist() == [[0, 4], [1, 3]]
    record = table.upstream.record
    assert (record.group_by, record.map["energy"], record.rows) == (["site"], "annual_yield", 4)
    with pytest.raises(BadCellsError, match=r"site=B, energy: 1960\.0"):
        cases(done, map={"energy": "annual_yield:sum"}, group_by="site")


@pytest.mark.parametrize(
    ("how", "value"),
    [
        *(("sum", 100.0), ("mean", 25.0), ("min", 10.0), ("max", 40.0), ("median", 25.0), ("first", 10.0)),
        *(("last", 30.0), ("count", 4.0), ("std", math.sqrt(500 / 3)), ("var", 500 / 3), ("q25", 17.5), ("q05", 11.5)),
    ],
)
def test_what_groups_are_reduced_to(done: Project, how: str, value: float) -> None:
    table = cases(done, map={"energy": f"tilt:{how}"}, agg=f"tilt:{how}")
    assert table.inputs["energy"].to_pylist() == [pytest.approx(value, rel=1e-15)]


def test_files_of_groups(done: Project) -> None:
    table = cases(done, map=ENERGY, group_by="site", agg=["annual_yield:max", "report:last"])
    assert [Path(uri).read_text() for uri in table.inputs["report"].to_pylist()] == ["30.0", "40.0"]
    assert table.upstream is not None
    assert {file.name for file in table.upstream.files.values()} == {"report.txt"}


def test_replicates_are_rows_or_brought_together_by_case(project: Project) -> None:
    solar(project, [10, 20], "AB", replicates=3)
    assert project.validate("solar", "economics", map=ENERGY).n_specs == 6
    project.allocate("solar", experiment="economics", group_by="case", agg="annual_yield:mean", map=ENERGY)
    specs = specs_of(project)
    assert (specs["site"].to_list(), specs["energy"].to_list()) == (["A", "B"], [990, 980])
    run = project.run("economics")
    assert list(read_lineage(run.storage, run.layout, [1]).values()) == [[1, 3, 5]]
    assert project.validate("solar", "economics", map={"energy": "replicate"}).n_specs == 6


def test_parts_of_nested_models_by_name(done: Project) -> None:
    inputs = cases(done, map={"energy": "wind.speed", "wind.speed": "tilt"}).inputs
    assert inputs["energy"].to_pylist() == [0, 1, 3, 4]
    assert [wind["speed"] for wind in inputs["wind"].to_pylist()] == [10, 20, 40, 30]
    assert {wind["kind"] for wind in inputs["wind"].to_pylist()} == {"calm"}
    assert cases(done, group_by="wind.kind", map={"energy": "tilt:max"}).inputs["energy"].to_pylist() == [40]


def test_an_unfinished_run_is_refused_unless_partial(project: Project, engine: CallingEngine) -> None:
    engine.skipped = {1}
    upstream = solar(project, [10, 20, 30])
    with pytest.raises(UsageError) as caught:
        project.allocate("solar", experiment="economics", map=ENERGY)
    assert caught.value.message == f"{upstream} is not finished: 1 of 3 cases are pending"
    assert "--partial takes the cases that have succeeded so far" in (caught.value.hint or "")
    engine.skipped = set()
    result = project.allocate("solar", experiment="economics", map=ENERGY, partial=True)
    assert result.n_specs == 2
    assert f"1 of 3 cases of {upstream} did not succeed and are left out: 1 pending" in result.notices


def test_a_run_at_work_is_refused_unless_partial(project: Project) -> None:
    solar(project, [10])
    run = project.run("solar")
    with hold_lease(run.storage, run.layout), pytest.raises(UsageError, match="is still running"):
        project.validate("solar", "economics", map=ENERGY)


def test_a_run_of_which_nothing_has_succeeded(project: Project) -> None:
    solar(project, [90])
    with pytest.raises(SpecsError, match=r"none of the 1 cases of solar/.* has succeeded"):
        project.validate("solar", "economics", map=ENERGY)


def test_a_file_wins_and_a_near_miss_gets_a_hint(project: Project) -> None:
    solar(project, [10])
    for text in ("solar", "solar/latest", "solar/v1", "latest", project.run("solar").uri, "runs/solar/v1.0.0"):
        assert project.validate(text, "economics", map=ENERGY).file.startswith("solar/v1.0.0/"), text
    (project.root / "economics").mkdir()  # a folder without tables is none
    Path("solar").write_text("energy\n7\n")
    report = project.validate("solar", "economics")
    assert (report.file, report.n_specs) == ("solar", 1)
    assert "solar is a file and the name of an experiment: solar/latest means its latest run" in report.notices
    assert project.validate("solar/latest", "economics", map=ENERGY).file.startswith("solar/v1.0.0/")
    with pytest.raises(UsageError, match="--map is for a run in place of a sampling file, and solar is a file"):
        project.validate("solar", "economics", map=ENERGY)
    Path("solar").unlink()
    for text, hint in (("solr/latest", "Did you mean the run solar/latest?"), ("roofs", "Did you mean .*roofs.csv")):
        with pytest.raises(MissingFileError, match=f"{text}: there is no such file, and no such run .*\n{hint}"):
            project.validate(text, "economics")
    with pytest.raises(MissingFileError, match=r"roof\.csv: there is no such file\nDid you mean .*roofs.csv"):
        project.validate("roof.csv", "economics")
    with pytest.raises(MissingFileError, match=r"no version of solar is called 'v7'.*\nThere are: v1.0.0"):
        project.validate("solar/v7", "economics")


@pytest.mark.parametrize("form", ["{}", "./{}", "{} "])
def test_a_folder_of_tables_is_a_file(project: Project, form: str) -> None:
    solar(project, [10])
    name = form.format("solar")
    Path(name).mkdir()
    pl.DataFrame({"energy": [1.0, 2.0]}).write_parquet(Path(name) / "part.parquet")
    assert project.validate(name, "economics").n_specs == 2


def test_input_from_in_the_configuration(project: Project, engine: CallingEngine) -> None:
    solar(project, [10, 20], "AB")
    with pytest.raises(UsageError, match="FILE is missing: the cases to run"):
        project.allocate(experiment="economics")
    tables = 'input_from = "solar"\nmap = { energy = "annual_yield" }\n'
    configured = chain_project(project.root, engine, economics=tables)
    assert configured.allocate(experiment="economics").n_specs == 2
    assert configured.plan(experiment="economics").n_specs == 2
    # what the command says counts more
    configured.allocate(experiment="economics", map={"energy": "tilt"})
    assert specs_of(configured)["energy"].to_list() == [10, 20]
    grouping = chain_project(project.root, engine, economics=f'{tables}group_by = ["site"]\nagg = ["annual_yield:max"]')
    assert grouping.allocate("solar/v1", experiment="economics").n_specs == 2
    assert grouping.validate(None, "economics", agg=["annual_yield:max"]).n_specs == 1
    nothing = chain_project(project.root, engine, economics='input_from = "lunar"')
    with pytest.raises(NotFoundError, match="no experiment is called 'lunar'"):
        nothing.allocate(experiment="economics")


def test_what_changed_upstream_runs_again_and_nothing_else(project: Project, engine: CallingEngine) -> None:
    def whole_chain() -> list[list[int]]:
        engine.rows.clear()
        project.allocate("roofs.csv", experiment="solar", reuse=True)
        project.allocate("solar", experiment="economics", map=ENERGY, reuse=True)
        project.allocate("economics", experiment="score", map={"site": "input.site"}, reuse=True)
        return [rows for rows in engine.rows if rows]

    write_roofs(project.root / "roofs.csv", [10, 20, 30, 40], "ABCD")
    assert whole_chain() == [[0, 1, 2, 3]] * 3
    assert whole_chain() == []  # files are others by path, and the same by content
    write_roofs(project.root / "roofs.csv", [10, 20, 35, 40], "ABCD")
    assert whole_chain() == [[2]] * 3
    assert project.run("score").scalars()["score"].to_list() == [1984.0, 1964.0, 1934.0, 1924.0]


def test_a_run_is_extended_by_rows_of_another(project: Project, engine: CallingEngine) -> None:
    first = solar(project, [10, 20], "AB")
    project.allocate("solar", experiment="economics", map=ENERGY)
    second = solar(project, [20, 30, 10], "BCA")
    # wind.speed is the line of the file: only what says the same is known
    result = project.allocate("solar", into="economics", map=ENERGY)
    assert (result.n_added, result.n_known) == (3, 0)
    again = project.allocate(first, into="economics", map=ENERGY)
    assert (again.n_added, again.n_known) == (0, 2)
    run = project.run("economics")
    assert read_lineage(run.storage, run.layout, [0, 2, 3]) == {first: [0], second: [0, 1]}
    assert run.manifest is not None
    [extension] = run.manifest.extensions or []
    assert extension.upstream is not None
    assert extension.upstream.run == second
    (project.root / "more.csv").write_text("energy\n1\n")
    project.allocate("more.csv", into="economics")
    assert read_lineage(run.storage, run.layout, [5]) == {}
    assert [step.experiment_id for step in project.explain("economics", 3).upstream] == [second]


@pytest.mark.parametrize("options", [{"limit": 1}, {"sample": 1, "seed": 4}, {"replicates": 2}])
def test_a_part_and_replicates_keep_where_they_came_from(done: Project, options: Any) -> None:
    table = cases(done, map=ENERGY, **options)
    assert table.upstream is not None
    tilts = dict(zip((0, 1, 3, 4), (10, 20, 40, 30), strict=True))
    rows = [row for [row] in table.upstream.rows.to_pylist()]
    assert [1000 - tilts[row] for row in rows] == table.inputs["energy"].to_pylist()
    assert table.row_label(len(rows) - 1) == f"row {rows[-1]}"


def test_the_whole_way_of_a_row(project: Project) -> None:
    first = solar(project, [10, 20, 30], "ABA")
    second = project.allocate("solar", experiment="economics", map=ENERGY).experiment_id
    project.allocate("economics", experiment="score", group_by="input.site", agg="revenue:sum")
    steps = project.explain("score", 0).upstream
    assert [(step.depth, step.experiment_id, step.rows) for step in steps] == [(0, second, [0, 2]), (1, first, [0, 2])]
    assert steps[0].group_by == ["input.site"]
    assert steps[1].map["energy"] == "annual_yield"
    assert project.explain("solar", 0).upstream == []
    run = project.run(first)
    run.storage.delete_tree(run.experiment_id)
    assert project.explain("score", 1).upstream[-1].problem == "it is no longer there"


def test_upstream_may_be_removed(project: Project) -> None:
    first = solar(project, [10, 20])
    project.allocate("solar", experiment="economics", map=ENERGY)
    run = project.run(first)
    run.storage.delete_tree(run.experiment_id)
    assert all(Path(uri).is_file() for uri in specs_of(project)["report"])


def test_input_files_go_on_under_their_names(project: Project) -> None:
    (project.root / "w.epw").write_text("hot")
    (project.root / "roofs.csv").write_text("tilt,weather\n10,w.epw\n")
    project.allocate("roofs.csv", experiment="solar")
    project.allocate("solar", experiment="economics", map=ENERGY)
    run = project.run("economics")
    [weather] = specs_of(project)["weather"]
    assert Path(weather).name == "w.epw"
    assert weather.startswith(f"{run.uri}/artifacts/")
    assert run.table("scalars", files=True).collect()["weather"].to_list() == ["w.epw"]


def test_a_function_in_no_configuration(done: Project) -> None:
    (done.root / "plain_step.py").write_text("def price(energy, site: str):\n    return energy\n")
    report = done.validate("solar", function="plain_step:price", map=ENERGY)
    assert (report.n_specs, report.columns) == (4, ["energy", "site"])


@pytest.fixture(scope="module")
def bucket() -> Iterator[servers.S3Server]:
    with servers.moto() as server:
        server.new_bucket("chains")
        yield server


def test_on_s3_files_are_copied_by_the_server(
    bucket: servers.S3Server, tmp_path: Path, engine: CallingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.use(monkeypatch)
    project = chain_project(tmp_path / "a", engine, storage="s3://chains/some/place")
    monkeypatch.chdir(project.root)
    (project.root / "chain_model.py").write_text(
        (project.root / "chain_model.py").read_text().replace("len(Path(input_spec.report).read_text())", "4")
    )
    upstream = solar(project, [10, 20], "AB")
    got: list[str] = []
    storage = type(project.storage)
    monkeypatch.setattr(storage, "get_file", _noting(storage.get_file, got))
    monkeypatch.setattr(storage, "put_file", _noting(storage.put_file, got))
    for _ in range(2):
        result = project.allocate("solar", experiment="economics", map=ENERGY, reuse=True)
        assert result.ok
    assert result.n_reused == 2
    assert not [text for text in got if "report" in text]
    run = project.run("economics")
    assert [run.storage.read_bytes(key) for key in run.storage.list_tree(run.layout.artifacts)] in (
        [b"10.0", b"20.0"],
        [b"20.0", b"10.0"],
    )
    assert read_lineage(run.storage, run.layout, [1]) == {upstream: [1]}
    assert project.plan(f"s3://chains/some/place/{upstream}", experiment="economics", map=ENERGY).n_specs == 2


def _noting(method: Any, got: list[str]) -> Any:
    def noted(self: Any, *args: Any, **options: Any) -> Any:
        got.extend(map(str, args))
        return method(self, *args, **options)

    return noted
