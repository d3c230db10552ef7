"""Runs random cases of an unpacked run again, in a process that has loaded nothing but what was packed.

    python -m scythe_cli.services.packing.child REQUEST ANSWER

Both are JSON files: `Request`, and a `VerifyResult` or `{"error": …}`. What the experiment prints goes where it likes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from scythe_cli.analysis.run import Run
from scythe_cli.config.file import CONFIG_NAME
from scythe_cli.config.schema import load_config
from scythe_cli.errors import NotFoundError, ScytheError
from scythe_cli.run.layout import RunLayout
from scythe_cli.services.configured import ConfiguredProject
from scythe_cli.services.runs.verify import VerifyResult, verify_run
from scythe_cli.storage.opening import open_storage

__all__ = ["Request", "main"]


class Request(BaseModel):
    """What is to be run again.

    Attributes:
        project: The folder of the project.
        storage: The folder of its runs.
        experiment_id: The run.
        n: How many cases.
        seed: Chooses them.
        workers: How many processes; as many as there are cores unless given.
    """

    project: Path
    storage: Path
    experiment_id: str
    n: int
    seed: int
    workers: int | None = None


def _verified(request: Request) -> VerifyResult:
    layout = RunLayout.from_experiment_id(request.experiment_id)
    if layout is None:
        raise NotFoundError(f"{request.experiment_id} is not the name of a run")
    run = Run(open_storage(str(request.storage)), layout)
    path = request.project / CONFIG_NAME
    project = ConfiguredProject(request.project, path, load_config(path), str(request.storage), "local")
    entrypoint = run.manifest.entrypoint if run.manifest is not None else None
    known = [settings.entrypoint for settings in project.config.experiments.values()]
    # a function that no configuration named was called by its place
    function = entrypoint if not known else None
    experiment = project.experiment_of(run, function)
    workers = request.workers or project.workers
    return verify_run(run, experiment, n=request.n, seed=request.seed, root=request.project, workers=workers)


def main(request: Path, answer: Path) -> int:
    """Answer a request; returns the exit code."""
    try:
        result = _verified(Request.model_validate_json(request.read_bytes()))
    except ScytheError as error:
        told = {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}
        answer.write_text(json.dumps(told))
        return error.exit_code
    answer.write_text(result.model_dump_json(exclude={"ok"}))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
