"""Where the cases of a run come from, if that is another run: for the manifest, and for who allocates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from scythe_cli.run.chain.files import StoredFile

__all__ = ["Upstream", "UpstreamRecord"]


class UpstreamRecord(BaseModel):
    """The run that cases were made from, and how: what the manifest keeps."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str = Field(description="its experiment_id")
    workflow_run_id: str = ""
    specs_sha256: str | None = Field(default=None, description="what its cases said at that moment")
    map: dict[str, str] = Field(
        default={}, description="by input: the input or output of the run that it was, with `:mean` of what was reduced"
    )
    group_by: list[str] = []
    rows: Annotated[int, Field(ge=0)] = Field(
        default=0, description="how many of its rows had succeeded, and were used"
    )
    not_succeeded: dict[str, int] = Field(default={}, description="its rows that were not, by state")


@dataclass(frozen=True, slots=True)
class Upstream:
    """The run that cases were made from.

    Attributes:
        record: How.
        rows: For each case the rows of the run, their `sort_index`: a list array of int64.
        files: The files of the run that cases refer to, by reference.
    """

    record: UpstreamRecord
    rows: Any
    files: Mapping[str, StoredFile]

    def taken(self, cases: Any) -> Upstream:
        """The same for some of the cases, by their positions, int64."""
        import pyarrow as pa  # what only reads manifests does not need it

        from scythe_cli.arrow.build import numbers

        return replace(self, rows=self.rows.take(numbers(cases, pa.int64())))
