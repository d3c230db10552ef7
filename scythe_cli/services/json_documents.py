"""What each command prints with `--json`, and the JSON schemas of these documents.

The schemas in `docs/schemas/` are written from here by `scripts/make_schemas.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from scythe_cli.analysis.records import (
    CasesSummary,
    DiffResult,
    FetchedFile,
    PackResult,
    PlotResult,
    QueryResult,
    ReportResult,
    TableRecord,
    TableSummary,
)
from scythe_cli.core.records import FleetWorker
from scythe_cli.model.describe import ExperimentRecord
from scythe_cli.run.catalog import VersionRecord
from scythe_cli.run.design_record import SampleResult
from scythe_cli.run.records import (
    RunErrors,
    RunRecord,
    RunStatus,
    SpecError,
)
from scythe_cli.services.allocation.plan import AllocationPlan
from scythe_cli.services.packing.reproduce import ReproduceResult
from scythe_cli.services.packing.unpack import UnpackResult
from scythe_cli.services.records import (
    AllocateResult,
    CancelResult,
    DoctorCheck,
    ErrorDocument,
    ProgramVersion,
    SubmitResult,
    ValidationReport,
    WorkerStart,
)
from scythe_cli.services.reuse.explanation import Explanation
from scythe_cli.services.runs.history import SpecHistory
from scythe_cli.services.runs.prune import PruneResult
from scythe_cli.services.runs.verify import VerifyResult
from scythe_cli.services.scaffold import ScaffoldResult
from scythe_cli.services.study.records import StudyListing, StudyPlan, StudyResult

__all__ = ["DOCUMENTS", "Document", "schema_of"]


_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Document:
    """One kind of document.

    Attributes:
        schema: The name of its schema's file, without the ending.
        command: What prints it.
        type: The record, or the list of records.
        lines: Whether one is printed on each line, and not a single one.
    """

    schema: str
    command: str
    type: Any
    lines: bool = False


DOCUMENTS = [
    Document("init", "scythe init", ScaffoldResult),
    Document("experiments", "scythe experiments", list[ExperimentRecord]),
    Document("experiment", "scythe experiments NAME", ExperimentRecord),
    Document("sample", "scythe sample", SampleResult),
    Document("doctor", "scythe doctor", list[DoctorCheck]),
    Document("validate", "scythe validate FILE", ValidationReport),
    Document("allocate", "scythe allocate FILE", AllocateResult),
    Document("submit", "scythe allocate FILE --engine hatchet --no-wait", SubmitResult),
    Document("plan", "scythe allocate FILE --plan", AllocationPlan),
    Document("study", "scythe study NAME", StudyResult),
    Document("study-plan", "scythe study NAME --plan", StudyPlan),
    Document("studies", "scythe study", list[StudyListing]),
    Document("allocate", "scythe retry", AllocateResult),
    Document("rerun", "scythe rerun --row N", dict[str, Any]),
    Document("verify", "scythe verify", VerifyResult),
    Document("cancel", "scythe cancel", CancelResult),
    Document("prune", "scythe prune", PruneResult),
    Document("worker", "scythe worker", WorkerStart),
    Document("workers", "scythe workers", list[FleetWorker]),
    Document("status", "scythe status", RunStatus),
    Document("status", "scythe status --watch", RunStatus, lines=True),
    Document("errors", "scythe errors", RunErrors),
    Document("spec-error", "scythe errors --row N", SpecError),
    Document("logs", "scythe logs --row N", SpecHistory),
    Document("runs", "scythe runs", list[RunRecord]),
    Document("versions", "scythe versions", list[VersionRecord]),
    Document("explain", "scythe explain RUN --row N", Explanation),
    Document("results-ls", "scythe results ls", list[TableRecord]),
    Document("results-show", "scythe results show", TableSummary),
    Document("results-by-case", "scythe results show --by-case", CasesSummary),
    Document("files", "scythe results fetch", list[FetchedFile]),
    Document("results-query", "scythe results query SQL", QueryResult),
    Document("files", "scythe results query SQL -o FILE", list[FetchedFile]),
    Document("files", "scythe results export -o FILE", list[FetchedFile]),
    Document("results-diff", "scythe results diff A B", DiffResult),
    Document("results-plot", "scythe results plot", PlotResult),
    Document("results-pack", "scythe results pack -o FILE", PackResult),
    Document("results-unpack", "scythe results unpack FILE", UnpackResult),
    Document("reproduce", "scythe reproduce FILE", ReproduceResult),
    Document("report", "scythe report", ReportResult),
    Document("version", "scythe --version", ProgramVersion),
    Document("error", "any command that ends with an error", ErrorDocument),
]


def schema_of(document: Document) -> dict[str, Any]:
    """The JSON schema of a document, as it is printed."""
    schema = TypeAdapter[Any](document.type).json_schema(mode="serialization")
    if document.schema == "rerun":
        schema |= {"title": "RerunOutput", "description": "The fields of the experiment's output; tables as text."}
    return {"$schema": _DIALECT, **schema}
