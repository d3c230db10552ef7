"""A study as a call: of the configuration by its name, or of a function or experiment with settings of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

from pydantic import ValidationError

from scythe_cli.analysis.notebook import notebook_progress
from scythe_cli.analysis.run import Run
from scythe_cli.config.studies import StudyConfig
from scythe_cli.core.names import check_experiment_name
from scythe_cli.core.semver import SemVer
from scythe_cli.errors import UsageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.plain import experiment_of
from scythe_cli.run.layout import RunLayout
from scythe_cli.services.study.loop import RoundCallback, StudyOptions, run_study
from scythe_cli.services.study.settings import Study, configured_study, study_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.services.configured import ConfiguredProject
    from scythe_cli.services.study.records import StudyResult

__all__ = ["StudySettings", "made_study", "run_of_study", "study_and_run"]


class StudySettings(TypedDict, total=False):
    """What a table `[studies.NAME]` says, as keywords."""

    set: Mapping[str, Any]
    fix: Mapping[str, Any]
    only: Sequence[str] | None
    log: Sequence[str]
    initial: int | None
    batch: int | str
    suggest: str
    options: Mapping[str, Any]
    targets: Mapping[str, Any]
    constraints: Mapping[str, str]
    strata: Sequence[str]
    population: Any
    max_cases: int
    patience: int
    folds: int
    seed: int


def study_and_run(
    project: ConfiguredProject,
    what: str | Callable[..., Any] | RegisteredExperiment[Any, Any],
    *,
    name: str | None = None,
    new: bool = False,
    accept_new_code: bool = False,
    workers: int | None = None,
    progress: ProgressCallback | None = None,
    stop: StopSignal | None = None,
    on_round: RoundCallback | None = None,
    **settings: Unpack[StudySettings],
) -> StudyResult:
    """Start a study, or go on with it, to its end; see `scythe_cli.study`."""
    study = made_study(project, what, name, settings)
    with notebook_progress(progress) as show:
        options = StudyOptions(new, accept_new_code, workers, show, stop or StopSignal(), on_round)
        return run_study(project, study, options)


def made_study(project: ConfiguredProject, what: Any, name: str | None, settings: StudySettings) -> Study:
    """The study of a call.

    Raises:
        UsageError: If it cannot be as it is said.
        InvalidInputError: If its experiment cannot be loaded.
    """
    if isinstance(what, str):
        if settings or name is not None:
            raise UsageError(f"the study {what!r} is of experiments.toml, which has its settings")
        return configured_study(project, what)
    said = dict(settings)
    population = said.pop("population", None)
    ranges = {field: _option(value) for field, value in dict(settings.get("set") or {}).items()}
    try:
        config = StudyConfig.model_validate({**said, "set": ranges})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
    columns = {field: _type_of(value) for field, value in {**config.set, **config.fix}.items()}
    experiment = experiment_of(what, columns=columns)
    if project.engine.outlives_client and not isinstance(what, RegisteredExperiment):
        raise UsageError(
            f"the {project.engine.label} engine runs cases elsewhere, where {experiment.name} is not",
            hint="Put it into a module and experiments.toml, with a model of its inputs, so that workers serve it.",
        )
    study_name = name or experiment.name
    check_experiment_name(study_name)
    return study_of(project, study_name, config, experiment.name, experiment, where="study", population=population)


def _option(value: Any) -> Any:
    """A range as the text of an option, since a configuration knows no tuples."""
    return ":".join(map(str, cast("tuple[Any, ...]", value))) if isinstance(value, tuple) else value


def _type_of(value: Any) -> Any:
    """The type of a parameter without annotation, by what is said of it."""
    if isinstance(value, str):
        parts = value.split(":") if ":" in value else value.split(",")
        return float if all(map(_is_number, parts)) else str
    if isinstance(value, list):
        kinds = {type(each) for each in cast("list[Any]", value)}
        return kinds.pop() if len(kinds) == 1 else float if kinds <= {int, float} else str
    return type(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def run_of_study(project: ConfiguredProject, result: StudyResult) -> Run:
    """The run of a study."""
    layout = RunLayout.from_experiment_id(result.experiment_id)
    assert layout is not None
    assert isinstance(layout.version, SemVer)
    return Run(project.storage, layout)
