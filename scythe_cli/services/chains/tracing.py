"""The whole way of a row: from which rows of which runs its inputs came, and theirs, as the runs' folders tell."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from scythe_cli.analysis.run import Run
from scythe_cli.core.records import Record
from scythe_cli.errors import StorageError
from scythe_cli.run.chain.lineage import read_lineage
from scythe_cli.run.chain.records import UpstreamRecord
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RunManifest

__all__ = ["OriginStep", "trace"]


_LONGEST = 50


class OriginStep(Record):
    """A run from whose rows inputs were made: of the row in question, or of the step before it that is less deep."""

    depth: int = Field(description="0: the inputs of the row itself; 1: those of the rows of the step before; …")
    experiment_id: str
    rows: list[int] = Field(description="their sort_index in this run")
    map: dict[str, str] = Field(default={}, description="by input: the input or output of this run that it was")
    group_by: list[str] = Field(default=[])
    problem: str | None = Field(default=None, description="why the way cannot be followed further, if it cannot")


def trace(run: Run, rows: Sequence[int]) -> list[OriginStep]:
    """Follow rows of a run back to where no run comes before.

    Args:
        run: The run.
        rows: The rows.

    Returns:
        The steps in the order of a tree that is read from above; none where the run was made from no other.

    Raises:
        StorageError: If it cannot be read where the inputs of these rows came from.
    """
    steps: list[OriginStep] = []
    _follow(run, rows, (run.experiment_id,), steps)
    return steps


def _follow(run: Run, rows: Sequence[int], way: tuple[str, ...], steps: list[OriginStep]) -> None:
    for name, own in read_lineage(run.storage, run.layout, rows).items():
        record = next((each for each in _records(run.manifest) if each.run == name), None)
        step = OriginStep(
            depth=len(way) - 1,
            experiment_id=name,
            rows=own,
            map=record.map if record else {},
            group_by=record.group_by if record else [],
        )
        steps.append(step)
        layout = RunLayout.from_experiment_id(name)
        problem: str | None = None
        try:
            if layout is None or not run.storage.exists(layout.manifest):
                problem = "it is no longer there"
            elif name in way or len(way) > _LONGEST:
                problem = "it is on the way to itself"
            else:
                _follow(Run(run.storage, layout), own, (*way, name), steps)
        except StorageError as error:
            problem = error.message
        if problem is not None:
            steps[steps.index(step)] = step.model_copy(update={"problem": problem})


def _records(manifest: RunManifest | None) -> list[UpstreamRecord]:
    if manifest is None:
        return []
    every = [manifest.upstream, *(extension.upstream for extension in manifest.extensions or [])]
    return [record for record in every if record is not None]
