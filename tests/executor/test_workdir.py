"""What a row has written into its folder that nobody keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from scythe_cli.executor.rows.workdir import RowFolder


@pytest.mark.parametrize(
    ("written", "kept", "expected"),
    [
        ([], [], None),
        (["temp.inp"], [], "temp.inp"),
        (["case.txt"], [], None),  # the project has one
        (["out/report.html"], ["out/report.html"], None),
        (["report.html", "temp.rpt"], ["report.html"], "temp.rpt"),
        (["report.html"], ["/elsewhere/report.html"], "report.html"),
        ([".cache/x", "__pycache__/x.pyc"], [], None),
    ],
)
def test_files_that_are_new(tmp_path: Path, written: list[str], kept: list[str], expected: str | None) -> None:
    project = tmp_path / "project"
    (project / "weather").mkdir(parents=True)
    (project / "case.txt").write_text("as it was")
    folder = RowFolder(project, tmp_path / "rows")
    for name in written:
        path = folder.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("new")
    assert folder.new_file([Path(name) for name in kept]) == expected
    absolute = [folder.path / name for name in written]
    assert folder.new_file(absolute) is None
    folder.close()
