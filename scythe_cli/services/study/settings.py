"""A study as the configuration, or a call, says it is: what varies, what is to be reached, and its first cases."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scythe_cli.analysis.surrogate.space import Dimension, Point, Space
from scythe_cli.analysis.surrogate.targets import (
    Constraint,
    Target,
    is_objective,
    read_constraints,
    read_targets,
)
from scythe_cli.core.text import hint_for
from scythe_cli.doe.drawing import Drawn, draw
from scythe_cli.doe.sample_file import accepted_rows, without_refused
from scythe_cli.doe.settings import SampleOptions
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.model.columns import output_columns
from scythe_cli.sampling.reading import SamplingTable, read_sampling_file
from scythe_cli.services.allocation.intake import Intake
from scythe_cli.services.mapping import as_file
from scythe_cli.services.study.population import FirstCases, first_of_population

if TYPE_CHECKING:
    from scythe_cli.config.schema import ExperimentConfig
    from scythe_cli.config.studies import StudyConfig
    from scythe_cli.model.experiment import RegisteredExperiment
    from scythe_cli.run.design_record import DesignField
    from scythe_cli.services.configured import ConfiguredProject

__all__ = ["Study", "configured_study", "study_of"]


_LEAST_INITIAL = 8
_PER_FIELD = 2
_BEGUN_WITH = ("set", "fix", "only", "log", "suggest", "options", "strata", "population", "folds", "seed")
"""What cannot change while a study goes on, since chosen cases follow from it."""


@dataclass(frozen=True)
class Study:
    """A study, before any of its cases is run.

    Attributes:
        name: Its name.
        config: What was said of it.
        experiment: What is called for each case.
        folder: The experiment's name in the configuration, and the folder of its runs.
        experiment_config: The experiment's table in the configuration; None for a function that is in none.
        first: The cases of the first round, and the space that they are of.
        targets: How well outputs are to be predicted.
        objectives: The outputs that are to be small or large: `minimize` or `maximize`.
        constraints: What outputs have to be.
    """

    name: str
    config: StudyConfig
    experiment: RegisteredExperiment[Any, Any]
    folder: str
    experiment_config: ExperimentConfig | None
    first: FirstCases
    targets: Sequence[Target]
    objectives: Mapping[str, str]
    constraints: Sequence[Constraint]

    @property
    def space(self) -> Space:
        """The fields that vary."""
        return self.first.space

    @property
    def outputs(self) -> list[str]:
        """The outputs that it looks at."""
        names = [*(t.output for t in self.targets), *self.objectives, *(c.output for c in self.constraints)]
        return list(dict.fromkeys(names))

    @property
    def begun_with(self) -> dict[str, Any]:
        """What of the settings its cases follow from, as plain data."""
        said = self.config.model_dump(mode="json")
        return {name: said[name] for name in _BEGUN_WITH if said[name] not in (None, {}, [])}

    def intake(self, project: ConfiguredProject, table: pa.Table) -> Intake:
        """Cases, checked as a sampling file is."""
        with as_file(table) as file:
            read = read_sampling_file(file, self.experiment.input_validator_type, experiment=self.folder)
        of_study: SamplingTable = dataclasses.replace(read, path=project.root / "study.pq", source=f"study {self.name}")
        settings = self.experiment_config
        entrypoint = None if settings is None else settings.entrypoint
        return Intake(self.folder, self.experiment, of_study, settings, entrypoint)

    def table(self, points: Sequence[Point]) -> pa.Table:
        """Points as a table with the columns of the first cases; what does not vary is as it is in those."""
        if self.first.rows is not None:
            return self.first.rows([self.space.key(point) for point in points])
        columns: dict[str, Any] = {}
        varying = set(self.space.names)
        for field in self.first.table.schema:
            if field.name in varying:
                cells = [point[field.name] for point in points]
                if pa.types.is_decimal(field.type):
                    cells = [Decimal(str(cell)) for cell in cells]
                columns[field.name] = pa.array(cells, field.type)
            else:
                one: Any = self.first.table.column(field.name).slice(0, 1).combine_chunks()
                columns[field.name] = one.take(pa.array(np.zeros(len(points), np.int64)))
        return pa.table(columns)

    def accepted(self, points: Sequence[Point]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which points the experiment's input model takes."""
        if not points:
            return np.ones(0, np.bool_)
        return accepted_rows(self.table(points), self.experiment.input_validator_type)


def configured_study(project: ConfiguredProject, name: str) -> Study:
    """A study of the configuration.

    Raises:
        NotFoundError: If there is none of this name.
        InvalidInputError: If its experiment cannot be loaded.
        UsageError: If it cannot be as it is said.
    """
    studies = project.config.studies
    if name not in studies:
        hint = hint_for(name, list(studies)) or "A table [studies.NAME] in experiments.toml makes one."
        raise NotFoundError(f"there is no study {name!r}", hint=hint)
    config = studies[name]
    folder, experiment = project.experiment(config.experiment)
    return study_of(project, name, config, folder, experiment, where=f"studies.{name}")


def study_of(
    project: ConfiguredProject,
    name: str,
    config: StudyConfig,
    folder: str,
    experiment: RegisteredExperiment[Any, Any],
    *,
    where: str,
    population: Any = None,
) -> Study:
    """Work out a study.

    Args:
        project: The project.
        name: The study's name.
        config: What was said of it.
        folder: The experiment's name.
        experiment: The experiment.
        where: What messages call the place of the settings.
        population: The cases of which some are run, as a table; else what the settings name, if anything.

    Raises:
        UsageError: If it cannot be as it is said.
    """
    wanted = config.targets
    objectives = {o: str(t).strip().lower() for o, t in wanted.items() if not isinstance(t, list) and is_objective(t)}
    targets = read_targets(wanted, f"{where}.targets")
    constraints = read_constraints(config.constraints, f"{where}.constraints")
    _check_kinds(config, bool(targets), bool(objectives), where)
    first = (
        _drawn(project, config, folder, experiment)
        if population is None and config.population is None
        else first_of_population(project, config, experiment, folder, population)
    )
    study = Study(
        name=name,
        config=config,
        experiment=experiment,
        folder=folder,
        experiment_config=project.config.experiments.get(folder),
        first=first,
        targets=targets,
        objectives=objectives,
        constraints=constraints,
    )
    _check_names(study, where)
    return study


def _drawn(
    project: ConfiguredProject, config: StudyConfig, folder: str, experiment: RegisteredExperiment[Any, Any]
) -> FirstCases:
    """Points of a Sobol sequence over what varies."""
    model = experiment.input_validator_type
    options = SampleOptions(set=config.set, fix=config.fix, only=config.only, log=config.log)

    def drawn(n: int) -> Drawn:
        root, seed = project.root, config.seed
        made = draw(
            model, "sobol", n=n, seed=seed, options=options, experiment=folder, from_folder=root, to_folder=root
        )
        return without_refused(made, model)

    initial = config.initial or _LEAST_INITIAL
    made = drawn(initial)
    if config.initial is None and _PER_FIELD * len(made.record.fields) > initial:
        made = drawn(1 << (_PER_FIELD * len(made.record.fields) - 1).bit_length())
    types = made.table.schema
    space = Space(tuple(_dimension(field, types.field(field.name).type) for field in made.record.fields))
    return FirstCases(made.table, space, made.record)


def _check_kinds(config: StudyConfig, has_targets: bool, has_objectives: bool, where: str) -> None:
    if has_targets and has_objectives:
        raise UsageError(
            f"{where}.targets: outputs are either predicted or made small or large",
            hint="Make two studies of it.",
        )
    if config.suggest == "optimize" and not has_objectives:
        raise UsageError(f"{where}.targets: optimize needs an output to 'minimize' or 'maximize'")
    if config.suggest == "surrogate" and not has_targets:
        raise UsageError(
            f"{where}.targets: surrogate needs an output with a target such as 'rmse <= 1%'",
            hint='`suggest = "optimize"` is for outputs to minimize or maximize.',
        )
    if config.population is not None and config.suggest != "surrogate":
        raise UsageError(f"{where}.population: only surrogate chooses from a population")
    if config.constraints and not has_objectives:
        raise UsageError(f"{where}.constraints are for outputs to minimize or maximize")
    if config.strata and not has_targets:
        raise UsageError(f"{where}.strata are for targets such as 'rmse <= 1%'")


def _check_names(study: Study, where: str) -> None:
    outputs = [
        column.name
        for column in output_columns(study.experiment.output_validator_type)
        if pa.types.is_integer(column.field.type)
        or pa.types.is_floating(column.field.type)
        or pa.types.is_boolean(column.field.type)
    ]
    for name in study.outputs:
        # a plain function says only when it returns which outputs it has
        if outputs and name not in outputs:
            hint = hint_for(name, outputs) or f"There are {', '.join(outputs)}."
            raise UsageError(f"{where}: there is no numeric output {name!r}", hint=hint)
    dimensions = {dimension.name: dimension for dimension in study.space.dimensions}
    for name in study.config.strata:
        if name not in dimensions:
            raise UsageError(f"{where}.strata: {name!r} is no field that varies")
        if dimensions[name].values is None and study.first.pool is None:
            raise UsageError(
                f"{where}.strata: {name!r} has numbers between two ends, which divide nothing",
                hint=f'Let it have single values: set = {{ {name} = "1,2,3" }}.',
            )


def _dimension(field: DesignField, type_: pa.DataType) -> Dimension:
    """A field that varies, from what the record of the first cases says of it."""
    if field.values is not None:
        return Dimension(field.name, values=tuple(field.values))
    numeric = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    if not numeric or field.low is None or field.high is None:
        raise UsageError(
            f"{field.name}: a study chooses numbers and single values, not {type_}",
            hint=f"Give it single values, set = {{ {field.name} = [...] }}, or fix it.",
        )
    whole = pa.types.is_integer(type_)
    step = float(field.step) if field.step is not None else 1.0 if whole else None
    low, high = float(field.low), float(field.high)
    if field.low_excluded:
        low += (high - low) * 1e-9
    if field.high_excluded:
        high -= (high - low) * 1e-9
    return Dimension(field.name, low, high, field.distribution == "log", step, whole)
