"""Run a Python function over a table of cases, on this machine or a fleet, and get one tidy Parquet table back.

```python
import scythe_cli as scythe

run = scythe.map(yield_of, frame)  # any function, any table
run.to_pandas()

scythe.allocate("cases.csv")  # an experiment of experiments.toml
scythe.load_run("latest").scalars()  # a Polars frame
```
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from scythe_cli.analysis.run import Run
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.core.quantities import Duration
    from scythe_cli.doe.settings import SampleOptionsDict
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.model.models import ExperimentInputSpec as Input
    from scythe_cli.model.models import ExperimentOutputSpec as Output
    from scythe_cli.model.registration import experiment
    from scythe_cli.run.design_record import DesignName, SampleResult
    from scythe_cli.services.allocation.options import AllocateOptionsDict
    from scythe_cli.services.project import Project
    from scythe_cli.services.records import AllocateResult
    from scythe_cli.services.study.calling import StudySettings

    __version__: str

__all__ = [
    "Input",
    "Output",
    "__version__",
    "allocate",
    "experiment",
    "load_run",
    "map",
    "open_project",
    "sample",
    "study",
]


def __getattr__(name: str) -> Any:
    # what is imported when it is asked for: `import scythe_cli` loads nothing
    if name in ("Input", "Output"):
        from scythe_cli.model import models

        return models.ExperimentInputSpec if name == "Input" else models.ExperimentOutputSpec
    if name == "experiment":
        from scythe_cli.model.registration import experiment

        return experiment
    if name == "__version__":
        # reading the metadata of the installed package takes longer than all else here
        from scythe_cli.core.distribution import installed_version

        return installed_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # what the Tab key offers, and not what is imported here
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


def open_project(
    config: str | Path | None = None,
    *,
    storage: str | None = None,
    engine: str | None = None,
    start: Path | None = None,
) -> Project:
    """Open the project of the working directory.

    Args:
        config: The configuration file; looked for from `start` upwards unless given.
        storage: A folder or s3://bucket/prefix, instead of what the environment or the file says.
        engine: The engine, instead of what the environment or the file says.
        start: Where the search begins; the working directory unless given.

    Raises:
        ConfigError: If the file is not there or not right.
    """
    from scythe_cli.services.project import open_project as _open

    return _open(None if config is None else Path(config), storage=storage, engine=engine, start=start)


def map(  # noqa: A001 - what it does to a function and cases
    function: Callable[..., Any],
    cases: Any,
    *,
    name: str | None = None,
    storage: str | None = None,
    workers: int | None = None,
    engine: str | None = None,
    execution_timeout: Duration | None = None,
    memory_limit: str | int | None = None,
    retries: int | None = None,
    seed: int | None = None,
    reuse: bool | str = False,
    progress: ProgressCallback | None = None,
) -> Run:
    """Call a function for each of some cases, each in a process that may fail by itself.

        run = scythe_cli.map(yield_of, frame, workers=4)
        run.to_pandas()

    The parameters of the function are the inputs: the types of their annotations are checked before anything runs; a
    parameter without one takes the type of its column. A number, text or anything else that is returned becomes the
    column `value`; a dict, dataclass, NamedTuple or model a column for each name; a table the table `result`; a tuple
    is several of these; a path is an output file. Any callable will do: a lambda, `async def`, a function of a cell.

    Args:
        function: What is called, with the cells of a case as arguments.
        cases: A table of pandas, Polars or Arrow, a list of dicts, a dict of columns, or the path of a sampling file;
            for a function of one parameter also a list of its values.
        name: The name of the run's folder; that of the function unless given.
        storage: A folder or s3://bucket/prefix; else what the environment or experiments.toml says, else `./runs`.
        workers: The number of processes; the cores unless given.
        engine: What runs the cases; `local` unless the environment or experiments.toml says otherwise.
        execution_timeout: How long one case may take, such as `10m`; 1 h unless given.
        memory_limit: Memory that one case may use, such as `4GB`.
        retries: How often a case that did not succeed is run again.
        seed: What random numbers follow from; 0 unless given.
        reuse: Whether outcomes are taken over from earlier runs of the same inputs and code.
        progress: Called as it goes on; in a notebook, a bar below the cell unless given.

    Returns:
        The run: `run.to_pandas()`, `run.scalars()`, `run.errors()`, `run.table("result")`.

    Raises:
        RegistrationError: If the function cannot be called with cases.
        SamplingFileError: If cases do not fit its parameters; nothing is run.
        UnreachableError: If storage or engine cannot be used.
    """
    return open_project(storage=storage, engine=engine).map(
        function,
        cases,
        name=name,
        workers=workers,
        execution_timeout=execution_timeout,
        memory_limit=memory_limit,
        retries=retries,
        seed=seed,
        reuse=reuse,
        progress=progress,
    )


def allocate(
    file: str | Path | None = None,
    *,
    progress: ProgressCallback | None = None,
    stop: StopSignal | None = None,
    **options: Unpack[AllocateOptionsDict],
) -> AllocateResult:
    """Run every case of a sampling file, or of a run in its place; see `Project.allocate`."""
    return open_project().allocate(file, progress=progress, stop=stop, **options)


def sample(
    out: str | Path,
    experiment: str | None = None,
    *,
    design: DesignName | None = None,
    n: int | None = None,
    seed: int | None = None,
    continues: str | None = None,
    overwrite: bool = False,
    drop_refused: bool = False,
    **options: Unpack[SampleOptionsDict],
) -> SampleResult:
    """Make a sampling file from the bounds of an experiment's inputs; see `Project.sample`."""
    return open_project().sample(
        out,
        experiment,
        design=design,
        n=n,
        seed=seed,
        continues=continues,
        overwrite=overwrite,
        drop_refused=drop_refused,
        **options,
    )


def study(
    what: str | Callable[..., Any],
    *,
    name: str | None = None,
    new: bool = False,
    accept_new_code: bool = False,
    storage: str | None = None,
    workers: int | None = None,
    engine: str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Unpack[StudySettings],
) -> Run:
    """Run cases that are chosen round by round, until outputs are predicted well, or are as small or large as can be.

        run = scythe_cli.study(yield_of, set={"tilt": (0, 90), "site": ["A", "B"]}, targets={"value": "rmse <= 1%"})
        run.study().reason
        run.surrogate().predict(frame)

    What was stopped goes on where it was when it is called again.

    Args:
        what: A study of experiments.toml by its name; or a function or registered experiment, with settings.
        name: The name of the study; that of the function unless given.
        new: Whether it starts with a new run, although it has one.
        accept_new_code: Whether it goes on although the code has changed since.
        storage: A folder or s3://bucket/prefix; else what the environment or experiments.toml says, else `./runs`.
        workers: The number of processes; the cores unless given.
        engine: What runs the cases; `local` unless the environment or experiments.toml says otherwise.
        progress: Called as cases run; in a notebook, a bar below the cell unless given.
        settings: What a table `[studies.NAME]` says: `set`, `targets`, `strata`, `initial`, `batch`, `max_cases`, …;
            `population` may be a table.

    Returns:
        The run: `run.study()` tells how it went, `run.surrogate()` predicts, `run.scalars()` has the cases.

    Raises:
        UsageError: If the study cannot be as it is said, or was begun with other settings.
        UnreachableError: If storage or engine cannot be used.
    """
    from scythe_cli.services.study.calling import run_of_study, study_and_run

    project = open_project(storage=storage, engine=engine)
    result = study_and_run(
        project,
        what,
        name=name,
        new=new,
        accept_new_code=accept_new_code,
        workers=workers,
        progress=progress,
        **settings,
    )
    return run_of_study(project, result)


def load_run(reference: str = "latest") -> Run:
    """Find a run of the project of the working directory; see `Project.run`."""
    return open_project().run(reference)
