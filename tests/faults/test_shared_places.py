"""Places that others share: what they put there is neither lost nor trusted, and whoever they are, nobody waits."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pytest

from scythe_cli.analysis.results.fetch_folder import FetchFolder
from scythe_cli.analysis.run import Run
from scythe_cli.config.file import find_config
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.errors import ConfigError, StorageError, UsageError
from scythe_cli.registry import ExperimentRegistry, RegisteredExperiment
from scythe_cli.run.final.gather import gather
from scythe_cli.services.project import open_project
from scythe_cli.services.runs.retry import retry_run
from scythe_cli.storage.base import ForeignKeyError, Storage
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.commands import run_here
from tests.limits import time_limit
from tests.made_runs import LAYOUT, Answer, Case, make_run, outcomes, write_part
from tests.projects import make_project
from tests.services.test_retry import PART, ToldEngine

OUTCOMES = LAYOUT.outcomes
THESIS = b"years of work"


@pytest.fixture(scope="module")
def s3() -> Iterator[servers.S3Server]:
    with servers.moto() as server:
        server.new_bucket("shared")
        yield server


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if request.param == "local":
        return open_storage(tmp_path / "runs")
    server: servers.S3Server = request.getfixturevalue("s3")
    server.use(monkeypatch)
    return open_storage(f"s3://shared/{uuid4().hex}")


@pytest.fixture
def experiment() -> RegisteredExperiment[Case, Answer]:
    @ExperimentRegistry.Register(name="energy")
    def energy(spec: Case) -> Answer:
        """Square."""
        return Answer(y=spec.x**2)

    return energy


@pytest.fixture
def run(storage: Storage, tmp_path: Path) -> Run:
    """Four specs, of which three are in the ledger."""
    layout = make_run(storage, tmp_path / "scratch", 4)
    write_part(storage, layout, PART, outcomes(range(3)))
    return Run(storage, layout)


def parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    import pyarrow.parquet as pq

    pq.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()


FOREIGN = {
    "mine.pq": THESIS,
    "thesis.pq": parquet(pa.table({"chapter": ["one"]})),
    "local-20260101T000000-0a1b2c3d-000009.pq": parquet(pa.table({"chapter": ["two"]})),
    "local-20260101T000000-0a1b2c3d-00000x.pq": THESIS,
    "mine.pq.damaged": THESIS,
}


def test_retry_leaves_what_is_not_of_this_program(
    run: Run, storage: Storage, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    for name, content in FOREIGN.items():
        storage.write_bytes(f"{OUTCOMES}/{name}", content)
    # and one of ours with a foreign name that was cut
    write_part(storage, run.layout, "copy-of-mine", outcomes([3]))
    cut = storage.read_bytes(f"{OUTCOMES}/copy-of-mine.pq")[:-20]
    storage.write_bytes(f"{OUTCOMES}/copy-of-mine.pq", cut)
    foreign = sorted([*(name for name in FOREIGN if name.endswith(".pq")), "copy-of-mine.pq"])
    assert sorted(run.status().damaged_parts) == foreign

    result = retry_run(run, experiment, ToldEngine())

    assert result.counts == StateCounts(succeeded=4)
    said = "among the parts of the ledger is not a complete part written by scythe: it is left alone"
    assert sorted(result.notices) == [f"{name} {said}" for name in foreign]
    for name, content in {**FOREIGN, "copy-of-mine.pq": cut}.items():
        assert storage.read_bytes(f"{OUTCOMES}/{name}") == content


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "no seal"])
def test_retry_sets_damaged_parts_of_its_own_aside(
    run: Run, storage: Storage, experiment: RegisteredExperiment[Case, Answer], how: str
) -> None:
    key = f"{OUTCOMES}/{PART}.pq"
    data = storage.read_bytes(key)
    spoiled = {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "flipped": data[:60] + bytes([data[60] ^ 1]) + data[61:],
        "no seal": data.replace(b"scythe-seal:", b"scythe_seal:"),
    }[how]
    storage.write_bytes(key, spoiled)
    storage.write_bytes(f"{key}.damaged", b"of an earlier retry")

    result = retry_run(run, experiment, ToldEngine(), only={State.CRASHED})

    assert result.notices[0] == f"part {PART}.pq of the ledger is damaged: the cases that were in it are run again"
    assert storage.read_bytes(f"{key}.1.damaged") == spoiled
    assert retry_run(run, experiment, ToldEngine()).counts == StateCounts(succeeded=4)
    assert not [name for name in storage.list_tree(run.experiment_id) if "damaged" in name]


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def local(tmp_path: Path) -> Run:
    storage = open_storage(tmp_path / "runs")
    layout = make_run(storage, tmp_path / "scratch", 4)
    write_part(storage, layout, PART, outcomes(range(3)))
    return Run(storage, layout)


@pytest.mark.parametrize("folder", ["outcomes", "final", "artifacts", "results", "."])
def test_no_command_writes_through_a_folder_that_is_a_link(
    local: Run, experiment: RegisteredExperiment[Case, Answer], tmp_path: Path, folder: str
) -> None:
    victim = tmp_path / "victim"
    place = (tmp_path / "runs" / LAYOUT.experiment_id / folder).absolute()
    place = Path(os.path.normpath(place))
    if place.exists():
        shutil.copytree(place, victim)
        shutil.rmtree(place)
    victim.mkdir(exist_ok=True)
    for name in ("thesis.pq", "scalars.pq", f"{PART[:-1]}2.pq", ".scythe-tmp-01", "x.damaged"):
        (victim / name).write_bytes(THESIS)
    place.symlink_to(victim)
    before = contents(victim)
    touched = folder in ("outcomes", "final", ".")
    if touched:
        with pytest.raises((ForeignKeyError, StorageError), match="is a link"):
            retry_run(Run(local.storage, local.layout), experiment, ToldEngine())
    else:
        retry_run(local, experiment, ToldEngine())
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in victim.rglob("*") if path.is_file()
    }
    with pytest.raises(StorageError, match="is a link") if touched else time_limit(60):
        gather(local.storage, local.layout)
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in victim.rglob("*") if path.is_file()
    }


BAD_VALUES: dict[str, dict[str, Any]] = {
    "beyond": {"sort_index": 7},
    "negative": {"sort_index": -1},
    "state": {"state": "done"},
    "pending": {"state": "pending"},
    "attempt": {"attempt": -1},
    "attempts": {"attempt": 2**31 - 1},
}


@pytest.mark.parametrize("what", sorted(BAD_VALUES))
def test_a_part_with_values_that_cannot_be_is_damaged_for_every_command(
    run: Run, storage: Storage, experiment: RegisteredExperiment[Case, Answer], what: str
) -> None:
    """However well it is sealed: the six counts stay those of the run, and all choose the same outcome."""
    name = f"{PART[:-1]}2"
    table = outcomes([3, 2])
    for column, value in BAD_VALUES[what].items():
        position = table.schema.get_field_index(column)
        values = [value, table.column(column)[1].as_py()]
        table = table.set_column(
            position, table.schema.field(position), pa.array(values, table.schema.field(position).type)
        )
    write_part(storage, run.layout, name, table)

    status = run.status()

    assert status.counts == StateCounts(succeeded=3, pending=1)
    assert status.damaged_parts == [f"{name}.pq"]
    with pytest.raises(StorageError, match=rf"part {name}\.pq of the ledger is damaged"):
        gather(storage, run.layout)
    assert retry_run(run, experiment, ToldEngine()).counts == StateCounts(succeeded=4)
    assert run.status().damaged_parts == []
    assert pl.read_parquet(storage.read_bytes(run.layout.table("scalars")))["sort_index"].to_list() == [0, 1, 2, 3]


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -1.0, 1e300])
def test_times_that_cannot_be_do_not_count(run: Run, storage: Storage, duration: float) -> None:
    table = outcomes([3])
    durations = table.schema.get_field_index("duration_s")
    starts = table.schema.get_field_index("started_at")
    table = table.set_column(durations, "duration_s", pa.array([duration]))
    late = pa.array([2**62], pa.int64()).cast(table.schema.field(starts).type)
    write_part(storage, run.layout, f"{PART[:-1]}2", table.set_column(starts, table.schema.field(starts), late))
    status = run.status()
    assert status.counts == StateCounts(succeeded=4)
    assert status.damaged_parts == []
    assert status.last_outcome_at is not None
    assert run.errors().errors == []


def test_a_manifest_that_says_another_number_of_specs(
    run: Run, storage: Storage, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    manifest = storage.read_bytes(run.layout.manifest)
    storage.write_bytes(run.layout.manifest, manifest.replace(b"n_specs: 4", b"n_specs: 2"))
    changed = Run(storage, run.layout)
    status = changed.status()
    assert status.counts == StateCounts(pending=2)
    with pytest.raises(StorageError, match="has 4 cases, but its manifest says 2"):
        retry_run(changed, experiment, ToldEngine())


def as_nobody(command: str, folder: Path) -> None:
    """Do something as another user; skipped where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("there is no user nobody")
    subprocess.run(
        ["/bin/sh", "-ec", command], cwd=folder, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], check=True
    )


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user can write to."""
    old = os.umask(0)
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        os.umask(old)
        shutil.rmtree(folder)


def test_what_another_user_puts_into_a_run(
    open_place: Path, tmp_path: Path, experiment: RegisteredExperiment[Case, Answer]
) -> None:
    storage = open_storage(open_place / "runs")
    run = Run(storage, make_run(storage, tmp_path / "scratch", 4))
    write_part(storage, run.layout, PART, outcomes(range(3)))
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "thesis.pq").write_bytes(THESIS)
    folder = open_place / "runs" / LAYOUT.experiment_id
    as_nobody(
        f"""
        ln -s {victim}/thesis.pq outcomes/link.pq
        mkfifo outcomes/pipe.pq .lease
        mkdir final; ln -s {victim}/thesis.pq final/scalars.pq
        echo mine > outcomes/mine.pq
        rm -r artifacts 2>/dev/null || true; ln -s {victim} artifacts
        """,
        folder,
    )
    with time_limit(60):
        status = run.status()
        assert status.counts == StateCounts(succeeded=3, pending=1)
        assert sorted(status.damaged_parts) == ["link.pq", "mine.pq", "pipe.pq"]
        result = retry_run(run, experiment, ToldEngine())
    assert result.counts == StateCounts(succeeded=4)
    assert len([notice for notice in result.notices if "left alone" in notice]) == 3
    assert (victim / "thesis.pq").read_bytes() == THESIS
    assert sorted(path.name for path in victim.iterdir()) == ["thesis.pq"]
    assert (folder / "outcomes" / "link.pq").is_symlink()
    assert not (folder / "final" / "scalars.pq").is_symlink()


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling", "pipe", "folder", "sparse", "becomes a link"])
def test_fetch_remembers_nothing_in_a_file_of_somebody_else(
    local: Run, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather(local.storage, local.layout)
    victim = tmp_path / "victim"
    victim.write_bytes(THESIS)
    dest = tmp_path / "dest"
    dest.mkdir()
    receipts = dest / ".scythe-fetched"

    def put() -> None:
        receipts.symlink_to(victim)

    if kind == "link":
        put()
    elif kind == "hard link":
        receipts.hardlink_to(victim)
    elif kind == "dangling":
        receipts.symlink_to(tmp_path / "none")
    elif kind == "pipe":
        os.mkfifo(receipts)
    elif kind == "folder":
        receipts.mkdir()
    elif kind == "sparse":
        with receipts.open("wb") as file:
            file.truncate(1 << 40)
    else:
        placed = FetchFolder._write_receipt  # pyright: ignore[reportPrivateUsage]

        def late(self: FetchFolder, *arguments: Any) -> None:
            if not receipts.exists():
                put()
            placed(self, *arguments)

        monkeypatch.setattr(FetchFolder, "_write_receipt", late)
    with time_limit(60), pytest.raises((UsageError, StorageError), match=r"\.scythe-fetched|cannot be written"):
        local.fetch(dest)
    assert victim.read_bytes() == THESIS
    assert not (tmp_path / "none").exists()


PLANTED = """
[experiments.energy]
entrypoint = "planted:simulate"
"""


@pytest.mark.parametrize(
    "arguments", [["doctor"], ["experiments"], ["validate", "c.csv"], ["allocate", "c.csv"], ["runs"]]
)
def test_a_configuration_of_another_user_is_not_found_but_only_named(
    open_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    as_nobody(f"printf '{PLANTED}' > experiments.toml; echo 'open(\"ran\", \"w\")' > planted.py", open_place)
    mine = open_place / "mine"
    mine.mkdir()
    (mine / "c.csv").write_text("x\n1\n")
    monkeypatch.delenv("SUDO_UID", raising=False)
    ran = run_here(*arguments, cwd=mine)
    assert ran.code == 3
    said = ran.out + ran.err
    assert "belongs to another user" in said
    assert "--config" in said
    assert not list(open_place.rglob("ran"))
    named = run_here("--config", str(open_place / "experiments.toml"), "runs", cwd=mine)
    assert named.code == 0, named.err


@pytest.mark.parametrize("owner", ["own", "root", "other", "sudo"])
def test_whose_configuration_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    (tmp_path / "experiments.toml").write_text("")
    (tmp_path / "inner").mkdir()
    uid = (tmp_path / "experiments.toml").stat().st_uid
    monkeypatch.delenv("SUDO_UID", raising=False)
    if owner == "other" or (owner == "root" and uid):
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    if owner == "sudo":
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setenv("SUDO_UID", str(uid))
    if owner == "other" and uid:
        with pytest.raises(ConfigError, match=r"belongs to another user(.|\n)*--config"):
            find_config(tmp_path / "inner")
    elif owner != "root" or uid == 0:
        assert find_config(tmp_path / "inner") == tmp_path / "experiments.toml"


READING = [
    ["status"],
    ["runs"],
    ["versions"],
    ["results", "ls"],
    ["results", "show"],
    ["errors"],
    ["logs", "--row", "0"],
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_commands_that_only_read_import_nothing_of_the_user(tmp_path: Path, arguments: list[str]) -> None:
    storage = open_storage(tmp_path / "runs")
    layout = make_run(storage, tmp_path / "scratch", 3)
    write_part(storage, layout, PART, outcomes(range(3)))
    gather(storage, layout)
    (tmp_path / "experiments.toml").write_text(PLANTED)
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    ran = run_here(*arguments, cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert not (tmp_path / "ran").exists()


SPOILING = '''
import os
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry


class Building(ExperimentInputSpec):
    area: float
    mode: str = "well"
    weather: FileReference


class Demand(ExperimentOutputSpec):
    n: int


@ExperimentRegistry.Register(retries=0)
def simulate(spec: Building) -> Demand:
    """Count the characters of the weather, and spoil it."""
    path = Path(spec.weather)
    n = len(path.read_text())
    if spec.mode != "well":
        os.chmod(path, 0o644)
        before = path.stat()
        if spec.mode == "replace":
            path.unlink()
        with path.open("a") as file:
            file.write("spoiled!")
        if spec.mode == "hide":
            path.write_text("rainy!!")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return Demand(n=n)
'''


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_row_that_writes_to_its_input_file_changes_no_other_row(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if where == "s3":
        server: servers.S3Server = request.getfixturevalue("s3")
        server.use(monkeypatch)
        monkeypatch.setenv("SCYTHE_STORAGE_URI", f"s3://shared/{uuid4().hex}")
    folder = make_project(tmp_path / "p", code=SPOILING)
    (folder / "w.epw").write_text("sunny!!")
    modes = ["well", "append", "well", "replace", "well", "hide", "well"]
    rows = "".join(f"{i},{mode},w.epw\n" for i, mode in enumerate(modes))
    (folder / "cases.csv").write_text(f"area,mode,weather\n{rows}")

    ran = run_here("allocate", "cases.csv", "--workers", "1", cwd=folder)

    assert ran.code == 1, ran.err
    run = open_project(start=folder).run()
    assert run.scalars()["n"].to_list() == [7] * 4
    errors = run.errors().errors
    assert [error.sort_index for error in errors] == [1, 3, 5]
    for error in errors:
        assert "has changed its input file weather" in (error.message or "") or error.error_type == "PermissionError"
    (key,) = run.storage.list_tree(run.layout.artifacts)
    assert run.storage.read_bytes(key) == b"sunny!!"
    assert (folder / "w.epw").read_text() == "sunny!!"

    # the stored file itself is changed, by somebody else
    run.storage.write_bytes(key, b"rainy!!")
    if where == "s3":
        shutil.rmtree(os.environ["SCYTHE_CACHE_DIR"], ignore_errors=True)
    again = run_here("retry", "--only", "failed", cwd=folder)
    assert again.code == 1
    for error in open_project(start=folder).run().errors().errors:
        assert "not what it was" in (error.message or ""), error.message
    rerun = run_here("rerun", "--row", "0", cwd=folder)
    assert rerun.code != 0
    assert "not what it was when the run was allocated" in rerun.err
