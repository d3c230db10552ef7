"""Waiting for runs by the id of their execution, and combining outputs of specs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field

from scythe_cli.compat.allocating import known_refs
from scythe_cli.compat.frames import transpose_dataframe_dict
from scythe_cli.compat.outcome import ScatterGatherResult, located
from scythe_cli.core.distribution import needs_extra
from scythe_cli.core.recursion import RecursionMap
from scythe_cli.errors import NotFoundError
from scythe_cli.model.file_refs import S3Url
from scythe_cli.model.models import BaseSpec, ExperimentOutputSpec
from scythe_cli.model.settings import ScytheStorageSettings

if TYPE_CHECKING:
    import pandas as pd

    from scythe_cli.analysis.run import Run

__all__ = [
    "ResultDataContent",
    "ScatterGatherInput",
    "ZipDataContent",
    "combine_experiment_outputs",
    "scatter_gather",
    "sift_results",
]


ZipDataContent = TypeVar("ZipDataContent", bound=BaseModel)
ResultDataContent = TypeVar("ResultDataContent")

_POLL_S = 2.0
_NO_RESULTS = ("errors", "warnings")


class ScatterGatherInput(BaseSpec):
    """What the root of scatter/gather gets in scythe-engine; here, a run's folder says all of it."""

    task_name: str = Field(description="The name of the experiment.")
    specs_uri: S3Url = Field(description="Where the specs are.")
    storage_settings: ScytheStorageSettings = Field(default_factory=ScytheStorageSettings)
    recursion_map: RecursionMap
    save_errors: bool = False


class _ScatterGather:
    """What runs the specs of a run, asked by the id of the execution, as `ref.workflow_run_id` has it."""

    name = "scythe_scatter_gather"

    def get_result(self, workflow_run_id: str) -> ScatterGatherResult:
        """Wait for a run, and tell where its tables are.

        Args:
            workflow_run_id: The id of its execution: of one that this process has allocated, or that is in the storage
                of the project.

        Raises:
            NotFoundError: If there is no such run.
        """
        ref = known_refs.get(workflow_run_id)
        if ref is not None:
            result = ref.details()
            tables = result.tables
        else:
            run = _run_of(workflow_run_id)
            while not run.status().gathered:
                time.sleep(_POLL_S)
            tables = {name: run.table_path(name) for name in run.table_keys()}
        return ScatterGatherResult(uris={name: located(uri) for name, uri in tables.items() if name not in _NO_RESULTS})

    async def aio_get_result(self, workflow_run_id: str) -> ScatterGatherResult:
        """The same, to await."""
        return await asyncio.to_thread(self.get_result, workflow_run_id)

    def __repr__(self) -> str:
        return f"<{self.name}>"


scatter_gather = _ScatterGather()
"""Asked for the result of a run by the id of its execution."""


def _run_of(workflow_run_id: str) -> Run:
    from scythe_cli.services.project import open_project

    project = open_project()
    for record in project.runs():
        run = project.run(record.experiment_id)
        if run.manifest is not None and run.manifest.workflow_run_id == workflow_run_id:
            return run
    raise NotFoundError(f"no run in {project.storage.location} has the execution {workflow_run_id}")


def combine_experiment_outputs(experiment_outputs: Sequence[ExperimentOutputSpec]) -> ExperimentOutputSpec:
    """The tables of several outputs, stacked by name."""
    return ExperimentOutputSpec(
        dataframes=transpose_dataframe_dict([output.dataframes for output in experiment_outputs])
    )


def sift_results(
    spec_data: Sequence[ZipDataContent],
    results: Sequence[ResultDataContent | BaseException],
    make_error_specs: bool = False,
) -> tuple[list[ResultDataContent], pd.DataFrame | None]:
    """Part results from errors.

    Args:
        spec_data: The specs.
        results: For each the result, or what was raised.
        make_error_specs: Whether a table of the errors is made.

    Returns:
        The results, and the table, whose index holds the specs; None for none.
    """
    with needs_extra("pandas", "a table of pandas"):
        import pandas as pd

    good = [result for result in results if not isinstance(result, BaseException)]
    bad = [(spec, error) for spec, error in zip(spec_data, results, strict=True) if isinstance(error, BaseException)]
    if not bad or not make_error_specs:
        return good, None
    fields = pd.DataFrame([_plain(spec.model_dump(mode="json", exclude={"storage_settings"})) for spec, _ in bad])
    said = {"missing": False, "msg": [str(error) for _, error in bad]}
    return good, pd.DataFrame(said, index=pd.MultiIndex.from_frame(fields))


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not isinstance(value, (dict, list))}
