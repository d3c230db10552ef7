"""The columns of a sampling file as they are read, and which field of the model each of them belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scythe_cli.errors import SamplingFileError
from scythe_cli.model.columns import REPLICATE, RESERVED_INPUT_FIELDS, extra_column, own_extra
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.sampling.field_names import field_names, find_field, nested_model, suggestion
from scythe_cli.sampling.problems import CellProblem, listing

__all__ = [
    "FieldColumn",
    "FieldGroup",
    "Match",
    "RawFile",
    "Source",
    "check_names",
    "chunked",
    "columns_of_source",
    "match_columns",
    "rows_of_source",
]


_MAX_DEPTH = 32
_MAX_FIELDS_IN_HINT = 40
# of what is wrong with names of columns; a file can have thousands, of any length
_MAX_NAMES = 10
_MAX_NAME = 60


@dataclass(frozen=True)
class RawFile:
    """The cells of a sampling file, before they are validated.

    Attributes:
        path: The file, as it is shown.
        names: The names of the columns.
        columns: The columns; null where a cell is missing.
        n_rows: The number of cases.
        row_label: Where a case is, for a person.
        base: The folder, or the URL of one, that relative paths in cells start from; None if there is none.
        is_text: Whether all cells are text, as in CSV, whatever they mean.
        decimal_comma: Whether numbers are written with a comma.
        as_json: The columns whose cells are JSON.
        notices: What there is to tell of the file, a line each.
        problems: Rows that are no cases, such as lines that are too short.
    """

    path: str | Path
    names: list[str]
    columns: list[pa.ChunkedArray[Any]]
    n_rows: int
    row_label: Callable[[int], str]
    base: str | None = None
    is_text: bool = True
    decimal_comma: bool = False
    as_json: frozenset[str] = frozenset()
    notices: list[str] = field(default_factory=list[str])
    problems: list[CellProblem] = field(default_factory=list[CellProblem])


def check_names(path: str | Path, names: Sequence[str]) -> None:
    """Check that each column has a name of its own.

    Raises:
        SamplingFileError: If a name is empty or comes twice.
    """
    empty = [str(position) for position, name in enumerate(names, 1) if not name]
    if empty:
        raise SamplingFileError(f"{path}: column {_some(empty)} has no name")
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise SamplingFileError(f"{path}: more than one column is named {_some([_short(name) for name in twice])}")


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _MAX_NAMES} more" if len(items) > _MAX_NAMES else ""
    return ", ".join(items[:_MAX_NAMES]) + more


def _short(name: str) -> str:
    return repr(name) if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]!r}…"


def chunked(chunks: list[Any], type_: Any) -> pa.ChunkedArray[Any]:
    """Join arrays without copying them; the stubs of `chunked_array` know only some types."""
    return pa.chunked_array(chunks, type_)


@dataclass(frozen=True, slots=True)
class FieldColumn:
    """A field, or a part of one, that a single column gives.

    Attributes:
        column: The column's name in the file.
        cells: The column; null where the cell is missing.
        info: The field.
        model: The model that has the field.
        name: The name of the field.
    """

    column: str
    cells: pa.ChunkedArray[Any]
    info: FieldInfo
    model: type[BaseModel] = BaseModel
    name: str = ""


@dataclass(slots=True)
class FieldGroup:
    """A nested model whose parts are columns.

    Attributes:
        column: The dotted name down to here.
        info: The field that holds the nested model.
        model: The nested model.
        parts: What gives each of its fields, by field name.
    """

    column: str
    info: FieldInfo
    model: type[BaseModel]
    parts: dict[str, Source] = field(default_factory=dict[str, "Source"])


Source = FieldColumn | FieldGroup


@dataclass(frozen=True, slots=True)
class Match:
    """The columns of a file, sorted by what they are for.

    Attributes:
        sources: What gives each field, by field name, in the order of the model.
        defaulted: The fields that the file lacks.
        ignored: The reserved columns that the file has.
        extras: The columns beyond the fields of a model that takes such.
        skipped: The columns that are left out, since the model ignores what it does not know, or by name.
        replicate: The column that tells which replicate of its case a row is, if there is one.
    """

    sources: dict[str, Source]
    defaulted: list[str]
    ignored: list[str]
    extras: dict[str, FieldColumn]
    skipped: list[str]
    replicate: str | None = None


def columns_of_source(source: Source) -> Iterator[FieldColumn]:
    """The columns that a field, or a part of one, comes from."""
    if isinstance(source, FieldColumn):
        yield source
    else:
        for part in source.parts.values():
            yield from columns_of_source(part)


def rows_of_source(source: Source, start: int, stop: int, rows: Any) -> Source:
    """A field as it is in some rows: those at the positions `rows` of the rows from `start` to `stop`."""
    if isinstance(source, FieldColumn):
        cells: Any = source.cells.slice(start, stop - start).take(rows)
        return replace(source, cells=cells)
    parts = {name: rows_of_source(part, start, stop, rows) for name, part in source.parts.items()}
    return FieldGroup(source.column, source.info, source.model, parts)


def match_columns(
    raw: RawFile,
    model: type[ExperimentInputSpec],
    *,
    is_part: bool = False,
    ignore: Sequence[str] = (),
    experiment: str | None = None,
) -> Match:
    """Find the field of each column.

    Args:
        raw: The columns.
        model: The model.
        is_part: Whether these are some of the columns of a file whose other columns are known to be right.
        ignore: Columns to leave out, by name or pattern (`*` stands for anything).
        experiment: The experiment whose inputs the model describes, as messages name it.

    Raises:
        SamplingFileError: If a column belongs to no field, two to the same, or none to a field that has no default.
    """
    root = FieldGroup("", FieldInfo(annotation=model), model)
    ignored: list[str] = []
    skipped: list[str] = []
    extras: dict[str, FieldColumn] = {}
    replicate: str | None = None
    mistakes = [f"there is no column {name!r} to ignore" for name in ignore if not is_part and not _matching(name, raw)]
    for name, cells in zip(raw.names, raw.columns, strict=True):
        if name.split(".")[0] in RESERVED_INPUT_FIELDS:
            ignored.append(name)
        elif any(fnmatchcase(name, pattern) for pattern in ignore):
            skipped.append(name)
        elif name == REPLICATE and own_extra(model) != "allow" and _is_unknown(model, name, cells):
            replicate = name
        elif own_extra(model) in ("allow", "ignore") and _is_unknown(model, name, cells):
            if own_extra(model) == "ignore":
                skipped.append(name)
            else:
                extras[name] = FieldColumn(name, cells, extra_column(name).info, model, name)
        else:
            mistakes += _place(root, name, name, cells, model)
    sources = {name: root.parts[name] for name in model.model_fields if name in root.parts}
    defaulted: list[str] = []
    for name, info in model.model_fields.items():
        if name in sources or name in RESERVED_INPUT_FIELDS:
            continue
        if not info.is_required():
            defaulted.append(name)
        elif not is_part:
            mistakes.append(f"missing column {name!r}: the field has no default")
    for source in sources.values():
        mistakes += _missing_parts(source)
    if mistakes:
        _raise(raw, model, [*mistakes, *map(str, raw.problems)], experiment)
    return Match(sources, defaulted, ignored, extras, skipped, replicate)


def _matching(pattern: str, raw: RawFile) -> bool:
    return any(fnmatchcase(name, pattern) for name in raw.names)


def _is_unknown(model: type[BaseModel], name: str, cells: pa.ChunkedArray[Any]) -> bool:
    if find_field(model, name)[0] is not None:
        return False
    return not (
        pa.types.is_struct(cells.type) and any(find_field(model, f"{name}.{part.name}")[0] for part in cells.type)
    )


def _raise(raw: RawFile, model: type[BaseModel], mistakes: Sequence[str], experiment: str | None) -> None:
    names = [name for name in field_names(model) if name.split(".")[0] not in RESERVED_INPUT_FIELDS]
    more = ", ..." if len(names) > _MAX_FIELDS_IN_HINT else ""
    fields = f"inputs of {experiment}" if experiment else f"fields of {model.__name__}"
    hint = f"The {fields} are {', '.join(names[:_MAX_FIELDS_IN_HINT])}{more}." if names else None
    if len(mistakes) == 1:
        raise SamplingFileError(f"{raw.path}: {mistakes[0]}", hint=hint)
    title = f"{raw.path}: the columns do not match the {fields}"
    raise SamplingFileError(listing(title, mistakes, len(mistakes)), hint=hint)


def _place(
    group: FieldGroup, name: str, rest: str, cells: pa.ChunkedArray[Any], root: type[BaseModel], depth: int = 0
) -> Iterator[str]:
    """Put a column into the tree; yields what is wrong with it."""
    field_name, tail = find_field(group.model, rest)
    if field_name is None and pa.types.is_struct(cells.type) and depth <= _MAX_DEPTH:
        parts = list(zip(cells.type, cells.flatten(), strict=True))
        if any(find_field(group.model, f"{rest}.{part.name}")[0] for part, _ in parts):  # a path of names
            for part, column in parts:
                yield from _place(group, f"{name}.{part.name}", f"{rest}.{part.name}", column, root, depth + 1)
            return
    if field_name is None or depth > _MAX_DEPTH:
        if group.model.model_config.get("extra") == "ignore" and depth:
            return
        yield f"unknown column {name!r}{suggestion(name, root)}"
        return
    info = group.model.model_fields[field_name]
    present = group.parts.get(field_name)
    prefix = name[: len(name) - len(tail) - 1] if tail else name
    nested = nested_model(info.annotation)
    if not tail and not (nested is not None and pa.types.is_struct(cells.type)):
        if present is not None:
            yield f"columns {_a_column_of(present)!r} and {name!r} are for the same field"
            return
        group.parts[field_name] = FieldColumn(name, cells, info, group.model, field_name)
        return
    if nested is None:
        yield f"unknown column {name!r}{suggestion(name, root)}"
        return
    if isinstance(present, FieldColumn):
        yield f"columns {_a_column_of(present)!r} and {name!r} are for the same field"
        return
    if present is None:
        present = group.parts[field_name] = FieldGroup(prefix, info, nested)
    if tail:
        yield from _place(present, name, tail, cells, root, depth + 1)
        return
    # null in a struct is null in each of its parts
    for part, column in zip(cast("pa.StructType", cells.type), cells.flatten(), strict=True):
        yield from _place(present, f"{name}.{part.name}", part.name, column, root, depth + 1)


def _a_column_of(source: Source) -> str:
    """One of the columns of the file that a field comes from."""
    while isinstance(source, FieldGroup) and source.parts:  # of a struct, all fields may be unknown
        source = next(iter(source.parts.values()))
    return source.column


def _missing_parts(source: Source) -> Iterator[str]:
    if isinstance(source, FieldGroup):
        for name, info in source.model.model_fields.items():
            if name in source.parts:
                yield from _missing_parts(source.parts[name])
            elif info.is_required():
                yield f"missing column '{source.column}.{name}': the field has no default"
