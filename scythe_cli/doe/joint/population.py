"""A population: a table whose rows are drawn whole, while the other fields are varied by a design."""

from __future__ import annotations

import copy
import difflib
import glob
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute
from pydantic import create_model
from pydantic_core import to_jsonable_python

from scythe_cli.doe.domains import Leaf
from scythe_cli.doe.joint.conditions import Mask
from scythe_cli.doe.joint.population_rows import Floats, PopulationRows, Rows, population_rows
from scythe_cli.errors import SamplingFileError, UsageError
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.design_record import PopulationRecord, Stratum
from scythe_cli.sampling.field_names import find_field
from scythe_cli.sampling.file_columns import FieldColumn, RawFile, Source, match_columns
from scythe_cli.sampling.file_validator import FileValidator
from scythe_cli.sampling.problems import BadCellsError, CellProblem, show_value
from scythe_cli.sampling.reading import read_raw

__all__ = ["DrawnRows", "Population", "read_population"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

_SHOWN_STRATA = 1000
_EMPTY = "(empty)"


@dataclass(frozen=True, slots=True)
class DrawnRows:
    """Rows of a population that were drawn.

    Attributes:
        columns: Their cells.
        sizes: How many rows each part of the sample has, the last of which these are.
        record: What is kept of it.
        notices: What the user should know.
    """

    columns: dict[str, pa.Array[Any]]
    sizes: list[int]
    record: PopulationRecord
    notices: list[str]


@dataclass(frozen=True, slots=True)
class Population:
    """A population that was read and checked.

    Attributes:
        record: Where it is from, and how it is drawn.
        fields: The fields that it gives, at the top of the model: a nested model comes whole.
        columns: Its cells, as a sampling file has them.
        strata: The stratum of each row.
        labels: The names of the strata.
        weights: The weight of each row.
        notices: What there is to tell of the file.
    """

    record: PopulationRecord
    fields: frozenset[str]
    columns: dict[str, pa.Array[Any]]
    strata: Rows
    labels: list[str]
    weights: Floats
    notices: list[str]

    def gives(self, leaf: Leaf) -> bool:
        """Whether a field, or a part of one, comes from the population."""
        return leaf.name.split(".", maxsplit=1)[0] in self.fields

    def only(self, accepted: Mask) -> Population:
        """The same without the rows that do not meet conditions; there is nothing to draw of a stratum without any."""
        return replace(self, weights=np.where(accepted, self.weights, 0.0))

    def draw(self, parts: Sequence[int], seed: int) -> DrawnRows:
        """Draw rows; see `population_rows`."""
        per_stratum = self.record.per_stratum
        drawn = population_rows(self.strata, len(self.labels), self.weights, parts, per_stratum=per_stratum, seed=seed)
        index = pa.array(drawn.rows, pa.int64())
        strata = [
            Stratum(name=label, rows=int(room), drawn=int(n))
            for label, room, n in zip(self.labels, drawn.room, drawn.counts, strict=True)
        ]
        record = self.record.model_copy(
            update={"strata": strata[:_SHOWN_STRATA] if self.record.by else [], "replaced": drawn.replaced}
        )
        columns = {name: cells.take(index) for name, cells in self.columns.items()}
        return DrawnRows(columns, drawn.sizes, record, [*self.notices, *self._told(drawn, parts[-1])])

    def _told(self, drawn: PopulationRows, wanted: int) -> Iterator[str]:
        n, room = len(drawn.rows), int(drawn.room.sum())
        if drawn.replaced:
            yield f"{n:,} rows are more than the {room:,} of the population: they are drawn with replacement"
        if not self.record.by:
            return
        if self.record.per_stratum:
            short = int((drawn.counts < wanted).sum())
            if short:
                yield f"{_strata(short)} fewer than {wanted:,} rows to be drawn, and {_give(short)} all of them"
        else:
            without = int((drawn.counts == 0).sum())
            if without:
                yield f"{_strata(without)} no row in the sample"


def _strata(n: int) -> str:
    return "1 stratum has" if n == 1 else f"{n:,} strata have"


def _give(n: int) -> str:
    return "gives" if n == 1 else "give"


def read_population(
    file: str | Path,
    model: type[ExperimentInputSpec],
    leaves: Sequence[Leaf],
    *,
    by: Collection[str] = (),
    weights: str | None = None,
    per_stratum: bool = False,
    ignore: Sequence[str] = (),
    experiment: str | None = None,
    shown: str | None = None,
    to_folder: Path,
) -> Population:
    """Read a population, and check it as a sampling file is checked: the fields that it has, in all of its rows.

    Args:
        file: A table of any form that a sampling file may have.
        model: The input model of the experiment.
        leaves: Its fields.
        by: The columns that tell the strata; those that are no field are not written.
        weights: The column of the weights, likewise.
        per_stratum: Whether numbers of rows are of each stratum.
        ignore: Columns to leave out, by name or pattern.
        experiment: The experiment's name, for messages.
        shown: What the user calls the file.
        to_folder: Where relative paths of files start from in the sampling file.

    Raises:
        UsageError: If a column is not there.
        SamplingFileError: If the file cannot be read, or columns or cells are wrong.
    """
    raw = read_raw(file)
    for option, name in [*(("--by", name) for name in by), *([("--weights", weights)] if weights else [])]:
        if name not in raw.names:
            close = difflib.get_close_matches(name, raw.names, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Its columns are {', '.join(raw.names[:40])}."
            raise UsageError(f"{option}: {raw.path} has no column {name!r}", hint=hint)
    codes, labels = _strata_of(raw, list(by))
    weighed = np.ones(raw.n_rows) if weights is None else _weights_of(raw, weights)
    columns, fields, notices = _checked(raw, model, leaves, {*by, *([weights] if weights else [])}, ignore, experiment)
    files = {leaf.name for leaf in leaves if leaf.column.is_file}
    for name in files & columns.keys():
        columns[name] = _moved(columns[name], raw.base, to_folder)
    record = PopulationRecord(
        file=shown or str(file),
        file_sha256=_hash_of(Path(file)),
        rows=raw.n_rows,
        fields=list(columns),
        by=list(by),
        weights=weights,
        per_stratum=per_stratum,
        ignored=list(ignore),
    )
    return Population(record, fields, columns, codes, labels, weighed, notices)


def _hash_of(path: Path) -> str | None:
    if not path.is_file():
        return None  # it comes from elsewhere
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _strata_of(raw: RawFile, by: list[str]) -> tuple[Rows, list[str]]:
    """The stratum of each row, and the names of strata in the order in which they come; without a value is one too."""
    if not by:
        return np.zeros(raw.n_rows, np.int64), [""]
    frame = pl.DataFrame({name: _series(raw, name) for name in by})
    try:
        distinct = frame.unique(maintain_order=True)
        joined = frame.join(
            distinct.with_row_index("__stratum__"), on=by, how="left", nulls_equal=True, maintain_order="left"
        )
    except pl.exceptions.PolarsError:
        raise SamplingFileError(f"{raw.path}: values of {', '.join(by)} cannot be strata") from None
    labels = [" / ".join(_EMPTY if value is None else str(value) for value in row) for row in distinct.iter_rows()]
    return joined["__stratum__"].cast(pl.Int64).to_numpy(), labels


def _series(raw: RawFile, name: str) -> pl.Series:
    made: Any = pl.from_arrow(raw.columns[raw.names.index(name)])
    return made


def _weights_of(raw: RawFile, name: str) -> Floats:
    """The weights.

    Raises:
        BadCellsError: If one of them is no number of 0 or more.
    """
    cells = _series(raw, name)
    texts = cells.str.strip_chars() if cells.dtype == pl.String else cells
    if raw.decimal_comma and texts.dtype == pl.String:
        texts = texts.str.replace(",", ".", literal=True)
    if not (texts.dtype.is_numeric() or texts.dtype == pl.String or texts.dtype == pl.Null):
        raise SamplingFileError(f"{raw.path}: weights are numbers, and {name} is {texts.dtype}")
    numbers = texts.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if len(bad):
        shown = [int(row) for row in bad[:20]]
        values = [None if cells[row] is None else show_value(cells[row]) for row in shown]
        message = "A weight is a number, 0 or more"
        problems = [
            CellProblem(raw.row_label(row), row, name, value, message) for row, value in zip(shown, values, strict=True)
        ]
        raise BadCellsError(raw.path, problems, len(bad))
    if not numbers.any():
        raise SamplingFileError(f"{raw.path}: all weights are 0, so that no row can be drawn")
    return numbers


def _checked(
    raw: RawFile,
    model: type[ExperimentInputSpec],
    leaves: Sequence[Leaf],
    said: Collection[str],
    ignore: Sequence[str],
    experiment: str | None,
) -> tuple[dict[str, pa.Array[Any]], frozenset[str], list[str]]:
    """The cells of all fields that the file has, the fields at the top of the model, and what there is to tell."""
    own = [glob.escape(name) for name in said if find_field(model, name)[0] is None]
    if raw.n_rows == 0:
        raise SamplingFileError(f"{raw.path}: it has no rows")
    match = match_columns(raw, model, is_part=True, ignore=[*ignore, *own], experiment=experiment)
    if not match.sources:
        raise SamplingFileError(
            f"{raw.path}: none of its columns is a field",
            hint=f"The fields are {', '.join(leaf.name for leaf in leaves[:40])}.",
        )
    # a model of these fields alone: rules for whole rows can be applied only to rows that are whole
    base = type(model.__name__, (ExperimentInputSpec,), {"model_config": model.model_config, "__module__": __name__})
    fields: dict[str, Any] = {
        name: (info.annotation, copy.copy(info)) for name, info in model.model_fields.items() if name in match.sources
    }
    part = create_model(model.__name__, __base__=base, **fields)
    validator = FileValidator(raw, part, ignore=[*ignore, *own, *map(glob.escape, match.extras)], experiment=experiment)
    sources = validator.match.sources
    inputs = validator.validate()
    columns: dict[str, pa.Array[Any]] = {}
    by_name = {leaf.name: leaf for leaf in leaves}
    for top, source in sources.items():
        for path, column in _columns_in((top,), source):
            leaf = by_name.get(".".join(path))
            is_plain = leaf is not None and leaf.column.is_scalar and not (leaf.column.is_json or leaf.column.is_file)
            columns[".".join(path)] = _values_at(inputs, path) if is_plain else _texts(column)
    notices = [f"reserved columns are left out: {', '.join(match.ignored)}"] if match.ignored else []
    skipped = [name for name in (*match.skipped, *match.extras) if name not in said]
    if skipped:
        notices.append(f"ignored columns: {', '.join(skipped)}")
    notices += [f"{name}: {what}" for name, of in validator.problems.changes.items() for what in sorted(of)]
    return columns, frozenset(sources), notices


def _columns_in(path: tuple[str, ...], source: Source) -> Iterator[tuple[tuple[str, ...], FieldColumn]]:
    if isinstance(source, FieldColumn):
        yield path, source
    else:
        for name, part in source.parts.items():
            yield from _columns_in((*path, name), part)


def _values_at(inputs: pa.Table, path: Sequence[str]) -> pa.Array[Any]:
    column: Any = inputs.column(path[0])
    if len(path) > 1:
        column = pc.struct_field(column, list(path[1:]))
    return _whole(column)


def _texts(column: FieldColumn) -> pa.Array[Any]:
    """Cells as text: JSON where they are no text yet."""
    cells = _whole(column.cells)
    if pa.types.is_string(cells.type):
        return cells
    texts = [None if v is None else json.dumps(to_jsonable_python(v, fallback=str)) for v in cells.to_pylist()]
    return pa.array(texts, pa.string())


def _whole(column: Any) -> pa.Array[Any]:
    made = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays(made.chunks) if isinstance(made, pa.ChunkedArray) else made


def _moved(cells: pa.Array[Any], base: str | None, to_folder: Path) -> pa.Array[Any]:
    """Paths as seen from another folder than that of the population."""
    texts: list[str | None] = cells.to_pylist()
    move = _mover(base, to_folder)
    known: Mapping[str, str] = {text: move(text) for text in set(texts) if text}
    return pa.array([text if not text else known[text] for text in texts], pa.string())


def _mover(base: str | None, to_folder: Path) -> Callable[[str], str]:
    def move(text: str) -> str:
        if "://" in text or base is None or Path(text).expanduser().is_absolute():
            return text
        if "://" in base:
            return f"{base.rstrip('/')}/{text}"
        try:
            return Path(os.path.relpath(Path(base) / text, to_folder)).as_posix()
        except ValueError:  # another drive
            return str((Path(base) / text).absolute())

    return move
