"""Which of what a run offers becomes which input of the next experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa

from scythe_cli.errors import SamplingFileError, UsageError
from scythe_cli.model.columns import RESERVED_INPUT_FIELDS, own_extra
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.sampling.field_names import field_names, find_field, nested_model, suggestion
from scythe_cli.sampling.file_columns import RawFile
from scythe_cli.services.chains.offer import Offer, OfferedColumn, ambiguity, choices, parts_of

__all__ = ["Selection", "everything", "select"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The columns of cases.

    Attributes:
        columns: By input of the next experiment.
        references: By input, what it was, as the manifest keeps it.
        unused: What the run offers and the next experiment has no input for.
    """

    columns: dict[str, OfferedColumn]
    references: dict[str, str]
    unused: list[str]

    def raw(self, offer: Offer) -> RawFile:
        """The columns as those of a sampling file."""
        as_json = frozenset(name for name, column in self.columns.items() if column.is_json)
        cells = [_chunked(column.cells) for column in self.columns.values()]
        return RawFile(offer.run, list(self.columns), cells, offer.n_rows, offer.label, is_text=False, as_json=as_json)


def _chunked(cells: Any) -> Any:
    return cells if isinstance(cells, pa.ChunkedArray) else pa.chunked_array([cells])


def everything(offer: Offer, mapped: Mapping[str, str]) -> Selection:
    """All that has a name which means one thing: for a function whose parameters have their types from it."""
    selection = Selection({}, {}, [])
    for new, old in mapped.items():
        _add(selection, new, old, offer.find(old, f"--map {new}={old}"))
    for name in offer.names():
        if name not in selection.columns and name.isidentifier():
            _add(selection, name, name, offer.named(name)[0])
    return selection


def select(
    offer: Offer,
    model: type[ExperimentInputSpec],
    mapped: Mapping[str, str],
    ignored: Sequence[str],
    experiment: str,
) -> Selection:
    """Choose the inputs of the next experiment: what is mapped, and else what has the same name.

    Args:
        offer: What there is.
        model: Its input model.
        mapped: By input, what it is to be.
        ignored: Inputs that are to keep their default, by name or pattern.
        experiment: Its name, for messages.

    Raises:
        UsageError: If something is mapped that is not there, or a name means two things.
        SamplingFileError: If there is nothing for an input that has no default.
    """
    selection = Selection({}, {}, [])
    for new, old in mapped.items():
        if not _is_input(model, new) and own_extra(model) != "allow":
            raise UsageError(
                f"--map {new}={old}: {experiment} has no input {new!r}{suggestion(new, model)}",
                hint=f"Its inputs are {', '.join(_inputs(model))}.",
            )
        _add(selection, new, old, offer.find(old, f"--map {new}={old}"))
    used = {column.name for column in selection.columns.values()}
    for column in offer.columns:
        fitting = list(_fitting(model, column))
        for new, path in fitting:
            if _is_given(new, selection.columns) or _is_ignored(new, ignored):
                continue
            alike = offer.named(column.name)
            if len(alike) > 1:
                raise UsageError(
                    f"{ambiguity(offer.run, alike)}, and {experiment} has an input of that name",
                    hint=f"Write {choices(alike, new)}.",
                )
            part = column.part(path)
            if part is not None:
                _add(selection, new, ".".join([column.name, *path]), part)
        if not fitting and column.name not in used and column.side != "feature":
            selection.unused.append(column.name)
    _check_required(offer, model, selection, experiment)
    return selection


def _add(selection: Selection, new: str, reference: str, column: OfferedColumn) -> None:
    selection.columns[new] = column
    selection.references[new] = reference


def _is_given(new: str, chosen: Mapping[str, Any]) -> bool:
    """Whether an input has a value already, or what it is a part of, or a part of it."""
    return any(new == name or new.startswith(f"{name}.") or name.startswith(f"{new}.") for name in chosen)


def _is_ignored(new: str, ignored: Sequence[str]) -> bool:
    return any(fnmatchcase(new, pattern) for pattern in ignored)


def _is_input(model: Any, dotted: str) -> bool:
    """Whether a model has a field of this name, dotted for a part of a nested model."""
    name, tail = find_field(model, dotted)
    if name is None or (not tail and name in RESERVED_INPUT_FIELDS and issubclass(model, ExperimentInputSpec)):
        return False
    if not tail:
        return True
    nested = nested_model(model.model_fields[name].annotation)
    return nested is not None and _is_input(nested, tail)


def _fitting(model: type[ExperimentInputSpec], column: OfferedColumn) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The inputs that a column has the name of: itself, or parts of it."""
    name, tail = find_field(model, column.name)
    is_struct = pa.types.is_struct(column.cells.type)
    if name is not None and not tail and name not in RESERVED_INPUT_FIELDS:
        if not is_struct or nested_model(model.model_fields[name].annotation) is None:
            yield column.name, ()
            return
    elif not is_struct:
        if _is_input(model, column.name):
            yield column.name, ()
        return
    for path in parts_of(column.cells.type):
        dotted = ".".join([column.name, *path])
        if _is_input(model, dotted):
            yield dotted, path


def _inputs(model: type[ExperimentInputSpec]) -> list[str]:
    return [name for name in field_names(model) if name.split(".")[0] not in RESERVED_INPUT_FIELDS]


def _check_required(offer: Offer, model: type[ExperimentInputSpec], selection: Selection, experiment: str) -> None:
    there = {find_field(model, name)[0] for name in selection.columns}
    missing = [
        name
        for name, info in model.model_fields.items()
        if info.is_required() and name not in there and name not in RESERVED_INPUT_FIELDS
    ]
    if not missing:
        return
    lines = [f"missing column {name!r}: the field has no default" for name in missing]
    title = f"{offer.run}: the columns do not match the inputs of {experiment}"
    text = f"{offer.run}: {lines[0]}" if len(lines) == 1 else "\n".join([title, *(f"  {line}" for line in lines)])
    names = offer.names()
    more = ", …" if len(names) > 20 else ""
    raise SamplingFileError(text, hint=f"--map {missing[0]}=NAME takes it from one of: {', '.join(names[:20])}{more}.")
