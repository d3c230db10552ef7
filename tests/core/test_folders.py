from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scythe_cli.core import folders as scratch
from scythe_cli.core import processes
from scythe_cli.core.folders import Remover, owned_prefix
from scythe_cli.core.processes import is_alive, machine, start_of


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, for this test alone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(scratch, "_swept_by", 0)
    return folder


def killed_process(temporary: Path) -> tuple[int, Path]:
    """A process that made a folder and was killed: its number, and the folder."""
    code = (
        "import os, sys, tempfile\nfrom scythe_cli.core.folders import owned_prefix\n"
        "folder = tempfile.mkdtemp(prefix=owned_prefix('test'))\n"
        "open(folder + '/file', 'w').close()\nprint(folder, flush=True)\nos.kill(os.getpid(), 9)"
    )
    env = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env, text=True) as process:
        out, _ = process.communicate(timeout=60)
    return process.pid, Path(out.strip())


@pytest.mark.processes
def test_folder_of_a_killed_process_is_removed_by_the_next(temporary: Path) -> None:
    _, left = killed_process(temporary)
    assert (left / "file").exists()
    with tempfile.TemporaryDirectory(prefix=owned_prefix("test")) as own:
        assert Path(own).parent == temporary
        assert not left.exists()
        # once in a process is enough
        _, later = killed_process(temporary)
        owned_prefix("test")
        assert later.exists()


@pytest.mark.processes
def test_folders_that_may_be_in_use_are_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid, left = killed_process(temporary)
    space = left.name.split("-")[2]
    start = start_of(os.getpid())
    assert start is not None
    mine = f"{os.getpid()}-{round(start * 100)}"
    kept = [
        f"scythe-test-{space}-{mine}-abc",  # of a process that lives
        f"scythe-test-{'0' * 8}-{pid}-1-abc",  # of another machine or container
        f"scythe-test-{pid}-abc",  # of somebody else
        f"other-test-{space}-{pid}-1-abc",
    ]
    for name in kept:
        (temporary / name).mkdir()
    (temporary / f"scythe-test-{space}-{pid}-1-file").write_text("no folder")
    victim = temporary / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    (temporary / f"scythe-test-{space}-{pid}-1-link").symlink_to(victim)
    foreign = temporary / f"scythe-test-{space}-{pid}-1-foreign"
    foreign.mkdir()
    if os.geteuid() == 0:
        os.chown(foreign, 1, 1)
        kept.append(foreign.name)
    (temporary / f"scythe-test-{space}-{os.getpid()}-1-again").mkdir()  # its number is used again, by us

    owned_prefix("test")

    assert sorted(path.name for path in temporary.iterdir()) == sorted(
        [*kept, f"scythe-test-{space}-{pid}-1-file", f"scythe-test-{space}-{pid}-1-link", "victim"]
    )
    assert (victim / "file").read_text() == "mine"

    monkeypatch.setattr(scratch, "_swept_by", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "not there"))
    assert owned_prefix("test").startswith(f"scythe-test-{space}-{mine}-")


@pytest.mark.processes
def test_processes_are_told_apart_by_when_they_began() -> None:
    start = start_of(os.getpid())
    assert start is not None
    assert is_alive(os.getpid(), start)
    assert not is_alive(os.getpid(), start - 60)
    assert machine() == machine()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_of(process.pid) is None, "it has ended, although nobody has waited for it"
        assert not is_alive(process.pid, 1.0)
    assert not is_alive(process.pid, 1.0)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_process_that_cannot_be_looked_at_is_taken_for_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_look_on_linux", lambda pid: None)
    assert start_of(os.getpid()) is None
    assert is_alive(os.getpid(), 1.0)


def test_folders_are_removed_beside_the_work(tmp_path: Path) -> None:
    remover = Remover()
    remover.close()  # nothing was removed yet
    for number in range(3):
        (tmp_path / f"folder-{number}" / "inner").mkdir(parents=True)
        remover.remove(tmp_path / f"folder-{number}")
    remover.remove(tmp_path / "missing")
    remover.close()
    assert list(tmp_path.iterdir()) == []
