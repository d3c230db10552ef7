"""What the user says of single fields: ranges, values, one value for all rows, distributions and levels."""

from __future__ import annotations

import difflib
import glob
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from scythe_cli.doe.domains import Leaf, Number, Numbers
from scythe_cli.errors import UsageError
from scythe_cli.model.kinds import ColumnError

__all__ = [
    "Chosen",
    "FieldSettings",
    "Given",
    "Range",
    "SampleOptions",
    "SampleOptionsDict",
    "read_settings",
    "split_values",
]


Given = str | int | float | Sequence[Any]
"""What a caller says of a field: the text of an option, one value, a tuple (low, high), or a list of values."""

_MAX_LIST = 1_000_000


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two ends, both part of it unless the model excludes them."""

    low: Number
    high: Number


@dataclass(frozen=True, slots=True)
class Chosen:
    """Values that the user chose.

    Attributes:
        cells: The values as cells of the column.
        shown: The values for a record.
    """

    cells: pa.Array[Any]
    shown: list[Any]


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """Everything that can be said of fields; names are dotted for nested models.

    Attributes:
        set: A range as `(low, high)` or `"low:high"`, or values as a list or `"a,b,c"`.
        fix: One value for all rows.
        levels: How many levels a field has in `grid` and `oat`.
        default_levels: How many a continuous field has that `levels` does not name.
        log: Fields that are spread evenly on a logarithmic scale.
        normal: Mean and standard deviation, as `(mean, sd)` or `"mean:sd"`.
        triangular: `(low, mode, high)`, or `"low:mode:high"`.
        only: The fields that vary; None for all that have bounds.
    """

    set: Mapping[str, Given] = field(default_factory=dict[str, Given])
    fix: Mapping[str, Any] = field(default_factory=dict[str, Any])
    levels: Mapping[str, int] = field(default_factory=dict[str, int])
    default_levels: int | None = None
    log: Collection[str] = ()
    normal: Mapping[str, Given] = field(default_factory=dict[str, Given])
    triangular: Mapping[str, Given] = field(default_factory=dict[str, Given])
    only: Collection[str] | None = None


class SampleOptionsDict(TypedDict, total=False):
    """`SampleOptions` as keyword arguments."""

    set: Mapping[str, Given]
    fix: Mapping[str, Any]
    levels: Mapping[str, int]
    default_levels: int | None
    log: Collection[str]
    normal: Mapping[str, Given]
    triangular: Mapping[str, Given]
    only: Collection[str] | None


@dataclass(slots=True)
class FieldSettings:
    """What was said of one field, read with the field's type."""

    set: Range | Chosen | None = None
    fix: Chosen | None = None
    levels: int | None = None
    log: bool = False
    normal: tuple[float, float] | None = None
    triangular: tuple[float, float, float] | None = None
    only: bool = False

    @property
    def varies(self) -> bool:
        """Whether the field was told to vary."""
        spread = self.log or self.normal is not None or self.triangular is not None
        return self.set is not None or spread or self.levels is not None or self.only


def read_settings(
    options: SampleOptions, leaves: Sequence[Leaf], *, from_folder: Path, to_folder: Path
) -> dict[str, FieldSettings]:
    """Read what was said of fields.

    Args:
        options: What was said.
        leaves: The fields.
        from_folder: Where relative paths of files start from as they are given.
        to_folder: Where they start from in the file that is made.

    Raises:
        UsageError: If a field is not there, or what is said of it cannot be.
    """
    by_name = {leaf.name: leaf for leaf in leaves}
    settings = {name: FieldSettings() for name in by_name}
    folders = _Folders(from_folder, to_folder)
    for name, given in options.set.items():
        leaf = _leaf(by_name, "--set", name)
        settings[name].set = _range_or_values(leaf, given, folders)
    for name, given in options.fix.items():
        leaf = _leaf(by_name, "--fix", name)
        settings[name].fix = _fixed(leaf, given, folders)
    for name, n in options.levels.items():
        _leaf(by_name, "--levels", name)
        settings[name].levels = _count(f"--levels {name}", n)
    for name in options.log:
        _leaf(by_name, "--log", name)
        settings[name].log = True
    for name, given in options.normal.items():
        _leaf(by_name, "--normal", name)
        settings[name].normal = _normal(name, given)
    for name, given in options.triangular.items():
        _leaf(by_name, "--triangular", name)
        settings[name].triangular = _triangular(name, given)
    for name in options.only or ():
        _leaf(by_name, "--only", name)
        settings[name].only = True
    if options.default_levels is not None:
        _count("--levels", options.default_levels)
    for name, each in settings.items():
        _check(name, each)
    return settings


def _leaf(leaves: Mapping[str, Leaf], option: str, name: str) -> Leaf:
    if name in leaves:
        return leaves[name]
    parts = [other for other in leaves if other.startswith(f"{name}.")]
    if parts:
        raise UsageError(f"{option} {name}: this is a nested model", hint=f"Name a part of it: {', '.join(parts)}.")
    close = difflib.get_close_matches(name, leaves, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"The fields are {', '.join(leaves)}."
    raise UsageError(f"{option}: there is no field {name!r}", hint=hint)


def _count(option: str, n: int) -> int:
    if n < 1:
        raise UsageError(f"{option}: {n} levels; there must be at least 1")
    return n


def _check(name: str, each: FieldSettings) -> None:
    spreads = [
        option
        for option, given in (
            ("--log", each.log),
            ("--normal", each.normal is not None),
            ("--triangular", each.triangular is not None),
        )
        if given
    ]
    if each.fix is not None and each.varies:
        raise UsageError(f"{name}: --fix gives it one value, and another option lets it vary")
    if len(spreads) > 1:
        raise UsageError(f"{name}: {' and '.join(spreads)} do not go together")
    if spreads and isinstance(each.set, Chosen):
        raise UsageError(f"{name}: {spreads[0]} needs a range, and --set gives single values")
    if each.levels is not None and isinstance(each.set, Chosen):
        raise UsageError(f"{name}: --levels needs a range, and --set gives the values themselves")


@dataclass(frozen=True, slots=True)
class _Folders:
    given: Path
    written: Path


def _range_or_values(leaf: Leaf, given: Given, folders: _Folders) -> Range | Chosen:
    option = f"--set {leaf.name}"
    if isinstance(given, tuple):
        if len(given) != 2:
            raise UsageError(f"{option}: a range has two ends, not {len(given)}", hint="Give single values as a list.")
        return _range(leaf, option, *given)
    if isinstance(given, str):
        if isinstance(leaf.domain, Numbers) and not given.startswith("@"):
            found = _range_in_text(leaf, option, given)
            if found is not None:
                return found
        return _chosen(leaf, option, _items(leaf, option, given, folders))
    items = list(given) if isinstance(given, Sequence) else [given]
    return _chosen(leaf, option, _items_of_files(leaf, option, items, folders))


def _fixed(leaf: Leaf, given: Any, folders: _Folders) -> Chosen:
    option = f"--fix {leaf.name}"
    chosen = _chosen(leaf, option, _items_of_files(leaf, option, [given], folders))
    if len(chosen.shown) != 1:
        raise UsageError(f"{option}: it stands for {len(chosen.shown)} files; --set varies over them")
    return chosen


def _range_in_text(leaf: Leaf, option: str, text: str) -> Range | Chosen | None:
    """Read `low:high`, `low..high` or `low:high:step`; None where the text is a list of values."""
    if "," in text:
        return None
    if ".." in text:
        low, _, high = text.partition("..")
        return _range(leaf, option, low, high)
    if ":" not in text:
        return None
    parts = text.split(":")
    assert isinstance(leaf.domain, Numbers)
    if len(parts) == 3 and leaf.domain.scale.kind in ("float", "int", "decimal"):
        return _stepped(leaf, option, parts)
    # a time of day has colons of its own
    pairs = [(":".join(parts[:i]), ":".join(parts[i:])) for i in range(1, len(parts))]
    fitting = [pair for pair in pairs if all(not end or _is_value(leaf, end) for end in pair)]
    if len(fitting) == 1:
        return _range(leaf, option, *fitting[0])
    if len(fitting) > 1 or (len(pairs) > 1 and not _is_value(leaf, text)):
        raise UsageError(f"{option}={text}: it is not clear where the range begins", hint="Write low..high.")
    if _is_value(leaf, text):
        return None
    return _range(leaf, option, *pairs[0])


def _range(leaf: Leaf, option: str, low: Any, high: Any) -> Range:
    domain = leaf.domain
    if not isinstance(domain, Numbers):
        raise UsageError(f"{option}: only numbers, dates and times have ranges", hint="Give it values: a,b,c.")
    ends: list[Number] = []
    for end, own, word in ((low, domain.low, "lower"), (high, domain.high, "upper")):
        if end is None or (isinstance(end, str) and not end.strip()):
            if own is None:
                raise UsageError(f"{option}: the {word} end is left out, and the model has none")
            ends.append(own)
        else:
            ends.append(_end(leaf, domain, option, end))
    if not all(math.isfinite(end) for end in ends):
        raise UsageError(f"{option}: the ends of a range are finite numbers")
    if ends[0] > ends[1]:
        raise UsageError(f"{option}: {domain.scale.plain(ends[0])} is more than {domain.scale.plain(ends[1])}")
    for end, own in zip(ends, (domain.low, domain.high), strict=True):
        # an end that the model excludes stays excluded
        if end != own and not domain.contains(end):
            raise UsageError(f"{option}: {domain.scale.plain(end)} is out of the model's bounds: {domain}")
    return Range(ends[0], ends[1])


def _end(leaf: Leaf, domain: Numbers, option: str, end: Any) -> Number:
    try:
        return domain.scale.number(_value(leaf, option, end, bounded=False))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f"{option}: {end}: {error}") from None


def _stepped(leaf: Leaf, option: str, parts: Sequence[str]) -> Chosen:
    try:
        low, high, step = map(float, parts)
    except ValueError:
        raise UsageError(f"{option}={':'.join(parts)}: it is no low:high:step") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high and 0 < step < math.inf):
        raise UsageError(f"{option}: low:high:step goes up, from {parts[0]} to {parts[1]} by {parts[2]}")
    n = math.floor((high - low) / step * (1 + 1e-12) + 1e-9) + 1
    if n > _MAX_LIST:
        raise UsageError(f"{option}: these are {n:,} values, more than {_MAX_LIST:,}")
    values = [float(f"{low + i * step:.15g}") for i in range(n)]
    if all(value.is_integer() for value in values):
        return _chosen(leaf, option, [int(value) for value in values])
    return _chosen(leaf, option, values)


def split_values(text: str) -> list[str]:
    """Split at commas, but not at those inside of brackets or double quotes: values may be JSON."""
    items: list[str] = []
    depth, quoted, start = 0, False, 0
    for position, character in enumerate(text):
        if character == '"' and (position == 0 or text[position - 1] != "\\"):
            quoted = not quoted
        elif not quoted and character in "[{":
            depth += 1
        elif not quoted and character in "]}":
            depth -= 1
        elif not quoted and character == "," and depth <= 0:
            items.append(text[start:position])
            start = position + 1
    return [item.strip() for item in (*items, text[start:])]


def _items(leaf: Leaf, option: str, text: str, folders: _Folders) -> list[Any]:
    if text.startswith("@"):
        path = folders.given / Path(text[1:]).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"{option}: cannot read the values of {text[1:]}: {reason}") from None
        items: list[Any] = [line.strip() for line in lines if line.strip()]
    else:
        items = split_values(text)
    if not items or not all(items):
        raise UsageError(f"{option}={text}: a value is empty", hint="Values are separated by commas: a,b,c.")
    return _items_of_files(leaf, option, items, folders)


def _items_of_files(leaf: Leaf, option: str, items: Sequence[Any], folders: _Folders) -> list[Any]:
    if not leaf.column.is_file:
        return list(items)
    return [path for item in items for path in _files(option, os.fspath(item) if item is not None else "", folders)]


def _files(option: str, item: str, folders: _Folders) -> list[str]:
    """The files that a path or a pattern stands for, as they are written in the file that is made."""
    if "://" in item:
        return [item]
    path = folders.given / Path(item).expanduser()
    if path.exists():
        found = [str(path)]
    elif glob.has_magic(item):
        found = sorted(
            match
            for match in glob.glob(str(path), recursive=True)  # noqa: PTH207 - the pattern may be absolute
            if Path(match).is_file()
        )
        if not found:
            raise UsageError(f"{option}: no file matches {item}")
    else:
        raise UsageError(f"{option}: there is no file {item}", hint="Paths are taken from the working directory.")
    for each in found:
        if Path(each).is_dir():
            raise UsageError(f"{option}: {item} is a folder", hint=f"A pattern stands for the files in it: {item}/*")
    try:
        return [Path(os.path.relpath(each, folders.written)).as_posix() for each in found]
    except ValueError:  # another drive
        return [str(Path(each).absolute()) for each in found]


def _chosen(leaf: Leaf, option: str, items: Sequence[Any]) -> Chosen:
    values = [_value(leaf, option, item) for item in items]
    column = leaf.column
    if column.is_file:
        texts = [str(item) for item in items]
        return Chosen(pa.array(texts, pa.string()), texts)
    shown = [to_jsonable_python(value, fallback=str) for value in values]
    if column.is_scalar and not column.is_json:
        try:
            return Chosen(column.array(values), shown)
        except ColumnError as error:
            raise UsageError(f"{option}: {error}") from None
    return Chosen(pa.array([_cell_text(item) for item in items], pa.string()), shown)


def _cell_text(item: Any) -> str:
    import json

    return item if isinstance(item, str) else json.dumps(to_jsonable_python(item, fallback=str))


def _is_value(leaf: Leaf, text: str) -> bool:
    try:
        _value(leaf, "", text, bounded=False)
    except UsageError:
        return False
    return True


def _value(leaf: Leaf, option: str, item: Any, *, bounded: bool = True) -> Any:
    """What pydantic makes of a value that is given for a field, from text as it does for a cell of a CSV file.

    Args:
        leaf: The field.
        option: What it was given with, for the message.
        item: The value.
        bounded: Whether the field's bounds apply.

    Raises:
        UsageError: If it refuses it.
    """
    from scythe_cli.sampling.cells import Unusable, interpreter_of
    from scythe_cli.sampling.matching import Cell

    info = leaf.info
    annotation: Any = info.rebuild_annotation()
    if not bounded:
        assert isinstance(leaf.domain, Numbers)
        annotation = leaf.domain.scale.type
    given = item
    if isinstance(item, str) and not leaf.column.is_file:
        cells = pa.chunked_array([pa.array([item], pa.string())])
        interpret = interpreter_of(Cell(leaf.name, cells, info), Path())
        given = item if interpret is None else interpret(item)
        if isinstance(given, Unusable):
            raise UsageError(f"{option}: {item}: {given.message}")
    try:
        try:
            value = TypeAdapter[Any](annotation, config={"arbitrary_types_allowed": True}).validate_python(given)
        except PydanticUserError:
            # a nested model by itself goes by its own config, and pydantic says so
            value = TypeAdapter[Any](annotation).validate_python(given)
    except ValidationError as error:
        message = error.errors(include_url=False, include_context=False)[0]["msg"]
        raise UsageError(f"{option}: {item}: {message}") from None
    if value is None and leaf.own_default is not None:
        raise UsageError(f"{option}: no value cannot be one: an empty cell stands for the default")
    return value


def _normal(name: str, given: Given) -> tuple[float, float]:
    mean, sd = _numbers(f"--normal {name}", given, "MEAN:SD", 2)
    if sd <= 0:
        raise UsageError(f"--normal {name}: the standard deviation is {sd:g}; it must be more than 0")
    return mean, sd


def _triangular(name: str, given: Given) -> tuple[float, float, float]:
    low, mode, high = _numbers(f"--triangular {name}", given, "LOW:MODE:HIGH", 3)
    if not (low <= mode <= high and low < high):
        raise UsageError(f"--triangular {name}: {low:g}, {mode:g}, {high:g} do not go up")
    return low, mode, high


def _numbers(option: str, given: Given, form: str, n: int) -> list[float]:
    parts: Sequence[Any] = given.split(":") if isinstance(given, str) else given if isinstance(given, Sequence) else []
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != n or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{option}: {given} is no {form}")
    return numbers
