"""The main job with the core alone: nothing that an extra brings can be imported, in no process."""

from __future__ import annotations

import os

import pytest

from scythe_cli.core.distribution import DISTRIBUTION, EXTRAS
from scythe_cli.services.scaffold import write_project
from tests.commands import Ran, run_several_alone

HIDING = f"""
import sys

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {sorted(module for modules in EXTRAS.values() for module in modules)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden)
"""

DO = [
    ["allocate", "cases.csv"],
    ["allocate", "cases.csv", "--reuse"],
    ["status"],
    ["errors"],
    ["results", "show"],
    ["results", "plot", "--x", "u_wall", "--y", "heating"],
    ["results", "diff", "v1.0.0", "v1.1.0"],
    ["results", "fetch", "--dest", "out", "--format", "csv"],
    ["results", "export", "-o", "tidy.csv"],
    ["verify", "-n", "1"],
    ["sample", "--design", "grid", "--levels", "2", "-o", "grid.csv"],
    ["doctor"],
]
"""Command lines that need no extra."""

REFUSED = {
    "sample": ["sample", "--design", "sobol", "-n", "8", "-o", "sobol.csv"],
    "sql": ["results", "query", "select 1"],
    "plot": ["report", "-o", "report.html"],
    "ui": ["ui", "--no-browser"],
    "xlsx": ["results", "fetch", "--dest", "sheets", "--format", "xlsx"],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    hiding = tmp_path_factory.mktemp("hiding")
    (hiding / "sitecustomize.py").write_text(HIDING)
    folder = tmp_path_factory.mktemp("core")
    write_project(folder)
    path = os.pathsep.join(filter(None, [str(hiding), os.environ.get("PYTHONPATH", "")]))
    lines = [*DO, *REFUSED.values()]
    done = run_several_alone(*lines, cwd=folder, env={"PYTHONPATH": path, "SCYTHE_CACHE_DIR": str(folder / "cache")})
    return {" ".join(line): each for line, each in zip(lines, done, strict=True)}


@pytest.mark.parametrize("line", DO, ids=" ".join)
def test_the_main_job_needs_no_extra(ran: dict[str, Ran], line: list[str]) -> None:
    done = ran[" ".join(line)]
    assert done.code == 0, done.err


@pytest.mark.parametrize("extra", REFUSED)
def test_a_command_says_which_extra_it_needs(ran: dict[str, Ran], extra: str) -> None:
    done = ran[" ".join(REFUSED[extra])]
    assert done.code == 2
    assert "which is not installed" in done.err
    assert f"Install it with: pip install '{DISTRIBUTION}[{extra}]'" in done.err.replace("\n", " ")
    assert "Traceback" not in done.err
