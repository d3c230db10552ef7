"""A study that is killed: wherever that was, it asks for the cases that it would have asked for, and ends alike."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scythe_cli.services.project import Project, open_project
from scythe_cli.storage import opening
from scythe_cli.storage.local import LocalStorage
from tests.growing import Deadly, Killed
from tests.studying import CODE, points_of, studied, study_project

from .comparing import assert_same_tables, final_tables
from .conftest import Inside, nightly, told_seed
from .test_killed_runs import kill_after

pytestmark = pytest.mark.filterwarnings("ignore:.*constant_liar.*", "ignore:Argument ``")

SURROGATE = """
initial = 8
batch = 4
targets = { y = "rmse <= 0.001%" }
strata = ["site"]
max_cases = 20
"""
OPTIMIZE = """
initial = 4
batch = 2
suggest = "optimize"
targets = { y = "minimize", z = "maximize" }
max_cases = 10
"""
N_MOMENTS = 8 if nightly() else 2
CHANGING = {"create", "write_bytes", "put_file", "take_file", "delete", "rename"}


def history(project: Project) -> Any:
    path = Path(project.run().uri) / "study" / "history.json"
    return json.loads(path.read_text())


@pytest.mark.parametrize("study", [SURROGATE, OPTIMIZE], ids=["surrogate", "optimize"])
def test_killed_at_any_operation_it_asks_for_the_same_cases(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = study_project(tmp_path / "undisturbed", study)
    counting = Deadly(LocalStorage(project.root / "runs"), sys.maxsize)
    with monkeypatch.context() as patched:
        patched.setattr(opening, "open_storage", lambda *_, **__: counting)
        result = studied(project)
    points, tables, known = points_of(project), final_tables(Path(result.uri)), history(project)
    assert len(result.rounds) == 4
    changing = [at for at, name in enumerate(counting.names) if name in CHANGING]
    longer = [at for at, name in enumerate(counting.names) if name == "take_file"][1]
    moments = {
        longer + 1,
        *random.Random(study).sample(changing, N_MOMENTS),
    }  # when the specs say more than the manifest
    for at in sorted(moments):
        project = study_project(tmp_path / str(at), study)
        with monkeypatch.context() as patched:
            deadly = Deadly(LocalStorage(project.root / "runs"), at)
            patched.setattr(opening, "open_storage", lambda *_, deadly=deadly, **__: deadly)
            with pytest.raises(Killed):
                studied(project)
        studied(study_project(project.root, study))
        assert points_of(project) == points, at
        assert_same_tables(Path(project.run().uri), tables)
        assert history(project) == known
        shutil.rmtree(project.root)


STUDY = """
[scythe]
storage = "runs"
workers = 2
[experiments.plant]
entrypoint = "studied_model:simulate"
[studies.s]
initial = 8
batch = 4
targets = { y = "rmse <= 0.001%" }
"""
N_ROUNDS = 10 if nightly() else 2
N_KILLS = 20 if nightly() else 1


def test_killed_with_a_signal_at_random_moments_it_asks_for_the_same_cases(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = told_seed()
    dice = random.Random(seed)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "studied_model.py").write_text(CODE)
    (tmp_path / "experiments.toml").write_text(f"{STUDY}max_cases = {8 + 4 * N_ROUNDS}\n")
    started = time.monotonic()
    assert inside(tmp_path, "study", "s").code == 1
    # a process of its own takes some time to start
    takes_s = time.monotonic() - started + 1.0
    project = open_project(start=tmp_path)
    points, tables, known = points_of(project), final_tables(Path(project.run().uri)), history(project)
    assert len(known["rounds"]) == 1 + N_ROUNDS
    killed = 0
    while killed < N_KILLS:
        shutil.rmtree(tmp_path / "runs")
        for n in count():
            # after some kills it is left alone: a study must also end
            delay_s = dice.uniform(0.2, 0.9) * takes_s if n < min(3, N_KILLS) else 300.0
            if kill_after(["study", "s"], tmp_path, delay_s) is not None:
                break
            killed += 1
        assert points_of(project) == points
        assert_same_tables(Path(project.run().uri), tables)
        assert history(project) == known


def test_a_round_is_known_by_the_manifest(tmp_path: Path) -> None:
    project = study_project(tmp_path, SURROGATE)
    studied(project)
    manifest = project.run().manifest
    assert manifest is not None
    assert manifest.study is not None
    assert (manifest.study.name, manifest.study.round, manifest.study.asked) == ("s", 0, 8)
    rounds = [each.study for each in manifest.extensions or []]
    assert [(each.round, each.asked) for each in rounds if each is not None] == [(1, 4), (2, 4), (3, 4)]
    assert pl.read_parquet(Path(project.run().uri) / "final" / "scalars.pq").height > 10
