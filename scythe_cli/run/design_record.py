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
    "PopulationRecord",
    "SampleQuality",
    "SampleResult",
    "Stratum",
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
    probabilities: list[float] | None = Field(default=None, description="of the values, where they are not alike")

    def as_drawn(self) -> dict[str, Any]:
        """What says how its values are drawn, and was recorded always."""
        return self.model_dump(mode="json", exclude={"ends", "values"})


class Stratum(BaseModel):
    """Rows of a population that have the same values in the columns of `--by`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="the values, with ` / ` between them")
    rows: int = Field(description="how many rows of it can be drawn: with a weight above 0, and meeting conditions")
    drawn: int = Field(description="how many rows of the sampling file are of it")


class PopulationRecord(BaseModel):
    """Where rows come from that were drawn whole."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str = Field(description="as it was given, from the working directory")
    file_sha256: str | None = Field(default=None, description="None for a file of another machine")
    rows: int = Field(description="of the file")
    fields: list[str] = Field(description="the columns that it gives")
    by: list[str] = Field(default=[], description="the columns that tell the strata")
    weights: str | None = Field(default=None, description="the column of the weights")
    per_stratum: bool = Field(default=False, description="whether the number of rows is that of each stratum")
    replaced: bool = Field(default=False, description="whether a row can be drawn several times")
    ignored: list[str] = Field(default=[], description="columns that were left out")
    strata: list[Stratum] = Field(default=[], description="at most the first 1,000")


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
    replicates: int = Field(default=1, description="how often the file has each case; included in `rows`")
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
    where: list[str] = Field(default=[], description="conditions that every row meets, as Polars SQL expressions")
    tried: int | None = Field(
        default=None,
        description=(
            "with conditions: of a random design, how many of its points there are up to the last row of this file; "
            "of another one, how many rows it has without them"
        ),
    )
    correlation: dict[str, float] = Field(default={}, description="rank correlations that were asked for, by `a,b`")
    population: PopulationRecord | None = Field(
        default=None, description="the table from which rows were drawn; `fields` are those that the design varies"
    )
    dropped: int = Field(default=0, description="rows that the model refused and that were left out")
    versions: dict[str, str] = Field(default={}, description="the programs that drew it")
    created_at: datetime | None = None
    file_sha256: str | None = Field(default=None, description="of the CSV file; changed since if it is another")

    def is_of(self, whole: DesignRecord) -> bool:
        """Whether this is a part of the same design as another record."""
        return self._identity() == whole._identity()

    def _identity(self) -> tuple[Any, ...]:
        """What the parts of a design have in common."""
        of = self.population
        population = None if of is None else of.model_dump(exclude={"file", "strata"})
        return (
            self.design,
            self.seed,
            [field.as_drawn() for field in self.fields],
            self.where,
            population,
            self.correlation,
        )

    @property
    def cases(self) -> int:
        """How many cases there are, which are rows without their replicates."""
        return self.rows // self.replicates

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
    rank_correlation: dict[str, float] = Field(
        default={}, description="of the pairs of fields that were to have one, Spearman's, by `a,b`"
    )


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
