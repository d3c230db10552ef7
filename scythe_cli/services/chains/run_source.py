"""Cases that are made from the rows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scythe_cli.analysis.run import Run
from scythe_cli.model.columns import file_columns
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.chain.files import StoredFile
from scythe_cli.run.chain.records import Upstream, UpstreamRecord
from scythe_cli.sampling.reading import SamplingTable, read_sampling_file
from scythe_cli.services.chains.grouping import grouped
from scythe_cli.services.chains.offer import Offer
from scythe_cli.services.chains.rules import ChainRules
from scythe_cli.services.chains.selecting import Selection, everything, select
from scythe_cli.services.chains.upstream import RunRows, read_rows

if TYPE_CHECKING:
    from scythe_cli.sampling.file_columns import RawFile
    from scythe_cli.sampling.reading import Helpers

__all__ = ["RunSource"]


@dataclass(frozen=True)
class RunSource:
    """A run, whose rows become cases.

    Attributes:
        run: The run.
        rules: How.
        ignored: Inputs that keep their default, by name or pattern.
    """

    run: Run
    rules: ChainRules
    ignored: Sequence[str] = ()

    @property
    def shown(self) -> str:
        """Its experiment id."""
        return self.run.experiment_id

    @property
    def is_large(self) -> bool:
        """Reading it leaves Python busy."""
        return False

    def raw(self) -> RawFile:
        """All that has a name of its own."""
        return everything(self._offer, self.rules.map).raw(self._offer)

    @cached_property
    def _rows(self) -> RunRows:
        return read_rows(self.run, unfinished=self.rules.partial)

    @cached_property
    def _offer(self) -> Offer:
        rows, rules = self._rows, self.rules
        aggregates = rules.aggregates()
        if not rules.group_by and not aggregates:
            return rows.offer
        return grouped(self.run, rows.offer, rows.sort_index, rules.group_by, aggregates)

    def table(self, model: type[ExperimentInputSpec], experiment: str, helpers: Helpers | None = None) -> SamplingTable:
        """Its rows, or groups of them, as cases."""
        offer = self._offer
        selection = select(offer, model, self.rules.map, self.ignored, experiment)
        raw = selection.raw(offer)
        table = read_sampling_file(offer.run, model, experiment=experiment, helpers=helpers, raw=raw)
        notices = [self._told(table.inputs.num_rows), *self._rows.notices(), *_unused(selection, experiment)]
        notices += table.notices
        upstream = Upstream(self._record(selection), offer.rows, _files_of(selection, model))
        return replace(table, source=offer.run, notices=notices, is_local=False, upstream=upstream)

    def _told(self, n: int) -> str:
        n_rows = len(self._rows.sort_index)
        cases = "1 case" if n == 1 else f"{n:,} cases"
        groups = f", of {n_rows:,} rows" if self.rules.group_by or self.rules.aggregates() else ""
        return f"{cases} from {self.run.experiment_id}{groups}"

    def _record(self, selection: Selection) -> UpstreamRecord:
        manifest = self._rows.manifest
        return UpstreamRecord(
            run=self.run.experiment_id,
            workflow_run_id=manifest.workflow_run_id,
            specs_sha256=manifest.specs_sha256,
            map=selection.references,
            group_by=list(self.rules.group_by),
            rows=len(self._rows.sort_index),
            not_succeeded=self._rows.not_succeeded,
        )


def _unused(selection: Selection, experiment: str) -> list[str]:
    names = list(dict.fromkeys(selection.unused))
    return [f"not used, since {experiment} has no such input: {', '.join(names)}"] if names else []


def _files_of(selection: Selection, model: type[ExperimentInputSpec]) -> dict[str, StoredFile]:
    """The files of the run that inputs refer to."""
    fields = {column.name for column in file_columns(model)}
    found: dict[str, StoredFile] = {}
    for name, column in selection.columns.items():
        if column.files is not None and name in fields:
            cells: Any = column.cells
            found |= column.files([uri for uri in cells.unique().to_pylist() if uri is not None])
    return found
