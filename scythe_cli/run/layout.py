"""Every key of a run: the only place that builds them.

`<experiment>/<version>/<timestamp>/…` below the storage's location; the file names are a contract that readers in
other programs rely on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scythe_cli.core.semver import SemVer


__all__ = [
    "FORMAT_KEY",
    "LEASE_NAME",
    "RUN_FOLDERS",
    "RUN_FORMAT",
    "TIMESTAMP_FORMAT",
    "RunLayout",
    "check_format",
    "parse_timestamp",
    "version_claim_key",
]


RUN_FOLDERS = frozenset(
    {"artifacts", "files", "final", "hatchet", "outcomes", "results", "scatter-gather", "slurm", "study"}
)
"""The folders of a run, and of one that scythe-engine made; others may hold runs that it has allocated."""

LEASE_NAME = ".lease"
"""The object in the folder of a run that says who is at work on it."""

TIMESTAMP_FORMAT = "%Y-%m-%d_%H-%M-%S"
_TIMESTAMP = re.compile(r"(\d{4})-(\d{2})-(\d{2})_(\d{2})-(\d{2})-(\d{2})", re.ASCII)


RUN_FORMAT = 1
"""The format of what is written into a run's folder, and the highest that is read; see docs/formats.md.

It goes up when an older program would read something wrong, and not when there is only more. What has none is of
version 0.1, or of scythe-engine.
"""

FORMAT_KEY = b"scythe:format"
"""Key of the format in the metadata of `specs.pq` and of the ledger's parts."""


def check_format(found: object, place: str) -> None:
    """Refuse what a newer program has written.

    Args:
        found: The format, as a manifest or the metadata of a file has it; None where there is none.
        place: What it is, for people.

    Raises:
        StorageError: If it is newer than what can be read.
    """
    number = int(found) if isinstance(found, int) or (isinstance(found, bytes) and found.isdigit()) else 0
    if number > RUN_FORMAT:
        from scythe_cli.errors import StorageError

        raise StorageError(
            f"{place} is of format {number}; this version of scythe reads up to {RUN_FORMAT}",
            hint="Install a newer version: `pip install --upgrade scythe-experiments`.",
        )


def parse_timestamp(text: str) -> datetime | None:
    """Read the timestamp of a run (UTC); None for anything else."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        # as `strptime` does with TIMESTAMP_FORMAT, which takes ten times longer
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _leads_out(name: str) -> bool:
    return name in ("", ".", "..") or "\\" in name


def version_claim_key(experiment: str, version: SemVer) -> str:
    """The object that an allocation holds, for a moment, while it makes the first run of a version."""
    return f"{experiment}/.{version}.claim"


@dataclass(frozen=True, slots=True, order=True)
class RunLayout:
    """The keys of one run.

    Attributes:
        experiment: The experiment's folder; one that is below others has `/` in its name.
        version: The version.
        timestamp: When the run was allocated, whole seconds, UTC.
    """

    experiment: str
    version: SemVer
    timestamp: datetime

    @classmethod
    def from_experiment_id(cls, experiment_id: str) -> RunLayout | None:
        """Read `<experiment>/<version>/<timestamp>`; None for anything else."""
        from scythe_cli.core.semver import SemVer

        *names, last_but_one, last = ["", *experiment_id.split("/")]
        version, timestamp = SemVer.parse(last_but_one), parse_timestamp(last)
        # a name that an older program gave may hold other characters, but must not lead out of the storage
        if version is None or timestamp is None or len(names) < 2 or any(_leads_out(name) for name in names[1:]):
            return None
        return cls("/".join(names[1:]), version, timestamp)

    @property
    def experiment_id(self) -> str:
        """`<experiment>/<version>/<timestamp>`; also the run's folder below the storage."""
        # %Y gives the year 999 three digits on some systems
        timestamp = self.timestamp.strftime(TIMESTAMP_FORMAT.replace("%Y", f"{self.timestamp.year:04d}"))
        return f"{self.experiment}/{self.version}/{timestamp}"

    def order(self) -> tuple[datetime, SemVer]:
        """What sorts runs by when they were allocated; of two in one second, the later one has the higher version."""
        return self.timestamp, self.version

    def key(self, *parts: str) -> str:
        """A key in the run's folder."""
        return "/".join((self.experiment_id, *parts))

    @property
    def specs(self) -> str:
        """Every spec, one row each."""
        return self.key("specs.pq")

    @property
    def manifest(self) -> str:
        """What the run is; its exclusive creation is the claim of the folder."""
        return self.key("manifest.yml")

    @property
    def io_spec(self) -> str:
        """JSON schemas of input and output."""
        return self.key("experiment_io_spec.yml")

    @property
    def input_artifacts(self) -> str:
        """The list of uploaded input files."""
        return self.key("input_artifacts.yml")

    @property
    def workflow_spec(self) -> str:
        """The spec of a single-spec run."""
        return self.key("workflow_spec.yml")

    @property
    def artifacts(self) -> str:
        """The folder of uploaded input files."""
        return self.key("artifacts")

    @property
    def duplicates(self) -> str:
        """Which specs are the same as another one and are not run themselves; only where that was asked for."""
        return self.key("duplicates.pq")

    @property
    def upstream(self) -> str:
        """From which rows of which run each case was made; only where cases were made from a run."""
        return self.key("upstream.pq")

    @property
    def verification(self) -> str:
        """When some of the run's rows were run again, and whether they gave the same; only where that was done."""
        return self.key("verification.yml")

    @property
    def outcomes(self) -> str:
        """The folder of the ledger's parts."""
        return self.key("outcomes")

    @property
    def writers(self) -> str:
        """Who writes numbered parts, where a list of them may lag behind; see `outcomes.part_list`."""
        return self.key("outcomes", "writers.json")

    def outcome_part(self, name: str) -> str:
        """One part of the ledger."""
        return self.key("outcomes", f"{name}.pq")

    def result_file(self, field: str, stem: str, suffix: str) -> str:
        """An output file of one spec."""
        return self.key("results", field, f"{stem}{suffix}")

    def files_of(self, sort_index: int) -> str:
        """The folder of what a spec has written into its working directory, where that is kept."""
        return self.key("files", f"{sort_index:08d}")

    def hatchet(self, name: str) -> str:
        """What nodes of scatter/gather have written down of their plans."""
        return self.key("hatchet", name)

    def slurm(self, name: str) -> str:
        """A file of the jobs that Slurm runs for it: which rows they have, what they said, and how they ended."""
        return self.key("slurm", name)

    def study(self, name: str) -> str:
        """What a study has learned from the cases of the run: `history.json`, `surrogate.json`, `surrogate.pq`."""
        return self.key("study", name)

    @property
    def final(self) -> str:
        """The folder of the final tables."""
        return self.key("final")

    def table(self, name: str) -> str:
        """One final table."""
        return self.key("final", f"{name}.pq")
