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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.run.design_record import SampleResult
    from scythe_cli.services.project import Project
    from scythe_cli.services.records import AllocateResult

    __version__: str

__all__ = ["__version__", "allocate", "load_run", "open_project", "sample"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        # reading the metadata of the installed package takes longer than all else here
        from importlib.metadata import version

        return version("scythe-cli")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_project(config: str | Path | None = None, **options: Any) -> Project:
    """Open the project of the working directory."""
    from scythe_cli.services.project import open_project as _open

    return _open(None if config is None else Path(config), **options)


def allocate(file: str | Path, **options: Any) -> AllocateResult:
    """Run every case of a sampling file; see `Project.allocate`."""
    return open_project().allocate(Path(file), **options)


def sample(out: str | Path, experiment: str | None = None, **options: Any) -> SampleResult:
    """Make a sampling file from the bounds of an experiment's inputs; see `Project.sample`."""
    return open_project().sample(out, experiment, **options)


def load_run(reference: str = "latest") -> Run:
    """Find a run of the project of the working directory; see `Project.run`."""
    return open_project().run(reference)
