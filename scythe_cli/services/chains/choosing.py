"""What FILE means: a sampling file, or a run.

A file wins: what is there as a file is never taken for a run. So is a folder with Parquet files, unless it is a run's.
What is neither is looked for among the runs, and then told with what is near.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scythe_cli.core.names import is_sampling_name
from scythe_cli.core.text import redact_uri
from scythe_cli.errors import MissingFileError, NotFoundError, UnreachableError, UsageError
from scythe_cli.run.catalog import find_run, list_experiments
from scythe_cli.run.layout import RunLayout
from scythe_cli.sampling.reading import ReadOptions, near_file
from scythe_cli.services.chains.rules import ChainRules
from scythe_cli.services.chains.source import CaseSource, FileSource
from scythe_cli.services.completions import remember_run
from scythe_cli.storage.download import uri_scheme

if TYPE_CHECKING:
    from scythe_cli.services.configured import ConfiguredProject
    from scythe_cli.storage.base import Storage

__all__ = ["case_source"]


def case_source(
    project: ConfiguredProject,
    file: str | Path | None,
    experiment: str | None,
    rules: ChainRules,
    options: ReadOptions,
) -> CaseSource:
    """What cases are read from.

    Args:
        project: The project.
        file: A sampling file or a run; None for the run that the experiment's `input_from` names.
        experiment: The experiment in the configuration; None for one that is in none.
        rules: How the rows of a run become cases; what the configuration says holds where these say nothing.
        options: What a file does not say of itself.

    Raises:
        UsageError: If nothing says what to read, or an option does not go with it.
        MissingFileError: If there is neither such a file nor such a run.
        NotFoundError: If `input_from` names no run.
    """
    settings = None if experiment is None else project.config.experiments.get(experiment)
    said: list[str] = []
    if file is None:
        if settings is None or settings.input_from is None:
            raise UsageError(
                "FILE is missing: the cases to run",
                hint="Name a sampling file or a run; or set input_from in the experiment's table in experiments.toml.",
            )
        run = _find(project, settings.input_from)
    else:
        found = _run_of(project, file, said)
        if found is None:
            if option := rules.option():
                raise UsageError(
                    f"{option} is for a run in place of a sampling file, and {redact_uri(str(file))} is a file"
                )
            return FileSource(file, options, said)
        run = found
    if options.encoding is not None or options.units_row:
        option = "--units-row" if options.units_row else "--encoding"
        raise UsageError(f"{option} is for sampling files, and {run.experiment_id} is a run")
    if settings is not None:
        grouping = (rules.group_by, rules.agg) if rules.group_by or rules.agg else (settings.group_by, settings.agg)
        rules = ChainRules({**settings.map, **rules.map}, *grouping, rules.partial)
    from scythe_cli.analysis.run import Run  # what makes cases of a run is not needed for a file
    from scythe_cli.services.chains.run_source import RunSource

    return RunSource(Run(project.storage, run), rules, options.ignore_columns)


def _find(project: ConfiguredProject, reference: str) -> RunLayout:
    run = find_run(project.storage, reference)
    remember_run(project.location, run.experiment_id)
    return run


def _run_of(project: ConfiguredProject, file: str | Path, said: list[str]) -> RunLayout | None:
    """The run that is meant; None for a file."""
    text = str(file)
    inside = project.location.rstrip("/") + "/"
    if text == "-" or (uri_scheme(text) is not None and not text.startswith(inside)):
        return None
    path = Path(file)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError):
        is_folder = is_there = False
    if is_there and not is_folder:
        if not is_sampling_name(path.name) and _is_plain(text) and text in _experiments(project.storage):
            said.append(f"{text} is a file and the name of an experiment: {text}/latest means its latest run")
        return None
    if is_folder:
        absolute = str(path.absolute())
        if f"{absolute}/".startswith(inside) and absolute + "/" != inside:
            return _find(project, absolute)
        if _holds_parquet(path):
            return None
    elif is_sampling_name(path.name):
        return None  # what reads it tells that it is not there
    if uri_scheme(text) is None and not _is_plain(text):
        return None
    try:
        return _find(project, text)
    except NotFoundError as error:
        raise _neither(project, text, path, error) from None


def _is_plain(text: str) -> bool:
    """Whether a text can be a run, and is no path that is written as one."""
    return bool(text) and not text.startswith(("/", "./", "../", "~")) and "\\" not in text


def _holds_parquet(folder: Path) -> bool:
    return any(path.suffix.lower() in (".parquet", ".pq") for path in folder.rglob("*"))


def _experiments(storage: Storage) -> Sequence[str]:
    try:
        return list_experiments(storage)
    except UnreachableError:
        return ()  # it is a file: nothing else is asked of the storage yet


def _neither(project: ConfiguredProject, text: str, path: Path, error: NotFoundError) -> MissingFileError:
    """That there is neither a file nor a run of this name, and which one is near."""
    first, slash, rest = text.partition("/")
    known = _experiments(project.storage)
    close = difflib.get_close_matches(first, [*known, "latest"], n=1)
    if first in known:  # the rest is wrong, which the search for the run tells
        return MissingFileError(f"{error.message}, and there is no such file", hint=error.hint)
    hint = f"Did you mean the run {close[0]}{slash}{rest}?" if close else near_file(path)
    return MissingFileError(f"{text}: there is no such file, and no such run in {project.location}", hint=hint)
