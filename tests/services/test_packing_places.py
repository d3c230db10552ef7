"""A run packed here, and used elsewhere: in another folder, on S3, by programs that read RO-Crates, and run again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.services.project import open_project
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.commands import run_here
from tests.projects import make_project

pytestmark = pytest.mark.processes

CODE = """
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry
from models.helping import doubled


class Case(ExperimentInputSpec):
    x: float
    weather: FileReference


class Answer(ExperimentOutputSpec):
    y: float
    noise: float
    listing: FileReference


@ExperimentRegistry.Register(retries=0)
def simulate(case: Case, tempdir: Path) -> Answer:
    if case.x == 3 and not Path(__file__).with_name("well").exists():
        raise ValueError("not yet")
    text = Path(case.weather).read_text()
    (tempdir / "listing.txt").write_text(f"{case.x} {text}")
    return Answer(y=doubled(case.x) + len(text), noise=case.rng().random(), listing=tempdir / "listing.txt")
"""
SOURCES = ["models/__init__.py", "models/building.py", "models/helping.py"]
HELPING = "def doubled(x):\n    return 2 * x\n"
CONFIG = """
[scythe]
workers = 1

[experiments.energy]
entrypoint = "models.building:simulate"
isolation = "process"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run has four cases, of which one has failed, packed as run.zip."""
    folder = make_project(tmp_path_factory.mktemp("packed") / "odd [pack]", code=CODE, config=CONFIG)
    (folder / "models" / "helping.py").write_text(HELPING)
    (folder / "north 1%.epw").write_text("cold")
    (folder / "cases.csv").write_text("x,weather\n" + "".join(f"{i},north 1%.epw\n" for i in range(4)))
    assert run_here("allocate", "cases.csv", cwd=folder).code == 1
    packed = run_here("--json", "results", "pack", "-o", "run.zip", cwd=folder)
    assert packed.code == 0, packed.err
    assert packed.json["code"] == SOURCES
    return folder


@pytest.fixture(scope="module")
def unzipped(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unzipped")
    with zipfile.ZipFile(project / "run.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def elsewhere(project: Path, tmp_path: Path) -> Iterator[Path]:
    """The same code in another folder; meanwhile nothing is where the run was made."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("runs", "*.epw"))
    hidden = project.with_name("hidden")
    project.rename(hidden)
    yield folder
    hidden.rename(project)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with servers.moto() as server:
        server.new_bucket("packed")
        server.use(monkeypatch)
        yield "s3://packed/some runs"


def _is_whole(folder: Path, *options: str) -> None:
    """Whether a run that was unpacked can be used as if it had been made there."""
    assert run_here("--json", "status", *options, cwd=folder).json["counts"]["failed"] == 1
    (folder / "models" / "well").touch()  # no code
    again = run_here("retry", *options, cwd=folder)
    assert again.code == 0, again.err
    scalars = open_project(start=folder, storage=options[1] if options else None).run().scalars()
    assert scalars["y"].to_list() == [4.0, 6.0, 8.0, 10.0]
    fetched = run_here("results", "fetch", "-o", "fetched", "--files", *options, cwd=folder)
    assert fetched.code == 0, fetched.err
    listings = sorted(path.read_text() for path in (folder / "fetched" / "files" / "listing").iterdir())
    assert listings == [f"{i}.0 cold" for i in range(4)]
    verified = run_here("verify", "-n", "4", *options, cwd=folder)
    assert verified.code == 0, verified.out
    assert run_here("report", *options, cwd=folder).code == 0


def test_in_another_folder(elsewhere: Path) -> None:
    assert run_here("results", "unpack", "run.zip", cwd=elsewhere).code == 0
    _is_whole(elsewhere)
    refused = run_here("--json", "results", "unpack", "run.zip", cwd=elsewhere)
    assert refused.code == 2
    assert "already" in refused.json["error"]["message"]


def test_on_s3_and_back(elsewhere: Path, s3: str, tmp_path: Path) -> None:
    unpacked = run_here("--json", "results", "unpack", "run.zip", "--storage", s3, cwd=elsewhere)
    assert unpacked.json["uri"].startswith(f"{s3}/energy/")
    again = run_here("results", "pack", "-o", "again.zip", "--storage", s3, cwd=elsewhere)
    assert again.code == 0, again.err
    assert (elsewhere / "again.zip").read_bytes() == (elsewhere / "run.zip").read_bytes()
    _is_whole(elsewhere, "--storage", s3)


def test_unzipped_it_is_a_project(unzipped: Path, project: Path) -> None:
    assert run_here("--json", "status", cwd=unzipped / "project").json["counts"]["succeeded"] == 3
    verified = run_here("verify", "-n", "3", cwd=unzipped / "project")
    assert verified.code == 0, verified.err
    storage = open_storage(unzipped / "runs")
    assert Run(storage, open_project(start=unzipped / "project").run().layout).status().n_specs == 4


def test_cases_are_reproduced(project: Path, tmp_path: Path) -> None:
    shutil.copy(project / "run.zip", tmp_path)
    result = run_here("--json", "reproduce", "run.zip", "-n", "20", "--seed", "7", cwd=tmp_path)
    assert result.code == 0, result.err
    told = result.json
    assert (told["rows"], told["n_differing_cells"], told["packages"], told["seed"]) == ([0, 1, 2], 0, [], 7)
    assert [path.name for path in tmp_path.iterdir()] == ["run.zip"]


def test_what_differs_is_told(project: Path, tmp_path: Path) -> None:
    """Code that says something else, as whoever changes a result and its checksum would."""
    import hashlib

    with zipfile.ZipFile(project / "run.zip") as archive, zipfile.ZipFile(tmp_path / "run.zip", "w") as other:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "project/models/helping.py":
                old = hashlib.sha256(data).hexdigest()
                data = HELPING.replace("2 *", "3 *").encode()
                new = hashlib.sha256(data).hexdigest()
            if name == "project/requirements.txt":
                old_pins, data = hashlib.sha256(data).hexdigest(), data + b"nosuch-package==1.0\n"
                new_pins = hashlib.sha256(data).hexdigest()
            if name == "SHA256SUMS":
                data = data.replace(old.encode(), new.encode()).replace(old_pins.encode(), new_pins.encode())
            other.writestr(name, data)
    result = run_here("reproduce", "run.zip", "--seed", "1", cwd=tmp_path)
    assert result.code == 1
    assert "re-ran 3 of 3 cases, 2 cases differ" in result.out
    assert "6.0" in result.out
    assert "models/helping.py; it was run as it is now" in result.err
    assert "nosuch-package 1.0, here missing" in result.err
    assert "--seed 1 chooses the same cases again" in result.err


def test_a_run_without_its_code_cannot_be_reproduced(project: Path, tmp_path: Path) -> None:
    open_project(start=project).run().pack(tmp_path / "run.zip", root=tmp_path)
    result = run_here("reproduce", tmp_path / "run.zip", cwd=tmp_path)
    assert result.code == 2
    assert (
        "has not models/__init__.py, models/building.py, models/helping.py, so its cases cannot be run again"
        in result.err
    )


def test_the_code_of_a_commit_is_packed(project: Path, tmp_path: Path) -> None:
    """That of the run, though the file has changed since."""
    folder = tmp_path / "repository"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("runs", "run.zip"))
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    run_here("allocate", "cases.csv", cwd=folder)
    (folder / "models" / "helping.py").write_text("def doubled(x):\n    return 0\n")
    result = run_here("--json", "results", "pack", "-o", "run.zip", cwd=folder).json
    assert (result["code"], result["notices"]) == (SOURCES, [])
    with zipfile.ZipFile(folder / "run.zip") as archive:
        assert archive.read("project/models/helping.py").decode() == HELPING


def test_it_is_an_ro_crate(unzipped: Path) -> None:
    script = (
        "import sys; from rocrate.rocrate import ROCrate; crate = ROCrate(sys.argv[1]);"
        "print(crate.dereference('#run')['instrument'].id, len(crate.data_entities))"
    )
    checks = [
        ["-m", "tests.crates", str(unzipped)],
        ["-c", script, str(unzipped)],
        ["-m", "runcrate.cli", "report", str(unzipped)],
    ]
    running = [
        subprocess.Popen([sys.executable, *check], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for check in checks
    ]
    valid, read, reported = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], f"{valid}\n{read}\n{reported}"
    assert "REQUIRED" not in valid
    assert read.startswith("project/models/building.py ")
    assert "instrument: project/models/building.py" in reported
