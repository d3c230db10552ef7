"""A project as its experiments.toml says it is: where runs are kept, what executes them, and the experiments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scythe_cli.config.file import CONFIG_NAME
from scythe_cli.config.location import environment_has
from scythe_cli.config.schema import Config, ExperimentConfig
from scythe_cli.core.cores import usable_cores
from scythe_cli.core.html import offered
from scythe_cli.core.text import hint_for
from scythe_cli.engines.entry_points import check_engine_name, get_engine
from scythe_cli.errors import ConfigError, EntrypointError, NotFoundError, UsageError

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.engines.base import Engine
    from scythe_cli.model.experiment import RegisteredExperiment
    from scythe_cli.storage.base import Storage

__all__ = ["ConfiguredProject", "engine_name_of"]


_NOT_OFFERED = ("config", "cores", "engine_named", "engine_of", "experiment_of", "load_run", "settings_of")
"""What the program itself needs of a project."""


def engine_name_of(engine: str | None, config: Config) -> str:
    """The engine of a project: the option, then the environment, then the configuration.

    Raises:
        UsageError: If there is none of this name.
    """
    name = engine or None
    if name is None and environment_has("SCYTHE_ENGINE"):
        from scythe_cli.model.settings import EngineSettings

        name = EngineSettings().ENGINE
    name = name or config.scythe.engine
    return check_engine_name(name)


@dataclass(frozen=True)
class ConfiguredProject:
    """A project's configuration, and what follows from it.

    Attributes:
        root: The folder of its configuration; the working directory without one.
        config_path: The configuration file; None when there is none.
        config: What it says.
        location: Where runs are kept.
        engine_name: What runs specs.
    """

    root: Path
    config_path: Path | None
    config: Config
    location: str
    engine_name: str

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from scythe_cli.core.html import facts_html

        shown = {"folder": self.root, "configuration": self.config_path, "runs in": self.location}
        rows = [*shown.items(), ("engine", self.engine_name), ("experiments", self.experiment_names())]
        return f"<div><b>Project</b>{facts_html(rows)}</div>"

    def __dir__(self) -> list[str]:
        """What the Tab key offers."""
        return offered(self, dir(type(self)), _NOT_OFFERED)

    @cached_property
    def engine(self) -> Engine:
        """What executes specs.

        Raises:
            EngineError: If it cannot be loaded.
        """
        return self.engine_named(self.engine_name)

    def engine_named(self, name: str) -> Engine:
        """The engine of a name, as this project sets it up.

        Raises:
            UsageError: If there is none of this name.
            EngineError: If it cannot be loaded.
        """
        return get_engine(name, self.config.engine_settings(name))

    @property
    def storage(self) -> Storage:
        """The place where runs are kept."""
        from scythe_cli.storage.opening import open_storage

        return open_storage(self.location, base=self.root, durability=self.config.scythe.durability)

    @property
    def cores(self) -> int:
        """The cores that this process may use."""
        return usable_cores()

    @property
    def workers(self) -> int:
        """The number of processes, unless an allocation asks for another."""
        return self.config.scythe.workers or self.cores

    def experiment_names(self) -> list[str]:
        """The experiments of the configuration, in its order."""
        return list(self.config.experiments)

    def settings_of(self, name: str | None) -> tuple[str, ExperimentConfig]:
        """The table of an experiment, and its name, which may be left out when there is only one.

        Raises:
            ConfigError: If there is no configuration, or no experiment in it.
            UsageError: If there are several, and none was chosen.
            NotFoundError: If there is no such experiment.
        """
        experiments = self.config.experiments
        if self.config_path is None:
            raise ConfigError(
                f"there is no {CONFIG_NAME} in {self.root} or in a folder above it",
                hint="`scythe init` makes a working project; --config names a file elsewhere.",
            )
        if not experiments:
            raise ConfigError(
                f"{self.config_path.name}: it has no experiments",
                hint="Add a table [experiments.<name>] with entrypoint = 'module:function'.",
            )
        if name is None:
            if len(experiments) > 1:
                raise UsageError(
                    f"there are several experiments: {', '.join(experiments)}",
                    hint="Choose one with --experiment NAME.",
                )
            name = next(iter(experiments))
        if name not in experiments:
            raise NotFoundError(f"{self.config_path.name} has no experiment {name!r}", hint=hint_for(name, experiments))
        return name, experiments[name]

    def experiment(self, name: str | None = None) -> tuple[str, RegisteredExperiment[Any, Any]]:
        """Load an experiment, with the options that the configuration gives it.

        Args:
            name: Its name; may be left out when there is only one.

        Returns:
            Its name in the configuration, and the function.

        Raises:
            ConfigError: If there is no configuration, or no experiment in it.
            NotFoundError: If there is no such experiment.
            EntrypointError: If its module cannot be imported or its function is not right.
        """
        from scythe_cli.model.experiment import RegisteredExperiment, with_options
        from scythe_cli.model.functions.entrypoints import load_entrypoint

        name, settings = self.settings_of(name)
        with self.engine.loading():
            loaded = load_entrypoint(settings.entrypoint, self.root)
        if isinstance(loaded, RegisteredExperiment):
            experiment = cast("RegisteredExperiment[Any, Any]", loaded)
        else:
            workflow = self.engine.experiment_of(loaded)
            if workflow is None:
                raise EntrypointError(
                    f"[experiments.{name}]: {settings.entrypoint} is a workflow, which only the hatchet engine runs",
                    hint="Use --engine hatchet.",
                )
            experiment = workflow
        options = with_options(
            experiment.options,
            execution_timeout=settings.execution_timeout,
            schedule_timeout=settings.schedule_timeout,
            memory_limit_bytes=settings.memory_limit,
            retries=settings.retries,
            retry_on=None if settings.retry_on is None else tuple(settings.retry_on),
            isolation=settings.isolation,
            rows_per_process=settings.rows_per_process,
            working_directory=settings.working_directory,
            keep_files=settings.keep_files,
            startup_timeout=settings.startup_timeout,
            start_method=settings.start_method,
            threads=settings.threads,
            needs=experiment.options.needs.updated(
                settings.cpus, settings.memory, settings.gpus, settings.tokens, totals=self.config.scythe.tokens
            ),
        )
        return name, experiment.configured(name=name, options=options)

    def experiment_of(self, run: Run, function: Any = None) -> RegisteredExperiment[Any, Any]:
        """Load the experiment of a run: that of its folder's name, else the one with its entrypoint.

        Only what the configuration names is loaded, whatever the run's manifest says.

        Args:
            run: The run.
            function: The function of a run that was allocated with one that is in no configuration, or
                `module:function`.

        Raises:
            NotFoundError: If the configuration has not the run's experiment.
            EntrypointError: If its module cannot be imported or its function is not right.
        """
        name, manifest = run.layout.experiment, run.manifest
        if function is not None:
            from scythe_cli.services.allocation.functions import function_of_run

            return function_of_run(run, function, self.root)
        if name not in self.config.experiments and manifest is not None and manifest.entrypoint:
            same = [n for n, settings in self.config.experiments.items() if settings.entrypoint == manifest.entrypoint]
            if len(same) != 1:
                raise NotFoundError(
                    f"no experiments.toml names {name!r}, the experiment of {run.experiment_id}",
                    hint=f"If it was allocated with --function, give that again: --function {manifest.entrypoint}",
                )
            name = same[0]
        return self.experiment(name)[1]
