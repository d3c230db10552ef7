"""Rows that are run again, and what is found to differ."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.run.outcomes.verification import read_verification
from scythe_cli.services.project import Project, open_project

pytestmark = pytest.mark.processes

MODULE = """
import random
from pathlib import Path
import polars as pl
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float

class Answer(ExperimentOutputSpec):
    y: float
    nothing: float = float("nan")
    zero: float = -0.0
    listing: FileReference | None = None

SWITCH = Path(__file__).with_name("switch")

@ExperimentRegistry.Register()
def simulate(case: Case, tempdir: Path) -> Answer:
    if case.x == 3:
        raise ValueError("never")
    change = float(SWITCH.read_text()) if SWITCH.exists() else 0.0
    if case.x == 2 and change:
        raise ValueError("not now")
    (tempdir / "listing.txt").write_text(f"listing {change * (case.x == 1)}")
    values = [random.random(), float("nan"), change if case.x == 1 else 0.0]
    frame = pl.DataFrame({"at": [1, 2, 3], "value": values})
    return Answer(
        y=case.x + change * (case.x == 0), zero=0.0 if change and case.x == 0 else -0.0,
        listing=tempdir / "listing.txt", dataframes={"path": frame},
    )
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("odd [verify]")
    (folder / "verified.py").write_text(MODULE)
    (folder / "experiments.toml").write_text('[experiments.sim]\nentrypoint = "verified:simulate"\nretries = 2\n')
    (folder / "cases.csv").write_text("x\n0\n1\n2\n3\n")
    path = list(sys.path)
    project = open_project(start=folder)
    project.allocate(folder / "cases.csv", workers=1)
    yield project
    sys.path[:] = path
    sys.modules.pop("verified", None)


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_rows_that_give_the_same_and_rows_that_do_not(project: Project) -> None:
    run = project.run()
    folder = Path(run.uri)
    note = folder / "verification.yml"
    note.unlink(missing_ok=True)
    before = files(folder)

    result = project.verify()

    assert result.ok
    assert (result.rows, result.n_succeeded, result.differences) == ([0, 1, 2], 3, [])
    assert {name: at for name, at in files(folder).items() if name != str(note)} == before
    record = read_verification(run.storage, run.layout)
    assert record is not None
    assert (record.rows, record.n_differing_rows) == ([0, 1, 2], 0)
    run.report(project.root / "report.html")
    assert "3 rows gave the same, bit by bit" in (project.root / "report.html").read_text()

    (project.root / "switch").write_text("0.5")
    result = project.verify()

    assert not result.ok
    assert (result.n_differing_rows, result.n_differing_cells) == (3, 5)
    told = [(d.sort_index, d.table, d.column, d.line, d.stored, d.again) for d in result.differences]
    refs = [each for each in told if each[1] == "result_file_refs"]
    told = [each for each in told if each not in refs]
    assert [each[:4] for each in refs] == [(1, "result_file_refs", "listing", None)]
    assert all(text.startswith("11 bytes, sha256 ") for text in refs[0][4:])
    assert told == [
        (0, "scalars", "y", None, "0.0", "0.5"),
        (0, "scalars", "zero", None, "-0.0", "0.0"),
        (1, "path", "value", 2, "0.0", "0.5"),
        (2, "scalars", "state", None, "succeeded", "failed: ValueError: not now"),
    ]
    record = read_verification(run.storage, run.layout)
    assert record is not None
    assert record.n_differing_rows == 3


def test_some_rows_of_many_are_chosen(project: Project) -> None:
    (project.root / "switch").unlink(missing_ok=True)
    result = project.verify(n=1)
    assert len(result.rows) == 1
    assert result.rows[0] in (0, 1, 2)


def test_what_cannot_be_verified(project: Project) -> None:
    with pytest.raises(UsageError, match="n is 0"):
        project.verify(n=0)
    (project.root / "bad.csv").write_text("x\n3\n")
    failed = project.allocate(project.root / "bad.csv", workers=1)
    with pytest.raises(NotFoundError, match="no row that succeeded"):
        project.verify()
    shutil.rmtree(failed.uri)  # the latest run is that of the other tests again
