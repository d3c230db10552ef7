"""The power fails at any moment: what was acknowledged is there, nothing else counts, and the command can be repeated.

The writes of a command are recorded by strace, and after each of them disks are built as the power could leave them.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.registry import ExperimentRegistry
from scythe_cli.run.ledger import Ledger
from scythe_cli.services.project import open_project
from tests.commands import run_here
from tests.projects import make_project

from .comparing import assert_same_tables, final_tables
from .conftest import CONFIG, nightly, told_seed
from .power.disks import Disk, Left, moments
from .power.forgetting import syncs_of
from .power.recording import STRACE, Event, events_of, record

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(STRACE is None, reason="strace is not installed, which records what a command writes"),
]

N_DISKS = 10_000 if nightly() else 40
N_RESUMED = 100 if nightly() else 1
N_CASES = 600 if nightly() else 60  # of a larger run more can be left
N_IN_VAIN = 50_000
SCRIPT, STORING = (Path(__file__).parent / "power" / name for name in ("acknowledging.py", "storing.py"))
STORAGE_MODULES = ("scythe_cli.storage.atomic_files", "scythe_cli.storage.local")

MODULE = """
import os, time
import pyarrow as pa
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Case(ExperimentInputSpec):
    x: float


class Answer(ExperimentOutputSpec):
    y: float


@ExperimentRegistry.Register(retries=0)
def simulate(spec: Case) -> Answer:
    time.sleep(float(os.environ.get("PAUSE_S", "0")))
    if spec.x % 5 == 4 and os.environ.get("BROKEN"):
        raise ValueError(f"bad case {spec.x:.0f}")
    steps = pa.table({"step": list(range(8)), "e": [spec.x / (step + 1) for step in range(8)]})
    return Answer(y=spec.x**2, dataframes={"steps": steps})
"""


@dataclass(frozen=True)
class Way:
    """A command, and what there is before it.

    Attributes:
        prepare: Makes what there is.
        command: What is given while the power fails.
        again: What ends it afterwards.
        fetches: Whether it copies tables to the folder `fetched`.
        interrupted: Whether it is interrupted when some outcomes are stored: the way to cancel a run here.
        on_fleet: Whether it stores what it does on a fleet, where a run is cancelled by a command.
    """

    prepare: Callable[[Path], None]
    command: list[str]
    again: list[str]
    fetches: bool = False
    interrupted: bool = False
    on_fleet: bool = False


def nothing(project: Path) -> None:
    del project


def finished(project: Path, **env: str) -> None:
    assert run_here("allocate", "a.csv", cwd=project, env=env).code in (0, 1)


def with_failures(project: Path) -> None:
    finished(project, BROKEN="1")


def not_gathered(project: Path) -> None:
    finished(project)
    shutil.rmtree(Path(open_project(start=project).run().uri) / "final")


def with_folder(project: Path) -> None:
    finished(project)
    (project / "fetched").mkdir()


def half_done(project: Path) -> None:
    """A run some cases of which have no outcome, as one has that a fleet is at work on."""
    finished(project)
    run = Path(open_project(start=project).run().uri)
    done = set((run / "outcomes").iterdir())
    assert run_here("allocate", "b.csv", "--into", "latest", cwd=project).code == 0
    for later in {*(run / "outcomes").iterdir()} - done:
        later.unlink()
    shutil.rmtree(run / "final")


WAYS = {
    "allocate": Way(nothing, ["allocate", "a.csv"], ["retry"]),
    "retry": Way(with_failures, ["retry"], ["retry"]),
    "extend": Way(finished, ["allocate", "b.csv", "--into", "latest"], ["allocate", "b.csv", "--into", "latest"]),
    "cancel": Way(nothing, ["allocate", "a.csv"], ["retry"], interrupted=True),
    "cancel on a fleet": Way(half_done, ["cancel"], ["retry"], on_fleet=True),
    "gather": Way(not_gathered, ["retry"], ["retry"]),
    "fetch": Way(finished, ["results", "fetch", "-o", "fetched"], ["results", "fetch", "-o", "fetched"], fetches=True),
}
EXPORT = Way(with_folder, ["results", "export", "-o", "fetched/all.csv"], [], fetches=True)


@dataclass(frozen=True)
class Recorded:
    """What a command did.

    Attributes:
        project: The folder after it.
        before: The folder before it.
        events: What it wrote in between.
    """

    project: Path
    before: Path
    events: list[Event]


def write_cases(file: Path, first: int, stop: int) -> None:
    pl.DataFrame({"x": [float(x) for x in range(first, stop)]}).write_csv(file)


def recording_of(way: Way, place: Path, *, forgotten: str = "") -> Recorded:
    """Record a command; one of its syncs can be forgotten."""
    project = make_project(place / "project", code=MODULE, config=CONFIG.replace("workers = 1", "workers = 2"))
    write_cases(project / "a.csv", 0, N_CASES)
    write_cases(project / "b.csv", N_CASES * 2 // 3, N_CASES * 3 // 2)
    way.prepare(project)
    (project / "tmp").mkdir()
    before = place / "before"
    shutil.copytree(project, before, symlinks=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env |= {"TMPDIR": str(project / "tmp"), "PAUSE_S": "0.02"}
    if way.interrupted:
        env["INTERRUPTED"] = "1"
    if way.on_fleet:
        env["ON_FLEET"] = "1"
    if forgotten:
        env["FORGOTTEN"] = forgotten
    code = record([sys.executable, str(SCRIPT), *way.command], cwd=project, env=env, into=place / "calls")
    assert code in ((130,) if way.interrupted else (0, 1))
    return Recorded(project, before, events_of(place / "calls", project))


def acknowledged(text: bytes) -> dict[str, str]:
    """What the storage has come back from writing, and nobody has begun to change since: the SHA-256 by path."""
    files: dict[str, str] = {}
    for line in text.decode().splitlines():
        path, _, digest = line[2:].partition("\t")
        if line.startswith("+"):
            files[path] = digest
        else:
            files = {key: value for key, value in files.items() if key != path and not key.startswith(f"{path}/")}
    return files


def assert_nothing_is_lost(left: Left, acks: bytes) -> None:
    for path, digest in acknowledged(acks).items():
        assert path in left.files, f"{path} was acknowledged, and is gone"
        assert hashlib.sha256(left.files[path]).hexdigest() == digest, f"{path} is not what was acknowledged"


def assert_nothing_is_made_up(disk: Path) -> None:
    """What counts is right; a run of which nothing was acknowledged may not be there."""
    project = open_project(start=disk)
    for each in project.runs():
        run = project.run(f"{each.experiment}/{each.version}/{each.timestamp:%Y-%m-%d_%H-%M-%S}")
        assert run.status().damaged_parts == []
        with Ledger.open(run.storage, run.layout) as ledger:
            outcomes = ledger.outcomes()
        good = outcomes.filter(pl.col("state") == "succeeded")
        if "scalar.y" in good.columns:
            assert (good["scalar.y"] == good["sort_index"] ** 2).all()


def expected_of(way: Way, recorded: Recorded) -> dict[str, pl.DataFrame]:
    """The tables at the end of it all; they are made now where the command has left something to do."""
    if way.interrupted or way.on_fleet:
        ExperimentRegistry.clear()
        assert run_here(*way.again, cwd=recorded.project).code in (0, 1)
    return final_tables(Path(open_project(start=recorded.project).run().uri))


def disks_left(before: Path, events: list[Event], at: list[int], dice: random.Random) -> Iterator[tuple[Left, bytes]]:
    """What could be left after moments of a command, with what it had acknowledged by then."""
    disk, acks, done = Disk(before), b"", 0
    for moment in sorted(at):
        for event in events[done:moment]:
            if event.path == "acks":
                acks += event.data
            else:
                disk.apply(event)
        done = moment
        yield disk.after_power_loss(dice), acks


@dataclass
class Losses:
    """Losses of power at any moment of a command, until so many different disks have been looked at.

    Attributes:
        n: How many different disks.
        n_drawn: How often the power was lost so far.
        n_in_vain: How often in a row that has left a disk that was seen before.
    """

    recorded: Recorded
    dice: random.Random
    n: int
    n_drawn: int = 0
    n_in_vain: int = 0
    _seen: set[int] = field(default_factory=set[int])
    _compared: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])

    def different(self) -> Iterator[Left]:
        """The disks, each when nothing that was acknowledged is missing on it."""
        possible = list(moments(self.recorded.events, below=""))
        while len(self._seen) < self.n and self.n_in_vain < N_IN_VAIN:
            # all moments have the same chance: a round is gone through to its end
            at = self.dice.choices(possible, k=max(self.n - len(self._seen), self.n // 10))
            for left, acks in disks_left(self.recorded.before, self.recorded.events, at, self.dice):
                self.n_drawn += 1
                self.n_in_vain += 1
                content = left.content
                if (content, len(acks)) not in self._compared:
                    self._compared.add((content, len(acks)))
                    assert_nothing_is_lost(left, acks)
                if content not in self._seen and len(self._seen) < self.n:
                    self._seen.add(content)
                    self.n_in_vain = 0
                    yield left

    def __str__(self) -> str:
        told = f"{self.n_drawn:,} losses of power left {len(self._seen):,} different disks"
        return told if len(self._seen) == self.n else f"{told}, the last {self.n_in_vain:,} none that was new"


def lose_power(way: Way, recorded: Recorded, tmp_path: Path, dice: random.Random, *, n: int, resumed: int) -> None:
    """Look at disks that could be left after moments of a command; with some the command is given again."""
    ends = set(dice.sample(range(n), resumed))
    expected = expected_of(way, recorded) if resumed else {}
    losses = Losses(recorded, dice, n)
    for number, left in enumerate(losses.different()):
        disk = tmp_path / f"disk-{number}"
        left.build(disk)
        assert_nothing_is_made_up(disk)
        if number in ends:
            ends_as_if_nothing_had_happened(way, disk, recorded, expected)
        shutil.rmtree(disk)
    print(losses)


@pytest.mark.parametrize("name", WAYS)
def test_what_was_acknowledged_survives(name: str, tmp_path: Path) -> None:
    seed = told_seed(by_day=1)
    recorded = recording_of(WAYS[name], tmp_path)
    dice = random.Random(seed)
    lose_power(WAYS[name], recorded, tmp_path, dice, n=N_DISKS, resumed=N_RESUMED)


def ends_as_if_nothing_had_happened(
    way: Way, disk: Path, recorded: Recorded, expected: dict[str, pl.DataFrame]
) -> None:
    """The command given again leads to what it leads to undisturbed."""
    ExperimentRegistry.clear()  # that of another disk
    ran = run_here(*way.again, cwd=disk)
    if ran.code not in (0, 1):  # there is no run yet, or not all of one
        assert way.again == ["retry"], ran.err
        ran = run_here(*way.command, cwd=disk)
    assert ran.code in (0, 1), ran.err
    run = Path(open_project(start=disk).run().uri)
    assert_same_tables(run, expected)
    if way.fetches:
        fetched, whole = (
            {path.name: path.read_bytes() for path in (place / "fetched").glob("*.pq")}
            for place in (disk, recorded.project)
        )
        assert fetched == whole


def stored(place: Path, *, forgotten: str = "") -> Recorded:
    """Record all ways in which the storage of a folder writes; one of its syncs can be forgotten."""
    project, before = place / "project", place / "before"
    project.mkdir()
    before.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env |= {"FORGOTTEN": forgotten} if forgotten else {}
    assert record([sys.executable, str(STORING)], cwd=project, env=env, into=place / "calls") == 0
    return Recorded(project, before, events_of(place / "calls", project))


def lose_power_at_each_moment(recorded: Recorded, *, times: int) -> None:
    at = list(moments(recorded.events, below="")) * times
    for left, acks in disks_left(recorded.before, recorded.events, at, random.Random(1)):
        assert_nothing_is_lost(left, acks)


def test_each_way_to_write_keeps_what_it_has_taken(tmp_path: Path) -> None:
    lose_power_at_each_moment(stored(tmp_path), times=40 if nightly() else 4)


@pytest.mark.parametrize("sync", syncs_of("scythe_cli.core.files", *STORAGE_MODULES))
def test_no_sync_of_the_storage_is_needless(sync: str, tmp_path: Path) -> None:
    """The check can fail: without any one of the syncs, something that was acknowledged is lost."""
    recorded = stored(tmp_path, forgotten=sync)
    with pytest.raises(AssertionError, match="was acknowledged"):
        lose_power_at_each_moment(recorded, times=20)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("way", "sync"),
    [
        ("fetch", "scythe_cli.core.files make_folder sync_names"),
        *(("fetch", sync) for sync in syncs_of("scythe_cli.analysis.results.fetch_folder")),
        *(("export", sync) for sync in syncs_of("scythe_cli.analysis.files")),
    ],
)
def test_no_sync_of_what_is_copied_is_needless(way: str, sync: str, tmp_path: Path) -> None:
    recorded = recording_of((WAYS | {"export": EXPORT})[way], tmp_path, forgotten=sync)
    with pytest.raises(AssertionError, match="was acknowledged"):
        lose_power_at_each_moment(recorded, times=20)
