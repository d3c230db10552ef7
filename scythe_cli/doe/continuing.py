"""The next points of the design that a run was made with: what `scythe sample --continue` does.

The record of the design says how its points were drawn. The points that the run has already are drawn again and
compared with its cases, so that what comes next truly continues them, whatever has become of models and libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from scythe_cli.core.folders import owned_prefix
from scythe_cli.doe.domains import Leaf, Values, leaves_of
from scythe_cli.doe.drawing import Drawn, draw_settings, population_of
from scythe_cli.doe.joint.population import Population
from scythe_cli.doe.option_values import Chosen, Folders, fixed_value, range_or_values
from scythe_cli.doe.rows import RANDOM_DESIGNS
from scythe_cli.doe.sample_file import check_target, with_replicates, without_refused, write_drawn
from scythe_cli.doe.settings import FieldSettings, SampleOptions
from scythe_cli.doe.variables import variable_of
from scythe_cli.errors import SamplingFileError, UsageError
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.design_record import DesignField, DesignRecord, PopulationRecord, SampleResult
from scythe_cli.run.extension import design_parts
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.run.stored_run import StoredRun
from scythe_cli.sampling.reading import read_sampling_file

__all__ = ["continue_design"]


_COMPARED = 2000

_NO_NEXT = {
    "grid": "Make a finer one, and add it with `scythe allocate FILE --into`: cases that the run has are skipped.",
    "oat": "Make one with more levels, and add it with `scythe allocate FILE --into`: cases that the run has are "
    "skipped.",
    "zip": "Give further values, and add them with `scythe allocate FILE --into`.",
}


def continue_design(
    path: Path, run: StoredRun, model: type[ExperimentInputSpec], *, n: int | None, overwrite: bool = False
) -> SampleResult:
    """Make a sampling file of the next points of a run's design.

    Args:
        path: The file, CSV or Parquet by its ending.
        run: The run.
        model: The input model of its experiment.
        n: The number of points, base points of `saltelli`.
        overwrite: Whether a file of that name is replaced.

    Raises:
        UsageError: If the run has no design that can be continued, or its points cannot be drawn again as they were.
        SamplingFileError: If the model refuses rows.
        StorageError: If the run cannot be read or the file not written.
    """
    check_target(path, overwrite=overwrite)
    parts = design_parts(run.manifest)
    if not parts:
        raise UsageError(
            f"{run.experiment_id}: its cases are not those of a whole file that `scythe sample` made",
            hint="Make any sampling file, and add its cases with `scythe allocate FILE --into`.",
        )
    design = parts[0][1]
    if design.design not in RANDOM_DESIGNS or design.n is None:
        raise UsageError(
            f"{run.experiment_id}: a design of the kind {design.design} is complete, so that there is no next point",
            hint=_NO_NEXT.get(design.design),
        )
    if n is None:
        raise UsageError("--continue needs the number of points to add", hint="Give it with -n.")
    again = _Again(run, model, design, path.absolute().parent)
    uris = again.compare(parts)
    last = parts[-1][1]
    drawn = again.part(n, [*last.before, last.n or 0])
    table = drawn.table
    for name, known in uris.items():
        texts: list[Any] = table.column(name).to_pylist()
        known |= {text: _found(name, text, path) for text in set(texts) - known.keys()}
        cells = pa.chunked_array([pa.array([known[text] for text in texts], pa.string())])
        table = table.set_column(table.column_names.index(name), name, cells)
    drawn = with_replicates(replace(drawn, table=table), model, design.replicates)
    return write_drawn(path, design.experiment or run.layout.experiment, drawn, model, overwrite=overwrite)


def _found(name: str, text: str, target: Path) -> str:
    """A file that none of the run's cases have, which knows it as seen from the folder of its sampling file."""
    if "://" in text or Path(text).is_absolute():
        return text
    folders = (Path.cwd(), target.absolute().parent)
    at = next((folder / text for folder in folders if (folder / text).is_file()), None)
    if at is None:
        raise UsageError(
            f"{name}: none of the run's cases have {text}, and it is not here",
            hint="Run the command in the folder of the run's sampling file.",
        )
    return str(at)


class _Again:
    """The design of a run, to be drawn again."""

    def __init__(self, run: StoredRun, model: type[ExperimentInputSpec], design: DesignRecord, to_folder: Path) -> None:
        self._run, self._model, self._design = run, model, design
        self._leaves = {leaf.name: leaf for leaf in leaves_of(model)}
        self._settings = self._settings_of(design)
        self._population = None if design.population is None else self._read(design.population, to_folder)

    def _read(self, record: PopulationRecord, to_folder: Path) -> Population | None:
        """The population of the run, which must be as it was."""
        folder = next((each for each in (Path.cwd(), to_folder) if (each / record.file).is_file()), None)
        if folder is None and "://" not in record.file:
            raise UsageError(
                f"{record.file}: the population of {self._run.experiment_id} is not here",
                hint="Run the command in the folder from which its sampling file was made.",
            )
        options = SampleOptions(
            population=record.file,
            by=record.by,
            weights=record.weights,
            per_stratum=1 if record.per_stratum else None,
            ignore_columns=record.ignored,
        )
        population = population_of(
            options, self._model, list(self._leaves.values()), folder or Path.cwd(), to_folder, self._design.experiment
        )
        if population is not None and population.record.file_sha256 != record.file_sha256:
            raise self._other(f"{record.file} has changed")
        return population

    def part(self, n: int, before: Sequence[int]) -> Drawn:
        """Some points of the design, after others."""
        design = self._design
        drawn = draw_settings(
            self._model,
            list(self._leaves.values()),
            self._settings,
            design.design,
            n=n,
            seed=design.seed,
            options=SampleOptions(only=(), where=design.where, correlation=design.correlation),
            experiment=design.experiment,
            before=before,
            population=self._population,
        )
        return without_refused(drawn, self._model) if design.dropped else drawn

    def compare(self, parts: Sequence[tuple[int, DesignRecord]]) -> dict[str, dict[str, str]]:
        """See that the points are those of the run's cases.

        Returns:
            For each field that refers to files, from the path in the run's sampling file to where the run keeps it.
        """
        uris: dict[str, dict[str, str]] = {}
        with SpecFile.open(self._run.storage, self._run.layout) as specs:
            for first, record in parts:
                drawn = self.part(record.n or 0, record.before).table
                tops = list(dict.fromkeys(name.split(".")[0] for name in drawn.column_names))
                if drawn.num_rows != record.cases or not set(tops) <= set(specs.schema.names):
                    raise self._other("it has other rows or fields")
                cases: Any = pl.from_arrow(specs.read(first, first + record.cases, columns=tops))
                self._compare_values(drawn, cases, first)
                for name in (leaf.name for leaf in self._leaves.values() if leaf.column.is_file):
                    if name in drawn.column_names:
                        texts: Any = pl.from_arrow(drawn.column(name))
                        self._note_files(uris.setdefault(name, {}), name, texts, _column(cases, name))
        return uris

    def _compare_values(self, drawn: pa.Table, cases: pl.DataFrame, first: int) -> None:
        """Compare some of the rows, the first and the last among them, as they are when they are read from a file."""
        rows = np.unique(np.linspace(0, drawn.num_rows - 1, min(_COMPARED, drawn.num_rows)).astype(np.int64))
        with TemporaryDirectory(prefix=owned_prefix("design")) as folder:
            file = Path(folder) / "points.parquet"
            pq.write_table(drawn.take(pa.array(rows, pa.int64())), file)
            try:
                read: Any = pl.from_arrow(read_sampling_file(file, self._model).inputs)
            except SamplingFileError:
                raise self._other("its model rejects them now") from None
        there = cases[rows.tolist()]
        for name in drawn.column_names:
            if name in self._leaves and self._leaves[name].column.is_file:
                continue
            ours, theirs = _column(read, name), _column(there, name)
            if ours.dtype != theirs.dtype or not ours.equals(theirs, null_equal=True):
                pairs = zip(ours.to_list(), theirs.to_list(), strict=True)
                row = next((i for i, (one, other) in enumerate(pairs) if one != other), 0)
                raise self._other(f"{name} of case {first + int(rows[row])} would be another")

    def _note_files(self, known: dict[str, str], name: str, texts: pl.Series, uris: pl.Series) -> None:
        pairs = pl.DataFrame({"text": texts, "uri": uris}).unique().drop_nulls()
        for text, uri in pairs.iter_rows():
            if known.setdefault(text, uri) != uri:
                raise self._other(f"{name} is in another order")

    def _other(self, why: str) -> UsageError:
        was = {name: version for name, version in self._design.versions.items() if name in ("numpy", "scipy")}
        versions = ", ".join(f"{name} {version}" for name, version in was.items())
        return UsageError(
            f"the design of {self._run.experiment_id} cannot be continued, as its points cannot be drawn again: {why}",
            hint=f"Its model has changed, or the libraries have: it was drawn with {versions or 'unknown versions'}.",
        )

    def _settings_of(self, design: DesignRecord) -> dict[str, FieldSettings]:
        """What was said of each field, from what the record says."""
        settings = {name: FieldSettings() for name in self._leaves}
        folders = Folders(Path.cwd(), Path.cwd())
        missing = [name for name in (*(f.name for f in design.fields), *design.fixed) if name not in settings]
        if missing:
            raise self._other(f"there is no field {missing[0]} now")
        try:
            for field in design.fields:
                settings[field.name] = self._setting(self._leaves[field.name], field, folders)
            for name, value in design.fixed.items():
                leaf = self._leaves[name]
                is_text = leaf.column.is_file and isinstance(value, str)
                settings[name].fix = _paths([value]) if is_text else fixed_value(leaf, value, folders)
        except UsageError as error:
            raise self._other(error.message) from None
        return settings

    def _setting(self, leaf: Leaf, field: DesignField, folders: Folders) -> FieldSettings:
        if field.distribution == "values":
            values = field.values or []
            if len(values) == field.n_values:
                chosen = _paths(values) if leaf.column.is_file else range_or_values(leaf, list(values), folders)
                if isinstance(chosen, Chosen) and field.probabilities:
                    chosen = replace(chosen, probabilities=tuple(field.probabilities))
                return FieldSettings(set=chosen)
            if isinstance(leaf.domain, Values) and len(leaf.domain.values) == field.n_values:
                return FieldSettings(only=True)
            raise UsageError(f"{field.name} has {field.n_values:,} values, and only {len(values):,} are recorded")
        setting = FieldSettings(only=True, log=field.distribution == "log")
        if field.distribution == "normal" and field.mean is not None and field.sd is not None:
            setting.normal = (field.mean, field.sd)
        if field.distribution == "triangular" and field.mode is not None:
            low, high = field.ends or (field.low, field.high)
            setting.triangular = (float(low), field.mode, float(high))
        try:
            is_own = variable_of(leaf, setting).describe().as_drawn() == field.as_drawn()
        except (UsageError, AssertionError):  # without a range it cannot be drawn
            is_own = False
        if not is_own and field.low is not None and field.high is not None:
            setting.set = range_or_values(leaf, (field.low, field.high), folders)
        return setting


def _paths(texts: Sequence[Any]) -> Chosen:
    shown = [str(text) for text in texts]
    return Chosen(pa.array(shown, pa.string()), shown)


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column, or a part of one that holds structs."""
    top, *parts = name.split(".")
    series = frame[top]
    for part in parts:
        series = series.struct.field(part)
    return series
