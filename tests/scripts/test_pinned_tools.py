"""What `make` runs is what was tried: tools have versions, and the lock file is taken as it is."""

from __future__ import annotations

import re

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
