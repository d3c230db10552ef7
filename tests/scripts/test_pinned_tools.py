"""What `make` runs is what was tried: tools have versions, and the lock file is taken as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import REPOSITORY


def test_uv_has_a_version() -> None:
    script = (REPOSITORY / "scripts" / "uv").read_text()
    assert re.search(r"^version=\d+\.\d+\.\d+\b", script, re.MULTILINE)
    assert '"uv==$version"' in script


def test_make_never_rewrites_the_lock_file() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    syncs = re.findall(r"\$\(UV\) sync.*", makefile)
    assert len(syncs) >= 2
    assert all("--locked" in sync for sync in syncs)
    assert all("--no-sync" in run for run in re.findall(r"^RUN := .*", makefile, re.MULTILINE))


@pytest.mark.processes
def test_a_uv_on_the_path_that_is_this_script_does_not_call_itself_for_ever(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "uv"
    own = tmp_path / ".uv" / "bin" / "uv"
    on_path = tmp_path / "path" / "uv"
    for path in (script, own, on_path):
        path.parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "uv", script)
    own.write_text('#!/bin/sh\necho "own $*"\n')
    own.chmod(0o755)
    on_path.symlink_to(script)
    ran = subprocess.run(
        [script, "--version"],
        env={"PATH": f"{on_path.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == "own --version\n"
