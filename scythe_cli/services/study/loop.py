"""A study: rounds of cases, each chosen from what is known of those before, until targets hold or there is no use.

However it was stopped, it goes on from the folder of its run: cases without an outcome are run, what chooses the next
ones is led through all rounds again, and asks for what it would have asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scythe_cli.analysis.run import Run
from scythe_cli.analysis.surrogate.assessing import Assessment, Cases, assess
from scythe_cli.analysis.surrogate.failures import failure_rules
from scythe_cli.analysis.surrogate.generator import SurrogateGenerator
from scythe_cli.analysis.surrogate.history import StudyHistory, StudyRound, read_history, write_history
from scythe_cli.analysis.surrogate.stored import write_surrogate
from scythe_cli.core.progress import Progress
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.executor.code import raise_if_changed
from scythe_cli.executor.limits import StopSignal
from scythe_cli.run.design_record import StudyRecord
from scythe_cli.services.allocation.execution import changed_code, how_to_go_on
from scythe_cli.services.allocation.options import AllocateOptions
from scythe_cli.services.allocation.submission import submit
from scythe_cli.services.runs.retry import retry_run
from scythe_cli.services.study.finding import check_settings, study_run_of
from scythe_cli.services.study.measuring import end_of, measured_round, said_of_round, targets_of
from scythe_cli.services.study.records import StudyEnd, StudyResult
from scythe_cli.services.study.rounds import StudyRun, opened, rounds_in
from scythe_cli.services.study.suggesting import Suggesting

if TYPE_CHECKING:
    from scythe_cli.analysis.surrogate.space import Point
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.services.configured import ConfiguredProject
    from scythe_cli.services.records import AllocateResult
    from scythe_cli.services.study.settings import Study

__all__ = ["RoundCallback", "StudyOptions", "next_batch", "run_study"]


RoundCallback = Callable[[StudyRound, str], None]
"""Called after each round, with what is known then and a line that says it."""

_SHARE = 10


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """How a study is run.

    Attributes:
        new: Whether it starts with a new run, although it has one.
        accept_new_code: Whether it goes on although the code has changed since; outcomes tell it then.
        workers: Processes of the local engine; the configuration, or the number of cores, unless set.
        progress: Called as cases run.
        stop: Stops the study when it is triggered.
        on_round: Called after each round.
    """

    new: bool = False
    accept_new_code: bool = False
    workers: int | None = None
    progress: ProgressCallback | None = None
    stop: StopSignal = field(default_factory=StopSignal)
    on_round: RoundCallback | None = None


def run_study(project: ConfiguredProject, study: Study, options: StudyOptions) -> StudyResult:
    """Start a study, or go on with it, to its end.

    Raises:
        UsageError: If it was begun with other settings, or another process is at work on it.
        CodeChangedError: If the code has changed since, and that was not accepted.
        InvalidInputError: If what chooses cases cannot.
        UnreachableError: If storage or engine cannot be used.
    """
    started = datetime.now(UTC)
    project.engine.for_experiment(study.folder).check()
    Suggesting(study, project.root)  # whether it can be made is seen before anything is written
    run = None if options.new else study_run_of(project.storage, study.folder, study.name)
    if run is None:
        run = _begun(project, study)
    else:
        stopped = _resumed(project, study, run, options)
        if stopped is not None:
            return stopped
    with opened(project, study, run, options.workers, options.stop) as at:
        loop = _Loop(project, study, at, options, Suggesting(study, project.root))
        end, reason = loop.to_end()
        if options.progress:
            options.progress(Progress("gathering", StateCounts(), detail="final tables"))
        done = at.finish(started)
        failures = loop.finished(end, reason)
        return _result(study, done, end, reason, loop.rounds, failures, [*at.notices, *loop.suggesting.notices])


def _begun(project: ConfiguredProject, study: Study) -> Run:
    """A new run with the cases of the first round, none of which is run yet."""
    record = StudyRecord(
        name=study.name,
        round=0,
        asked=study.first.table.num_rows,
        suggest=study.config.suggest,
        seed=study.config.seed,
        settings=study.begun_with,
    )
    intake = study.intake(project, study.first.table)
    request = intake.request(project, AllocateOptions(seed=study.config.seed))
    submission = submit(replace(request, study=record, design=study.first.design))
    return Run(submission.job.storage, submission.job.run)


def _resumed(project: ConfiguredProject, study: Study, run: Run, options: StudyOptions) -> StudyResult | None:
    """See that a study can go on, and run what has no outcome; what it came to if it was stopped by that."""
    check_settings(study, run)
    if not options.accept_new_code:
        changed = changed_code(run, study.experiment, project.root)
        hint = (
            how_to_go_on(run.experiment_id)
            .replace("`scythe retry", "`scythe study")
            .replace(run.experiment_id, study.name)
        )
        raise_if_changed(changed, hint=f"{hint} `--new` starts anew.")
    status = run.status()
    if status.counts is None or not status.counts.pending:
        return None
    done = retry_run(
        run,
        study.experiment,
        project.engine,
        only={State.PENDING},
        root=project.root,
        workers=options.workers or project.workers,
        accept_new_code=options.accept_new_code,
        stop=options.stop,
        progress=options.progress,
    )
    if not done.counts.pending:
        return None
    known = read_history(run.storage, run.layout)
    rounds = [] if known is None else known.rounds
    return _result(study, done, "stopped", _stopped(study), rounds, [], done.notices)


def _stopped(study: Study) -> str:
    return f"interrupted; finished cases are kept, and `scythe study {study.name}` resumes it"


def _result(
    study: Study,
    done: AllocateResult,
    end: StudyEnd,
    reason: str,
    rounds: list[StudyRound],
    failures: list[str],
    notices: list[str],
) -> StudyResult:
    return StudyResult(
        study=study.name,
        experiment_id=done.experiment_id,
        uri=done.uri,
        engine=done.engine,
        end=end,
        reason=reason,
        rounds=rounds,
        counts=done.counts,
        duration_s=done.duration_s,
        failures=failures,
        tables=done.tables,
        notices=list(dict.fromkeys([*notices, *done.notices])),
    )


@dataclass
class _Loop:
    """The rounds of a study, one after the other.

    Attributes:
        rounds: What was known after each.
        found: What predictions are like now, where there are targets for them.
    """

    project: ConfiguredProject
    study: Study
    at: StudyRun
    options: StudyOptions
    suggesting: Suggesting
    rounds: list[StudyRound] = field(default_factory=list[StudyRound])
    found: Assessment | None = None
    _points: list[Point] = field(default_factory=list["Point"])
    _known: dict[tuple[Any, ...], int] = field(default_factory=dict[tuple[Any, ...], int])

    def to_end(self) -> tuple[StudyEnd, str]:
        """Go through the rounds that there are, and then through new ones."""
        known = self._kept_rounds()
        parts = rounds_in(self.at.manifest)
        for first, n, record in parts:
            if self.at.execute(self.options.stop, self.options.progress):
                return "stopped", _stopped(self.study)
            rows = self.at.points(first, n)
            if record is not None and record.round > 0 and record.name == self.study.name:
                self.suggesting.replay(record.asked, rows, self._known)
            self._learn(rows, known.get(first + n))
        while True:
            end = end_of(self.study, self.rounds)
            if end is not None:
                return end
            n = next_batch(self.project, self.study, self.at.n_cases, self.at.engine_workers)
            n = min(n, self.study.config.max_cases - self.at.n_cases)
            points = self.suggesting.ask(n, self._known)[:n]
            if self.options.stop.draining:
                return "stopped", _stopped(self.study)
            if not points:
                return "exhausted", f"{self.study.config.suggest} suggests no case that the run does not have"
            self.at.extend(points, self._record(n))
            if self.at.execute(self.options.stop, self.options.progress):
                return "stopped", _stopped(self.study)
            self._learn(points, None)

    def _record(self, n: int) -> StudyRecord:
        config = self.study.config
        number = 1 + max((each.round for _, _, each in rounds_in(self.at.manifest) if each is not None), default=0)
        return StudyRecord(name=self.study.name, round=number, asked=n, suggest=config.suggest, seed=config.seed)

    def _kept_rounds(self) -> dict[int, StudyRound]:
        """What is kept of rounds, by how many cases there were, if it is for the same targets."""
        kept = read_history(self.at.run.storage, self.at.run.layout)
        if kept is None or (kept.targets, kept.strata) != (targets_of(self.study), self.study.config.strata):
            return {}
        return {each.cases: each for each in kept.rounds}

    def _learn(self, rows: Sequence[Point], kept: StudyRound | None) -> None:
        """Take note of the outcomes of a round."""
        self._points += rows
        n = len(self._points)
        outputs = self.at.outcomes.outputs(n)
        self._known.update((self.study.space.key(row), n - len(rows) + i) for i, row in enumerate(rows))
        self.suggesting.tell(rows, self._known, outputs)
        self.found = None
        if kept is None:
            succeeded = np.array(self.at.outcomes.states(n)) == State.SUCCEEDED.value
            cases = Cases(self.study.space, list(self._points), outputs)
            kept = measured_round(self.study, len(self.rounds), cases, succeeded, self._assessed(cases))
            self.rounds.append(kept)
            self._keep()
            if self.options.on_round:
                self.options.on_round(kept, said_of_round(self.study.name, kept))
        else:
            self.rounds.append(kept)

    def _assessed(self, cases: Cases) -> Assessment | None:
        if not self.study.targets:
            return None
        generator = self.suggesting.generator
        if isinstance(generator, SurrogateGenerator):
            self.found = generator.assessment
        else:
            config = self.study.config
            self.found = assess(cases, self.study.targets, config.strata, seed=config.seed, n_folds=config.folds)
        return self.found

    def _keep(self, failures: Sequence[str] = (), end: StudyEnd | None = None, reason: str | None = None) -> None:
        history = StudyHistory(
            study=self.study.name,
            targets=targets_of(self.study),
            strata=self.study.config.strata,
            rounds=self.rounds,
            failures=list(failures),
            end=None if end == "stopped" else end,
            reason=None if end == "stopped" else reason,
        )
        write_history(self.at.run.storage, self.at.run.layout, history)

    def finished(self, end: StudyEnd, reason: str) -> list[str]:
        """Keep what was learned with the run; where cases fail, in words."""
        n = len(self._points)
        outputs = self.at.outcomes.outputs(n)
        succeeded: npt.NDArray[np.bool_] = np.array(self.at.outcomes.states(n)) == State.SUCCEEDED.value
        failures = failure_rules(self.study.space, self._points, succeeded)
        self._keep(failures, end, reason)
        if n and self.study.targets:
            found = self.found or self._assessed(Cases(self.study.space, self._points, outputs))
            if found is not None:
                write_surrogate(self.at.run.storage, self.at.run.layout, found)
        return failures


def next_batch(project: ConfiguredProject, study: Study, n_cases: int, workers: int) -> int:
    """How many cases the next round has.

    Args:
        project: The project.
        study: The study.
        n_cases: How many there are.
        workers: The processes of this machine; a fleet has slots instead.
    """
    if study.config.batch != "auto":
        return study.config.batch
    fleet = project.engine.fleet([study.experiment], project.root)
    slots = sum(worker.slots or 1 for worker in fleet or [])
    return max(slots or workers, -(-n_cases // _SHARE))
