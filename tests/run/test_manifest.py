from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scythe_cli.errors import StorageError
from scythe_cli.run.manifest import (
    RunManifest,
    dump_yaml,
    load_yaml,
    provenance,
    read_manifest,
)
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT


def test_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    manifest = RunManifest(
        workflow_run_id="abc",
        experiment_id=LAYOUT.experiment_id,
        experiment_name="energy: #1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        n_specs=3,
        specs_per_task="auto",
        sampling_file="ünï 'cö\"de.csv",
        provenance=provenance(tmp_path),
    )
    storage.write_bytes(LAYOUT.manifest, manifest.to_yaml())
    assert read_manifest(storage, LAYOUT) == manifest
    storage.delete(LAYOUT.manifest)
    assert read_manifest(storage, LAYOUT) is None


def test_fields_of_later_versions_are_passed_over_and_wrong_ones_are_told(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    old = b"workflow_run_id: abc\nexperiment_id: e\nexperiment_name: n\n"
    storage.write_bytes(LAYOUT.manifest, old + b"future: [1, 2]\n")
    found = read_manifest(storage, LAYOUT)
    assert found is not None
    assert found.n_specs is None
    storage.write_bytes(LAYOUT.manifest, old + b"n_specs: many\n")
    with pytest.raises(StorageError, match=r"manifest\.yml: n_specs: "):
        read_manifest(storage, LAYOUT)


@pytest.mark.parametrize("text", ["", "- 1", "a: !!python/none x", "a: [", "\xff"])
def test_what_is_no_yaml_of_plain_data_is_refused(text: str) -> None:
    with pytest.raises(StorageError, match=r"^m\.yml: not "):
        load_yaml(text.encode("latin-1"), "m.yml")


def test_long_lines_are_not_folded() -> None:
    text = "word " * 200
    assert dump_yaml({"a": text}).count(b"\n") == 1
    assert load_yaml(dump_yaml({"a": text}), "x") == {"a": text}


@pytest.mark.processes
def test_command_is_kept_without_passwords(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/scythe", "allocate", "https://user:secret@host/x.csv"])
    found = provenance(tmp_path)
    assert found.command == "scythe allocate https://host/x.csv"
    assert found.git_commit is None
    assert found.packages["scythe-experiments"]


@pytest.mark.processes
def test_commit_and_whether_it_is_all(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "x")
    assert provenance(tmp_path).git_dirty is False
    (tmp_path / "a").write_text("2")
    found = provenance(tmp_path)
    assert found.git_dirty is True
    assert len(found.git_commit or "") == 40


@pytest.mark.processes
@pytest.mark.parametrize("how", ["fsmonitor", "filter", "process filter", "hook", "alternates", "none"])
def test_no_program_of_a_repository_is_run(tmp_path: Path, how: str) -> None:
    """Its configuration may be anybody's, as that of a project that was downloaded."""
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(repository), *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (repository / "a.txt").write_text("a")
    (repository / ".gitattributes").write_text("*.txt filter=mine\n")
    git("add", ".")
    git("commit", "-qm", "a")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\ncat\n")
    program.chmod(0o755)
    if how == "fsmonitor":
        git("config", "core.fsmonitor", str(program))
    elif how == "filter":
        git("config", "filter.mine.clean", str(program))
    elif how == "process filter":
        (tmp_path / "more").write_text(f'[filter "mine"]\n process = {program}\n')
        git("config", "include.path", str(tmp_path / "more"))
    elif how == "hook":
        for name in ("post-index-change", "fsmonitor-watchman"):
            (repository / ".git" / "hooks" / name).write_text(program.read_text())
            (repository / ".git" / "hooks" / name).chmod(0o755)
    elif how == "alternates":
        git("config", "core.alternateRefsCommand", str(program))
    (repository / "a.txt").write_text("b")
    found = provenance(repository)
    assert found.git_commit is not None
    assert found.git_dirty is (None if "filter" in how else True)
    assert not (tmp_path / "ran").exists()
