"""What an allocation came to: where the tables are, and the output of a single spec."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scythe_cli.compat.faults import SpecNotSucceededError
from scythe_cli.core.distribution import needs_extra
from scythe_cli.model.columns import output_columns, output_files
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.file_refs import S3Url, StoredUri
from scythe_cli.model.models import ExperimentOutputSpec
from scythe_cli.model.workflows.running import TASK_OUTPUTS
from scythe_cli.services.records import AllocateResult

if TYPE_CHECKING:
    import pandas as pd

    from scythe_cli.analysis.run import Run

__all__ = ["BatchResult", "GatheredExperimentRuns", "RunRef", "ScatterGatherResult", "located", "output_of"]


_NO_RESULTS = ("errors", "warnings")


def located(uri: str) -> StoredUri:
    """Where something is, as a URL or a path."""
    return S3Url(uri) if uri.startswith("s3://") else Path(uri)


class GatheredExperimentRuns(BaseModel):
    """The tables of a run, read.

    Attributes:
        success: The tables by name.
        errors: What did not succeed; None where nothing tells.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    success: ExperimentOutputSpec
    errors: Any = None


class ScatterGatherResult(BaseModel):
    """Where the tables of a run are.

    Attributes:
        uris: By name: URLs of S3, or paths where runs are kept in a folder.
    """

    uris: dict[str, StoredUri] = Field(default_factory=dict)

    def to_gathered_experiment_runs(self) -> GatheredExperimentRuns:
        """Read all of them, with pandas."""
        return GatheredExperimentRuns(success=ExperimentOutputSpec(dataframes=self.dataframes))

    @property
    def dataframes(self) -> dict[str, pd.DataFrame]:
        """The tables by name, read with pandas."""
        with needs_extra("pandas", "a table of pandas"):
            import pandas as pd

        return {name: pd.read_parquet(str(uri)) for name, uri in self.uris.items()}


class BatchResult(AllocateResult, ScatterGatherResult):
    """What a run of many specs did, and where its tables are."""

    @classmethod
    def of(cls, result: AllocateResult) -> BatchResult:
        """The same result, with where the tables are."""
        uris = {name: located(uri) for name, uri in result.tables.items() if name not in _NO_RESULTS}
        fields: dict[str, Any] = {name: getattr(result, name) for name in AllocateResult.model_fields}
        return cls(**fields, uris=uris)


class _Waits(Protocol):
    def __call__(self, timeout_s: float | None = None) -> AllocateResult: ...


class RunRef:
    """A reference to the execution of a run; the local engine has finished it when it is returned.

    Attributes:
        workflow_run_id: The id of the execution.
    """

    def __init__(
        self, workflow_run_id: str, wait: _Waits, finish: Callable[[AllocateResult], Any] = BatchResult.of
    ) -> None:
        self.workflow_run_id = workflow_run_id
        self._wait = wait
        self._finish = finish

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the end, and tell what came of it.

        Returns:
            Of many specs a `BatchResult`: counts, what went wrong, and `uris`. Of a single spec the function's own
            output, with its tables. Of a workflow what its tasks returned, by name.

        Raises:
            SpecNotSucceededError: If a single spec did not succeed.
            WaitTimeoutError: If the run is not done in time; it goes on.
            EngineError: If the engine cannot be reached for minutes.
        """
        return self._finish(self.details(timeout_s))

    async def aio_result(self) -> Any:
        """The same, to await."""
        return await asyncio.to_thread(self.result)

    def details(self, timeout_s: float | None = None) -> AllocateResult:
        """Wait for the end; counts, tables, and what went wrong, also of a single spec."""
        return self._wait(timeout_s)


def output_of(run: Run, experiment: RegisteredExperiment[Any, Any]) -> Any:
    """The output of the only spec of a run, as the function made it; its files are where they were put.

    Its tables come as pandas reads them from the run, among them `scalars` and `result_file_refs`, as in scythe-engine.

    Raises:
        SpecNotSucceededError: If it did not succeed.
    """
    failed = run.errors(limit=1).errors
    if failed:
        what = f"{failed[0].error_type}: {failed[0].message}" if failed[0].error_type else failed[0].state.value
        raise SpecNotSucceededError(
            f"{run.experiment_id}: {what}", hint=f"`scythe errors {run.experiment_id}` shows it."
        )
    files = _cells(run, "result_file_refs") if "result_file_refs" in run.table_keys() else {}
    model: type[ExperimentOutputSpec] = experiment.output_validator_type
    cells = _cells(run, "scalars")
    if cells.get(TASK_OUTPUTS) is not None and TASK_OUTPUTS in model.model_fields:
        return json.loads(cells[TASK_OUTPUTS])
    values: dict[str, Any] = {}
    for column in output_columns(model):
        cell = cells.get(column.name, cells.get(f"output_{column.name}"))
        if column.name in model.model_fields:
            values[column.name] = cell if cell is None or column.decode is None else column.decode(cell)
    values |= {
        column.name: None if (uri := files.get(column.name)) is None else located(str(uri))
        for column in output_files(model)
    }
    values["dataframes"] = {name: run.to_pandas(name, ids=True) for name in run.table_keys() if name not in _NO_RESULTS}
    try:
        return model.model_validate(values, strict=False, by_alias=True, by_name=True)
    except ValidationError:
        return model.model_construct(**values)


def _cells(run: Run, table: str) -> Mapping[str, Any]:
    import pyarrow.parquet as pq

    from scythe_cli.analysis.results.tables import local_copy

    rows = pq.read_table(local_copy(run.storage, run.table_key(table))).to_pylist()
    return cast("Mapping[str, Any]", rows[0]) if rows else {}
