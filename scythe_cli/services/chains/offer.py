"""What a run offers to the next experiment: its inputs, outputs, features and files, by the names that people write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from scythe_cli.core.text import hint_for
from scythe_cli.errors import UsageError
from scythe_cli.run.chain.files import StoredFile

__all__ = ["Offer", "OfferedColumn", "Rows", "parts_of"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

Rows = npt.NDArray[np.int64]

_SIDES = {"input": "an input", "output": "an output", "feature": "a computed feature"}
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class OfferedColumn:
    """A column of the rows that have succeeded.

    Attributes:
        name: As the experiment names it; dotted for a part of a nested model.
        side: `input`, `output` or `feature`.
        cells: Its values.
        is_json: Whether they are JSON.
        files: Of references to files, what they mean: files of the run, without those that lie elsewhere.
        also: Another name, such as `annual_yield:mean`.
    """

    name: str
    side: str
    cells: Any
    is_json: bool = False
    files: Callable[[Sequence[str]], dict[str, StoredFile]] | None = None
    also: str = ""

    @property
    def is_file(self) -> bool:
        """Whether they refer to files."""
        return self.files is not None

    def part(self, path: Sequence[str]) -> OfferedColumn | None:
        """A part of a nested model; None where it has no such part."""
        cells = self.cells
        for name in path:
            if not pa.types.is_struct(cells.type) or cells.type.get_field_index(name) < 0:
                return None
            cells = pc.struct_field(cells, name)
        return OfferedColumn(".".join([self.name, *path]), self.side, cells) if path else self


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to make cases from.

    Attributes:
        run: The experiment id.
        columns: What can be named.
        n_rows: How many rows there are.
        rows: For each row the rows of the run that it is made from: a list array of int64.
        label: What a row is called in messages.
    """

    run: str
    columns: tuple[OfferedColumn, ...]
    n_rows: int
    rows: Any
    label: Callable[[int], str]

    def names(self) -> list[str]:
        """All names that mean one thing, in the order of the columns."""
        return [column.name for column in self.columns if len(self.named(column.name)) == 1]

    def named(self, name: str) -> list[OfferedColumn]:
        """The columns that a name may mean: more than one where an input is called as an output."""
        whole = [column for column in self.columns if name in (column.name, column.also)]
        if whole:
            return whole
        parts: list[OfferedColumn] = []
        for column in self.columns:
            if name.startswith(f"{column.name}.") and (part := column.part(name[len(column.name) + 1 :].split("."))):
                parts.append(part)
        return parts

    def find(self, reference: str, option: str) -> OfferedColumn:
        """The column that a reference means: its name, with `input.`, `output.` or `feature.` before it if need be.

        Args:
            reference: What was written.
            option: Where, for messages.

        Raises:
            UsageError: If there is none, or more than one.
        """
        found = self.named(reference)
        side, _, name = reference.partition(".")
        if not found and side in _SIDES:
            found = [column for column in self.named(name) if column.side == side]
        if not found:
            raise UsageError(
                f"{option}: {self.run} has no input or output {reference!r}",
                hint=hint_for(reference, list(dict.fromkeys(column.name for column in self.columns))),
            )
        if len(found) > 1:
            raise UsageError(f"{option}: {ambiguity(self.run, found)}", hint=f"Write {choices(found)}.")
        return found[0]


def ambiguity(run: str, columns: Sequence[OfferedColumn]) -> str:
    """That a name means several columns."""
    sides = [_SIDES[column.side] for column in columns]
    return f"{columns[0].name!r} is {' and '.join(sides)} of {run}"


def choices(columns: Sequence[OfferedColumn], new: str | None = None) -> str:
    """What to write for each of the columns that a name means."""
    before = "" if new is None else f"--map {new}="
    return " or ".join(f"{before}{column.side}.{column.name}" for column in columns)


def parts_of(type_: Any, depth: int = 0) -> Iterator[tuple[str, ...]]:
    """The paths of all that is inside of a column of structs, down to what is no struct."""
    for field in type_:
        if pa.types.is_struct(field.type) and field.type.num_fields and depth < _DEEPEST:
            for path in parts_of(field.type, depth + 1):
                yield (field.name, *path)
        else:
            yield (field.name,)
