"""Sampling files for a project: new designs, and the next points of the design of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scythe_cli.doe.settings import SampleOptions
from scythe_cli.errors import UsageError

if TYPE_CHECKING:
    from scythe_cli.run.design_record import DesignName, SampleResult
    from scythe_cli.services.configured import ConfiguredProject

__all__ = ["Sampling", "sample_cases"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a sampling file is to hold; see `Project.sample`."""

    design: DesignName | None
    n: int | None
    seed: int | None
    options: SampleOptions
    continues: str | None
    overwrite: bool
    drop_refused: bool


def sample_cases(project: ConfiguredProject, path: Path, experiment: str | None, sampling: Sampling) -> SampleResult:
    """Make a sampling file; see `Project.sample`."""
    if sampling.continues is not None:
        return _continued(project, path, experiment, sampling, sampling.continues)
    from scythe_cli.doe.sample_file import sample_file

    name, loaded = project.experiment(experiment)
    return sample_file(
        path,
        name,
        loaded.input_validator_type,
        sampling.design or "lhs",
        n=sampling.n,
        seed=sampling.seed,
        options=sampling.options,
        overwrite=sampling.overwrite,
        drop_refused=sampling.drop_refused,
    )


def _continued(
    project: ConfiguredProject, path: Path, experiment: str | None, sampling: Sampling, reference: str
) -> SampleResult:
    from scythe_cli.analysis.run import Run
    from scythe_cli.doe.continuing import continue_design
    from scythe_cli.run.catalog import find_run

    without = {
        "--design": sampling.design is not None,
        "--seed": sampling.seed is not None,
        "--drop-refused": sampling.drop_refused,
        "--set, --fix and the other options of fields": sampling.options.says_anything,
    }
    for option, is_set in without.items():
        if is_set:
            verb = "do" if " and " in option else "does"
            raise UsageError(f"{option} {verb} not go with --continue: the design of the run says it")
    run = Run(project.storage, find_run(project.storage, reference))
    loaded = project.experiment_of(run)
    if experiment not in {None, run.layout.experiment, loaded.name}:
        raise UsageError(f"{run.experiment_id} is a run of {run.layout.experiment!r}, not of {experiment!r}")
    result = continue_design(path, run, loaded.input_validator_type, n=sampling.n, overwrite=sampling.overwrite)
    return result.model_copy(update={"continues": run.experiment_id})
