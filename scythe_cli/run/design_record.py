"""How a sampling file was made: the record that is kept with the file, and in the manifest of a run.

A Parquet file has it as JSON in its key-value metadata, under `scythe:design`. A CSV file stays plain, and has it in a
YAML file beside it, `<file>.design.yml`, with the hash of the CSV that it describes. `sampling.reading` reads it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scythe_cli.core.records import Record

__all__ = [
    "DESIGN_KEY",
    "DesignField",
    "DesignName",
    "DesignRecord",
    "Distribution",
    "SampleQuality",
    "SampleResult",
    "StudyRecord",
    "sidecar_of",
]


DESIGN_KEY = b"scythe:design"
"""Key in the metadata of a Parquet sampling file; its value is a `DesignRecord` as JSON."""

DesignName = Literal["lhs", "sobol", "halton", "random", "grid", "oat", "zip", "saltelli"]

Distribution = Literal["uniform", "log", "normal", "triangular", "values"]


class DesignField(BaseModel):
    """A field that varies in a design.

    Dates and times are written as ISO 8601 text.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="dotted for nested models")
    distribution: Distribution
    low: Any = Field(default=None, description="the least value; None where there is none")
    high: Any = Field(default=None, description="the greatest value")
    low_excluded: bool = False
    high_excluded: bool = False
    step: Any = Field(default=None, description="what values are multiples of")
    mean: float | None = Field(default=None, description="of a normal distribution, before it is cut to the bounds")
    sd: float | None = Field(default=None, description="standard deviation, likewise")
    mode: float | None = Field(default=None, description="the peak of a triangular distribution")
    ends: list[float] | None = Field(default=None, description="of a triangular distribution, likewise")
    values: list[Any] | None = Field(default=None, description="the values or levels in use, at most the first 1,000")
    n_values: int | None = Field(default=None, description="how many values or levels")

    def as_drawn(self) -> dict[str, Any]:
        """What says how its values are drawn, and was recorded always."""
        return self.model_dump(mode="json", exclude={"ends", "values"})


class DesignRecord(BaseModel):
    """How a sampling file was made: enough to make it again with the same model and versions."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    design: DesignName
    n: int | None = Field(default=None, description="what was asked for: rows, or base points of `saltelli`")
    seed: int | None = Field(default=None, description="None for designs that are not random")
    before: list[int] = Field(
        default=[],
        description=(
            "of a design that was continued: how many points, or base points, each part of it has that comes before "
            "this file"
        ),
    )
    rows: int
    experiment: str | None = None
    fields: list[DesignField] = Field(default=[], description="what varies, in the order of the columns")
    fixed: dict[str, Any] = {}
    defaults: list[str] = Field(default=[], description="fields that are no column, so that they keep their default")
    blocks: dict[str, int] = Field(
        default={},
        description=(
            "rows that belong together, in their order, and how many they are; `saltelli`: A, B, then AB:<field> for "
            "each field; `oat`: base, then each field"
        ),
    )
    dropped: int = Field(default=0, description="rows that the model refused and that were left out")
    versions: dict[str, str] = Field(default={}, description="the programs that drew it")
    created_at: datetime | None = None
    file_sha256: str | None = Field(default=None, description="of the CSV file; changed since if it is another")

    def is_of(self, whole: DesignRecord) -> bool:
        """Whether this is a part of the same design as another record."""
        own = (self.design, self.seed, [field.as_drawn() for field in self.fields])
        return own == (whole.design, whole.seed, [field.as_drawn() for field in whole.fields])

    def to_json(self) -> bytes:
        """The record for the metadata of a Parquet file."""
        return self.model_dump_json(exclude_defaults=True).encode()


class StudyRecord(BaseModel):
    """Which study chose cases, and how: with it, a study that was killed asks for what it would have asked for."""

    model_config = ConfigDict(extra="ignore")

    name: str
    round: int = Field(ge=0, description="0 for the first cases, which no model has chosen")
    asked: int = Field(ge=0, description="how many cases were asked for; those that the run had already are not added")
    suggest: str = Field(description="what chose them")
    seed: int = 0
    settings: dict[str, Any] = Field(default={}, description="of the first round: what the study was begun with")


class SampleQuality(Record):
    """How evenly a design fills the space of its fields; None where that says nothing of the design."""

    discrepancy: float | None = Field(default=None, description="squared centered L2 discrepancy in the unit cube")
    discrepancy_of_random: float | None = Field(
        default=None, description="what as many independent random points have on average"
    )
    discrepancy_rows: int | None = Field(
        default=None, description="of how many of the rows it is; of large designs, not of all"
    )
    max_correlation: float | None = Field(default=None, description="the largest of two fields by its size, with sign")
    max_correlation_fields: list[str] | None = None


class SampleResult(Record):
    """A sampling file that was made."""

    file: str
    design_file: str | None = Field(description="where a CSV file's design is kept; None where the file itself has it")
    experiment: str
    continues: str | None = Field(default=None, description="of `--continue`: the run that the cases can be added to")
    n_specs: int
    columns: list[str]
    design: DesignRecord
    quality: SampleQuality
    notices: list[str] = Field(default=[])


def sidecar_of(path: Path) -> Path:
    """Where the record of a CSV file is kept."""
    return path.with_name(f"{path.name}.design.yml")
