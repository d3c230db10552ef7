"""One spec of a run, looked at and run again: where it runs, and the files that it has left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scythe_cli.services.project import Project, open_project
from tests.commands import run_here

pytestmark = pytest.mark.processes

MODULE = """
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float

class Answer(ExperimentOutputSpec):
    y: float
    seen: str

@ExperimentRegistry.Register()
def simulate(case: Case) -> Answer:
    seen = " ".join(sorted(path.name for path in Path().iterdir() if path.name != "__pycache__"))
    Path("temp.inp").write_text(f"{case.x}")
    Path("notes.txt").write_text("changed")
    if case.x == 1:
        raise ValueError("no")
    return Answer(y=float(Path("temp.inp").read_text()) + case.rng().random(), seen=seen)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("odd [history]")
    (folder / "historic.py").write_text(MODULE)
    (folder / "experiments.toml").write_text(
        '[experiments.sim]\nentrypoint = "historic:simulate"\nkeep_files = "failed"\n'.replace("\\\n", "\n")
    )
    (folder / "notes.txt").write_text("as they were")
    (folder / "cases.csv").write_text("x\n0\n1\n")
    path = list(sys.path)
    project = open_project(start=folder)
    project.allocate(folder / "cases.csv", workers=1)
    yield project
    sys.path[:] = path
    sys.modules.pop("historic", None)


def test_a_row_runs_again_where_it_ran(project: Project, tmp_path: Path) -> None:
    before = sorted(path.name for path in project.root.iterdir())
    stored = project.run().scalars().row(0, named=True)

    ran = run_here("--config", project.root / "experiments.toml", "--json", "rerun", "--row", "0", cwd=tmp_path)

    assert ran.code == 0
    assert (ran.json["y"], ran.json["seen"]) == (stored["y"], stored["seen"])
    assert "notes.txt" in stored["seen"]
    assert (project.root / "notes.txt").read_text() == "as they were"
    assert sorted(path.name for path in project.root.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_the_debugger_sees_what_the_row_has_written(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("pdb.post_mortem", lambda trace: seen.append(Path("temp.inp").read_text()))
    ran = run_here("--config", project.root / "experiments.toml", "rerun", "--row", "1", "--pdb", cwd=tmp_path)
    assert ran.code == 1
    assert seen == ["1.0"]


def test_files_that_were_kept_are_named(project: Project) -> None:
    ran = run_here("logs", "--row", "1", cwd=project.root)
    folder = f"{Path(project.run().uri).relative_to(project.root)}/files/00000001"
    assert ran.out.splitlines()[-3:] == ["files that it wrote", f"{folder}/notes.txt", f"{folder}/temp.inp"]
    assert "files that it wrote" not in run_here("logs", "--row", "0", cwd=project.root).out
    document = run_here("--json", "logs", "--row", "1", cwd=project.root).json
    assert [Path(file).read_text() for file in document["files"]] == ["changed", "1.0"]
