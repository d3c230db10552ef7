"""Run a Python function over a table of cases, on this machine or a fleet, and get one tidy Parquet table back.

```python
import scythe_cli

result = scythe_cli.allocate("cases.csv")
run = scythe_cli.load_run("latest")
run.scalars()  # a Polars frame
```
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from scythe_cli.analysis.run import Run
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.doe.settings import SampleOptionsDict
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.run.design_record import DesignName, SampleResult
    from scythe_cli.services.allocation.options import AllocateOptionsDict
    from scythe_cli.services.project import Project
    from scythe_cli.services.records import AllocateResult

    __version__: str

__all__ = ["__version__", "allocate", "load_run", "open_project", "sample"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        # reading the metadata of the installed package takes longer than all else here
        from scythe_cli.core.distribution import installed_version

        return installed_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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


def allocate(
    file: str | Path,
    *,
    progress: ProgressCallback | None = None,
    stop: StopSignal | None = None,
    **options: Unpack[AllocateOptionsDict],
) -> AllocateResult:
    """Run every case of a sampling file; see `Project.allocate`."""
    return open_project().allocate(Path(file), progress=progress, stop=stop, **options)


def sample(
    out: str | Path,
    experiment: str | None = None,
    *,
    design: DesignName = "lhs",
    n: int | None = None,
    seed: int | None = None,
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
        overwrite=overwrite,
        drop_refused=drop_refused,
        **options,
    )


def load_run(reference: str = "latest") -> Run:
    """Find a run of the project of the working directory; see `Project.run`."""
    return open_project().run(reference)
