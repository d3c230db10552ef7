"""What there is to tell of studies without running anything: all of the configuration, and what one would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scythe_cli.analysis.surrogate.failures import failure_rules
from scythe_cli.analysis.surrogate.history import read_history
from scythe_cli.core.states import State
from scythe_cli.errors import ScytheError
from scythe_cli.run.lease import read_owner
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.study.cases import CaseOutcomes
from scythe_cli.services.study.finding import study_run_of
from scythe_cli.services.study.loop import next_batch
from scythe_cli.services.study.measuring import end_of, targets_of
from scythe_cli.services.study.population import rows_of
from scythe_cli.services.study.records import StudyListing, StudyPlan
from scythe_cli.services.study.settings import Study

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.analysis.surrogate.space import Dimension
    from scythe_cli.services.configured import ConfiguredProject

__all__ = ["listed_studies", "plan_study"]


def listed_studies(project: ConfiguredProject) -> list[StudyListing]:
    """The studies of the configuration, each with how far its latest run is."""
    return [_listed(project, name) for name in project.config.studies]


def _listed(project: ConfiguredProject, name: str) -> StudyListing:
    config = project.config.studies[name]
    targets = {o: [str(t) for t in (said if isinstance(said, list) else [said])] for o, said in config.targets.items()}
    try:
        experiment, _ = project.settings_of(config.experiment)
        run = study_run_of(project.storage, experiment, name)
    except ScytheError as error:
        return StudyListing(name=name, experiment=config.experiment, targets=targets, problem=error.message)
    if run is None:
        return StudyListing(name=name, experiment=experiment, targets=targets)
    history = read_history(run.storage, run.layout)
    rounds = [] if history is None else history.rounds
    return StudyListing(
        name=name,
        experiment=experiment,
        targets=targets,
        run=run.experiment_id,
        rounds=len(rounds),
        cases=(run.manifest.n_specs if run.manifest else None) or 0,
        last=rounds[-1] if rounds else None,
        is_running=read_owner(run.storage, run.layout) is not None,
    )


def plan_study(project: ConfiguredProject, study: Study, *, workers: int | None = None, new: bool = False) -> StudyPlan:
    """What a study would do; nothing is run or written.

    Raises:
        StorageError: If its run cannot be read.
    """
    run = None if new else study_run_of(project.storage, study.folder, study.name)
    history = None if run is None else read_history(run.storage, run.layout)
    rounds = [] if history is None else history.rounds
    n = study.first.table.num_rows if run is None else _n_cases(run)
    pending, failures = (0, list[str]()) if run is None else _looked_at(study, run, n)
    end = end_of(study, rounds) if rounds and not pending else None
    return StudyPlan(
        study=study.name,
        experiment=study.folder,
        engine=project.engine.name,
        fields={dimension.name: _in_words(dimension) for dimension in study.space.dimensions},
        initial=study.first.table.num_rows,
        batch=next_batch(project, study, n, workers or project.workers),
        suggest=study.config.suggest,
        targets=targets_of(study),
        strata=study.config.strata,
        max_cases=study.config.max_cases,
        run=None if run is None else run.experiment_id,
        last=rounds[-1] if rounds else None,
        pending=pending,
        end=None if end is None else end[0],
        reason=None if end is None else end[1],
        failures=failures,
    )


def _n_cases(run: Run) -> int:
    return (run.manifest.n_specs if run.manifest else None) or 0


def _looked_at(study: Study, run: Run, n: int) -> tuple[int, list[str]]:
    """How many cases of a run are pending, and where those that have run fail."""
    outcomes = CaseOutcomes(run.storage, run.layout, study.outputs)
    outcomes.refresh()
    states: Any = np.array(outcomes.states(n))
    with SpecFile.open(run.storage, run.layout) as specs:
        first = [name.split(".")[0] for name in study.space.names]
        points = rows_of(specs.read(0, n, columns=list(dict.fromkeys(first))), study.space.names)
    ran = states != State.PENDING.value
    known = [point for point, flag in zip(points, ran, strict=True) if flag]
    rules = failure_rules(study.space, known, states[ran] == State.SUCCEEDED.value)
    return int((~ran).sum()), rules


def _in_words(dimension: Dimension) -> str:
    if dimension.values is not None:
        shown = ", ".join(map(str, dimension.values[:6]))
        return f"{shown} and {len(dimension.values) - 6:,} more" if len(dimension.values) > 6 else shown
    scale = ", logarithmic" if dimension.is_log else ""
    step = f", in steps of {dimension.step:g}" if dimension.step is not None and dimension.step != 1 else ""
    whole = ", whole numbers" if dimension.is_whole and not step else ""
    return f"{dimension.low:g} to {dimension.high:g}{scale}{step}{whole}"
