"""Targets in modules that a test writes."""

from __future__ import annotations

import sys
from pathlib import Path

from scythe_cli.model.functions.reference import ExperimentTarget

__all__ = ["target_of_text"]


def target_of_text(text: str, folder: Path, name: str) -> ExperimentTarget:
    """The function `simulate` of a module with this text, which is written."""
    (folder / f"{name}.py").write_text(text)
    return ExperimentTarget(
        kind="module",
        name="x",
        module=name,
        file=None,
        attribute="simulate",
        registered_name=None,
        sys_path=(str(folder), *sys.path),
        cwd=str(folder),
        retries=0,
        execution_timeout_s=1.0,
        memory_limit_bytes=None,
        inject_workflow_run_id=True,
        auto_fetch_files=True,
        local_file_location="cache",
    )
