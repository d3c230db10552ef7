"""`allocate --until`: cases get replicates until the means of outputs are known well enough.

Each round adds replicates to the same run, where they are needed: as many as the standard deviation so far tells, but
not all at once, since that is an estimate itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from scythe_cli.analysis.notebook import notebook_progress
from scythe_cli.analysis.results.by_case import Floats, Rows, case_of_rows, replicates_by_case, t_quantiles
from scythe_cli.analysis.run import Run
from scythe_cli.errors import UsageError
from scythe_cli.model.columns import output_columns
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.catalog import find_run
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.allocation.choosing import alike, with_rows
from scythe_cli.services.allocation.growing import run_to_grow, same_in_run
from scythe_cli.services.allocation.intake import (
    Intake,
    add_intake,
    allocate_cases,
    allocate_intake,
    cases_for,
    cases_of,
)
from scythe_cli.services.allocation.submission import check_inputs

if TYPE_CHECKING:
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.services.allocation.options import AllocateOptions
    from scythe_cli.services.configured import ConfiguredProject
    from scythe_cli.services.records import AllocateResult

__all__ = ["Goal", "allocate_file", "more_replicates", "read_goals"]


_FIRST = 10
_NEAR = 0.95
_STEEPEST = 4
_SMALL_STEP = 0.05
_GOAL = re.compile(r"\s*half_width\(\s*(?P<output>[^()]+?)\s*\)\s*<=?\s*(?P<number>[^\s%]+)\s*(?P<percent>%?)\s*")


@dataclass(frozen=True, slots=True)
class Goal:
    """How well the mean of an output is to be known.

    Attributes:
        output: The output.
        width: Half the width of the confidence interval is to be less.
        is_relative: Whether that is a share of the mean.
    """

    output: str
    width: float
    is_relative: bool = False

    def widths(self, frame: pl.DataFrame) -> Floats:
        """The width that is asked for, of each case."""
        if not self.is_relative:
            return np.full(frame.height, self.width)
        return np.abs(frame[f"{self.output}.mean"].to_numpy()) * self.width


def read_goals(text: str, outputs: Sequence[str]) -> list[Goal]:
    """Read what `--until` says.

    Args:
        text: `half_width(y) < 0.01`, or `< 1%` of the mean; several with `and` between them.
        outputs: The numeric outputs that there are.

    Raises:
        UsageError: If it says something else.
    """
    goals: list[Goal] = []
    for part in re.split(r"\band\b|,", text):
        match = _GOAL.fullmatch(part)
        try:
            number = float(match["number"]) if match else -1.0
        except ValueError:
            number = -1.0
        if match is None or not 0 < number < float("inf"):
            raise UsageError(
                f"--until {text}: {part.strip() or 'nothing'} is no goal",
                hint="Write it as 'half_width(y) < 0.01', or '< 1%' of the mean; several with 'and' between them.",
            )
        if match["output"] not in outputs:
            raise UsageError(
                f"--until {text}: there is no numeric output {match['output']!r}",
                hint=f"There are {', '.join(outputs)}." if outputs else None,
            )
        goals.append(Goal(match["output"], number / 100 if match["percent"] else number, bool(match["percent"])))
    return goals


def more_replicates(frame: pl.DataFrame, goals: Sequence[Goal], *, confidence: float, most: int) -> Rows:
    """How many replicates each case is to have next; as many as it has where that is enough.

    Args:
        frame: What `replicates_by_case` tells.
        goals: What is asked for.
        confidence: Of the intervals.
        most: How many a case gets at the most.
    """
    have = (frame["replicates"] + frame["missing"]).to_numpy().astype(np.float64)
    wanted = have.copy()
    for goal in goals:
        width, asked = frame[f"{goal.output}.half_width"].to_numpy(), goal.widths(frame)
        sd = frame[f"{goal.output}.sd"].to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            is_short = ~(width < asked)
            t = t_quantiles(np.maximum(have - 1, 1), confidence)
            needed = np.nan_to_num((t * sd / asked) ** 2, nan=np.inf, posinf=np.inf)
        # far from the goal, most of what the deviation so far tells; near it, few at a time
        far = np.minimum(np.floor(_NEAR * needed), _STEEPEST * have)
        near = have + np.ceil(_SMALL_STEP * have)
        wanted = np.maximum(wanted, np.where(is_short, np.maximum(far, near), have))
    return np.maximum(have, np.minimum(wanted, most)).astype(np.int64)


def allocate_file(
    project: ConfiguredProject,
    file: str | Path | None,
    options: AllocateOptions,
    *,
    progress: ProgressCallback | None = None,
    stop: StopSignal | None = None,
) -> AllocateResult:
    """Run the cases of a file, and replicates of them until a goal is reached, if there is one."""
    if options.until is None:
        return allocate_cases(project, file, options, progress=progress, stop=stop)
    with notebook_progress(progress) as show:
        return _until(project, file, options.with_seed(), show, stop)


def _until(
    project: ConfiguredProject,
    file: str | Path | None,
    options: AllocateOptions,
    progress: ProgressCallback | None,
    stop: StopSignal | None,
) -> AllocateResult:
    first = min(options.replicates or _FIRST, options.max_replicates)
    plain = options.model_copy(update={"until": None, "replicates": None})
    if options.into is None:
        cases = cases_of(project, file, plain)
    else:
        cases = cases_for(project, file, run_to_grow(project, options), plain)
    outputs = [c.name for c in output_columns(cases.experiment.output_validator_type) if _is_number(c.field.type)]
    goals = read_goals(options.until or "", outputs)
    start = allocate_intake if options.into is None else add_intake
    result = start(project, cases.replicated(max(first, 2)), plain, progress=progress, stop=stop)
    into = plain.model_copy(
        update={"into": result.experiment_id, "limit": None, "sample": None, "bump": "minor", "reuse": False}
    )
    notices, n_first = list(result.notices), result.n_specs
    while not result.counts.pending and not result.counts.cancelled:
        run = Run(project.storage, find_run(project.storage, result.experiment_id))
        distinct, wanted, n_short, n_failed = _next(project, run, cases, goals, options)
        if wanted is None:
            notices += _told(n_short, n_failed, result.n_specs - n_first, options)
            break
        n_before = result.n_specs
        result = add_intake(project, distinct.replicated(wanted.tolist()), into, progress=progress, stop=stop)
        if result.n_specs == n_before:  # somebody else has added them meanwhile, or removed what they were counted from
            break
    return result.model_copy(update={"notices": notices})


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _told(n_short: int, n_failed: int, n_more: int, options: AllocateOptions) -> list[str]:
    said: list[str] = []
    if n_failed:
        said.append(f"{'1 case has' if n_failed == 1 else f'{n_failed:,} cases have'} no replicate that succeeded")
    if n_short:
        cases, most = "1 case does" if n_short == 1 else f"{n_short:,} cases do", options.max_replicates
        said.append(f"{cases} not reach --until with {most:,} replicates; --max-replicates allows more")
    return said or [f"--until is reached, with {n_more:,} replicates more than at first"]


def _next(
    project: ConfiguredProject, run: Run, cases: Intake, goals: Sequence[Goal], options: AllocateOptions
) -> tuple[Intake, Rows | None, int, int]:
    """The distinct cases of the file, how many replicates each is to have, and how many are short of the goal or fail.

    Replicates are None where no case is to get more.
    """
    names = [goal.output for goal in goals]
    frame = replicates_by_case(run, list(dict.fromkeys(names)), confidence=options.confidence).frame
    rows = _rows_in(project, run, cases, options)
    firsts = case_of_rows(run)[rows]
    _, distinct = np.unique(firsts, return_index=True)
    distinct = np.sort(distinct)
    own = pl.DataFrame({"case": firsts[distinct]})
    frame = own.join(frame, on="case", how="left", maintain_order="left")
    counts = pl.Series(np.bincount(case_of_rows(run))[firsts[distinct]])
    none = pl.col("replicates").is_null()  # all of them failed: more would as well
    frame = frame.with_columns(
        replicates=pl.when(none).then(counts).otherwise("replicates"), missing=pl.col("missing").fill_null(0)
    )
    wanted = more_replicates(frame, goals, confidence=options.confidence, most=options.max_replicates)
    have = (frame["replicates"] + frame["missing"]).to_numpy()
    failed = frame[f"{names[0]}.mean"].is_null().to_numpy()
    wanted = np.where(failed, have, wanted)
    short = np.zeros(frame.height, np.bool_)
    for goal in goals:
        with np.errstate(invalid="ignore"):
            short |= ~(frame[f"{goal.output}.half_width"].to_numpy() < goal.widths(frame))
    table = with_rows(cases.table, distinct.astype(np.int64))
    part = Intake(cases.name, cases.experiment, table, cases.settings, cases.entrypoint, is_part=True)
    return part, None if (wanted <= have).all() else wanted, int((short & ~failed).sum()), int(failed.sum())


def _rows_in(project: ConfiguredProject, run: Run, cases: Intake, options: AllocateOptions) -> Rows:
    """For each case of the file a row of the run that says the same."""
    request = cases.request(project, options)
    with SpecFile.open(run.storage, run.layout) as specs:
        names = [name for name in specs.schema.names if name not in NOT_INPUT]
        old = specs.read(0, specs.n_specs, columns=names).select(names)
    plan = check_inputs(request)
    known, new = alike(old, request.inputs, request.experiment, run)
    return same_in_run(run, known, new, plan)
