"""What an allocation can be told: spelled once, for the command line and for Python."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, field_validator

from scythe_cli.arrow.seeds import MAX_SEED
from scythe_cli.core.semver import Bump
from scythe_cli.engines.base import Priority
from scythe_cli.errors import UsageError
from scythe_cli.sampling.reading import ReadOptions
from scythe_cli.services.chains.rules import ChainRules
from scythe_cli.services.reuse.copy import ReuseRequest

__all__ = ["AllocateOptions", "AllocateOptionsDict", "CaseOptions", "HowReadDict", "ReadingDict"]


class CaseOptions(BaseModel):
    """What is said of the cases, beside the sampling file or the run that they are read from.

    Attributes:
        experiment: Which experiment; may be left out when there is only one.
        function: `module:function` of a function that is in no configuration, instead; `experiment` names it then.
        ignore_columns: Columns of the sampling file to leave out, by name or pattern (`*` stands for anything); of a
            run, inputs that keep their default.
        encoding: How the characters of a text file are written; found out unless given.
        units_row: Whether the row below the header of the sampling file holds units.
        map: Of a run: by input, the input or output of the run that it takes; others are taken by their names.
        group_by: Of a run: the inputs or outputs whose equal rows become one case; `case` for replicates.
        agg: Of a run: what is made of the rows of a group, such as `annual_yield:mean`.
        partial: Whether a run may be unfinished: what has succeeded so far is taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str | None = None
    function: str | None = None
    ignore_columns: Sequence[str] = ()
    encoding: str | None = None
    units_row: bool = False
    map: Mapping[str, str] = {}
    group_by: Sequence[str] = ()
    agg: Sequence[str] = ()
    partial: bool = False

    @field_validator("ignore_columns", "group_by", "agg", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def read_options(self) -> ReadOptions:
        """What the sampling file does not say of itself."""
        return ReadOptions(tuple(self.ignore_columns), self.encoding, self.units_row)

    @property
    def chain_rules(self) -> ChainRules:
        """How the rows of a run become cases."""
        return ChainRules(dict(self.map), tuple(self.group_by), tuple(self.agg), self.partial)


class AllocateOptions(CaseOptions):
    """What `allocate`, `plan` and `submit` take beside the sampling file; see `CaseOptions` for the cases.

    Attributes:
        bump: Which part of the version goes up; `keep` adds a run to the newest version.
        workers: Processes of the local engine; the configuration, or the number of cores, unless set.
        copy_inputs: Whether input files on S3 or HTTP(S) are copied into the run as well.
        max_failures: Stop when that many specs have ended without success.
        reuse: Whether outcomes are taken over from earlier runs of the same major version where inputs, content of
            files, and code are the same; or the version or run to take them from.
        ignore_code: Whether outcomes of other code are taken over as well.
        dedupe: Whether rows that are the same are run once, and the outcome given to all of them.
        wait_timeout_s: How long to wait for a fleet, in seconds.
        priority: What a fleet does first among what waits; `high` for small runs, else `normal`, unless set.
        seed: What the seeds of rows follow from, beside what a row says: 0 to 2⁶³ − 1; `new` draws one.
        into: A run that gets the cases of the file which it does not have yet, instead of a new run.
        limit: Only so many cases, the first ones.
        sample: Only so many cases, drawn at random; `seed` chooses them.
        replicates: How often each case is run, each time with a seed of its own.
        until: How well means are to be known, such as `half_width(y) < 0.01`: cases get further replicates until then.
        max_replicates: With `until`: how many a case gets at the most.
        confidence: With `until`: of the intervals.
        accept_new_code: With `into`: add cases although the code has changed since; their outcomes tell it.
    """

    bump: Bump = "minor"
    workers: int | None = None
    copy_inputs: bool = False
    max_failures: int | None = None
    reuse: bool | str = False
    ignore_code: bool = False
    dedupe: bool = False
    wait_timeout_s: float | None = None
    priority: Priority | None = None
    seed: int | Literal["new"] = 0
    into: str | None = None
    limit: int | None = None
    sample: int | None = None
    replicates: int | None = None
    until: str | None = None
    max_replicates: int = 1000
    confidence: float = 0.95
    accept_new_code: bool = False

    def model_post_init(self, context: Any) -> None:
        """Check the numbers.

        Raises:
            UsageError: If one is less than 1, the seed has more than 63 bits, or one option excludes another.
        """
        check_numbers(self.workers, self.max_failures)
        numbers = ("limit", "sample", "replicates", "max_replicates")
        for name, n in [(name, getattr(self, name)) for name in numbers]:
            if n is not None and n < 1:
                raise UsageError(f"{name} is {n}; it must be at least 1")
        if self.limit is not None and self.sample is not None:
            raise UsageError("limit and sample exclude each other: the first cases, or random ones")
        if self.replicates is not None or self.until is not None:
            self._check_replicates()
        if self.accept_new_code and self.into is None:
            raise UsageError("accept_new_code is for adding to a run, with into: a new run has the code that is there")
        if self.seed != "new" and not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed is {self.seed}; it must be from 0 to {MAX_SEED}, or 'new'")

    def _check_replicates(self) -> None:
        if self.dedupe:
            raise UsageError("dedupe runs equal cases once, and replicates are equal cases: leave one of them out")
        if self.into is not None and (self.limit is not None or self.sample is not None):
            raise UsageError(
                "replicates of a part of a file cannot be added to a run", hint="Leave out limit or sample."
            )
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence is {self.confidence:g}; it must be between 0 and 1")

    def with_seed(self) -> AllocateOptions:
        """The options with a number as the seed: where one is to be drawn, it is short enough to be typed again."""
        return self.model_copy(update={"seed": secrets.randbelow(10**9)}) if self.seed == "new" else self

    @property
    def reuse_request(self) -> ReuseRequest | None:
        """What is taken over from earlier runs; None for nothing."""
        if self.reuse is False or self.reuse == "":
            return None
        return ReuseRequest(source=None if self.reuse is True else self.reuse, ignore_code=self.ignore_code)


class HowReadDict(TypedDict, total=False):
    """How cases are read, as keywords: the fields of `CaseOptions` but experiment and function."""

    ignore_columns: Sequence[str]
    encoding: str | None
    units_row: bool
    map: Mapping[str, str]
    group_by: Sequence[str]
    agg: Sequence[str]
    partial: bool


class ReadingDict(HowReadDict, total=False):
    """The fields of `CaseOptions` but the experiment, as keywords."""

    function: str | None


class AllocateOptionsDict(ReadingDict, total=False):
    """The fields of `AllocateOptions` as keywords."""

    experiment: str | None
    bump: Bump
    workers: int | None
    copy_inputs: bool
    max_failures: int | None
    reuse: bool | str
    ignore_code: bool
    dedupe: bool
    wait_timeout_s: float | None
    priority: Priority | None
    seed: int | Literal["new"]
    into: str | None
    limit: int | None
    sample: int | None
    replicates: int | None
    until: str | None
    max_replicates: int
    confidence: float
    accept_new_code: bool


def check_numbers(workers: int | None, max_failures: int | None) -> None:
    """See that numbers of processes and failures are numbers of something.

    Raises:
        UsageError: If one is less than 1.
    """
    if max_failures is not None and max_failures < 1:
        raise UsageError(f"max_failures is {max_failures}; it must be at least 1")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1")
