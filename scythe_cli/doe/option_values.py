"""Ranges and values of fields, from the text of options or from Python, read with the type of the field."""

from __future__ import annotations

import glob
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from scythe_cli.core.text import plain_message
from scythe_cli.doe.domains import Leaf
from scythe_cli.doe.scales import Number, Numbers
from scythe_cli.errors import UsageError
from scythe_cli.model.kinds import ColumnError

__all__ = ["Chosen", "Folders", "OptionValue", "Range", "fixed_value", "range_or_values"]


OptionValue = str | int | float | Sequence[Any] | Mapping[Any, float]
"""What a caller says of a field: the text of an option, one value, a tuple (low, high), a list of values, or values
with their probabilities."""

_MAX_LIST = 1_000_000
_SHARE = re.compile(r"(?P<value>.*\S)\s*:\s*(?P<percent>[0-9]+\.?[0-9]*|\.[0-9]+)\s*%", re.DOTALL)
_SHARE_SLACK = 1e-6


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
        probabilities: How likely each is; None where all are alike.
    """

    cells: pa.Array[Any]
    shown: list[Any]
    probabilities: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Folders:
    """Where relative paths of files start from.

    Attributes:
        source: Of those that the user writes.
        target: Of those in the sampling file that is made.
    """

    source: Path
    target: Path


def range_or_values(leaf: Leaf, value: OptionValue, folders: Folders) -> Range | Chosen:
    """Read what `--set` says of a field.

    Raises:
        UsageError: If it is no range and no values, or the field cannot have them.
    """
    option = f"--set {leaf.name}"
    if isinstance(value, tuple):
        if len(value) != 2:
            raise UsageError(f"{option}: a range has two ends, not {len(value)}", hint="Give single values as a list.")
        return _range(leaf, option, *value)
    if isinstance(value, str):
        if isinstance(leaf.domain, Numbers) and not value.startswith("@"):
            in_text = _range_in_text(leaf, option, value)
            if in_text is not None:
                return in_text
        texts = _items(leaf, option, value, folders)
        items, shares = _with_shares(option, texts)
        return _likely(_chosen(leaf, option, _items_of_files(leaf, option, items, folders)), option, shares)
    if isinstance(value, Mapping) and (leaf.column.is_scalar or leaf.column.is_file):
        items, shares = list(value), [float(share) for share in value.values()]
        return _likely(_chosen(leaf, option, _items_of_files(leaf, option, items, folders)), option, shares)
    items = list(value) if isinstance(value, Sequence) else [value]
    return _chosen(leaf, option, _items_of_files(leaf, option, items, folders))


def fixed_value(leaf: Leaf, value: Any, folders: Folders) -> Chosen:
    """Read what `--fix` says of a field: one value.

    Raises:
        UsageError: If the field cannot have it, or it stands for several files.
    """
    option = f"--fix {leaf.name}"
    chosen = _chosen(leaf, option, _items_of_files(leaf, option, [value], folders))
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
                raise UsageError(f"{option}: the {word} end is missing, and the model has none")
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
        raise UsageError(f"{option}={':'.join(parts)}: it is not of the form low:high:step") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high and 0 < step < math.inf):
        raise UsageError(f"{option}: low:high:step goes up, from {parts[0]} to {parts[1]} by {parts[2]}")
    n = math.floor((high - low) / step * (1 + 1e-12) + 1e-9) + 1
    if n > _MAX_LIST:
        raise UsageError(f"{option}: these are {n:,} values, more than {_MAX_LIST:,}")
    values = [float(f"{low + i * step:.15g}") for i in range(n)]
    if all(value.is_integer() for value in values):
        return _chosen(leaf, option, [int(value) for value in values])
    return _chosen(leaf, option, values)


def _split_values(text: str) -> list[str]:
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


def _items(leaf: Leaf, option: str, text: str, folders: Folders) -> list[Any]:
    if text.startswith("@"):
        path = folders.source / Path(text[1:]).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"{option}: cannot read the values of {text[1:]}: {reason}") from None
        items: list[Any] = [line.strip() for line in lines if line.strip()]
    else:
        items = _split_values(text)
    if not items or not all(items):
        raise UsageError(f"{option}={text}: a value is empty", hint="Values are separated by commas: a,b,c.")
    return items


def _with_shares(option: str, texts: Sequence[str]) -> tuple[list[str], list[float] | None]:
    """Values and their probabilities, as of `a:70%,b:30%`; None where there are none."""
    matches = [_SHARE.fullmatch(text) for text in texts]
    if not any(matches):
        return list(texts), None
    without = [text for text, match in zip(texts, matches, strict=True) if match is None]
    if without:
        raise UsageError(
            f"{option}: {without[0]} has no probability, and others have one", hint="Write a:70%,b:20%,c:10%."
        )
    found = [match for match in matches if match is not None]
    return [match["value"] for match in found], [float(match["percent"]) / 100 for match in found]


def _likely(chosen: Chosen, option: str, shares: Sequence[float] | None) -> Chosen:
    """Values with their probabilities.

    Raises:
        UsageError: If these are not one for each value, each above 0, and together 1.
    """
    if shares is None:
        return chosen
    if len(shares) != len(chosen.shown):
        raise UsageError(f"{option}: a pattern stands for several files, and each needs a probability of its own")
    if not all(share > 0 for share in shares):
        raise UsageError(f"{option}: a probability must be more than 0", hint="Leave out values that never come.")
    total = math.fsum(shares)
    if not abs(total - 1) <= _SHARE_SLACK:
        raise UsageError(f"{option}: the probabilities make {total * 100:.10g} %, and must make 100 %")
    return replace(chosen, probabilities=tuple(share / total for share in shares))


def _items_of_files(leaf: Leaf, option: str, items: Sequence[Any], folders: Folders) -> list[Any]:
    if not leaf.column.is_file:
        return list(items)
    return [path for item in items for path in _files(option, os.fspath(item) if item is not None else "", folders)]


def _files(option: str, item: str, folders: Folders) -> list[str]:
    """The files that a path or a pattern stands for, as they are written in the file that is made."""
    if "://" in item:
        return [item]
    pattern = str(Path(item).expanduser())
    path = folders.source / pattern
    if path.exists():
        files = [str(path)]
    elif glob.has_magic(item):
        files = sorted(
            str(folders.source / match)
            # the folder may have a name that looks like a pattern, and the pattern may be absolute
            for match in glob.glob(pattern, root_dir=folders.source, recursive=True)  # noqa: PTH207
            if (folders.source / match).is_file()
        )
        if not files:
            raise UsageError(f"{option}: no file matches {item}")
    else:
        raise UsageError(f"{option}: there is no file {item}", hint="Paths are relative to the working directory.")
    for each in files:
        if Path(each).is_dir():
            raise UsageError(f"{option}: {item} is a folder", hint=f"For all files in it, give a pattern: {item}/*")
    try:
        return [Path(os.path.relpath(each, folders.target)).as_posix() for each in files]
    except ValueError:  # another drive
        return [str(Path(each).absolute()) for each in files]


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
    return item if isinstance(item, str) else json.dumps(to_jsonable_python(item, fallback=str))


def _is_value(leaf: Leaf, text: str) -> bool:
    try:
        _value(leaf, "", text, bounded=False)
    except UsageError:
        return False
    return True


def _value(leaf: Leaf, option: str, item: Any, *, bounded: bool = True) -> Any:
    """What pydantic makes of a value for a field, from text as it does for a cell of a CSV file.

    Args:
        leaf: The field.
        option: The option that it comes from, for the message.
        item: The value.
        bounded: Whether the field's bounds apply.

    Raises:
        UsageError: If it refuses it.
    """
    from scythe_cli.sampling.decoding import Unusable, decoder_of
    from scythe_cli.sampling.file_columns import FieldColumn, RawFile

    info = leaf.info
    annotation: Any = info.rebuild_annotation()
    if not bounded:
        assert isinstance(leaf.domain, Numbers)
        annotation = leaf.domain.scale.type
    raw = item
    if isinstance(item, str) and not leaf.column.is_file:
        cells = pa.chunked_array([pa.array([item], pa.string())])
        source = FieldColumn(leaf.name, cells, info)
        decode = decoder_of(source, RawFile("", [leaf.name], [cells], 1, str, base=""))
        raw = item if decode is None else decode(item)
        if isinstance(raw, Unusable):
            raise UsageError(f"{option}: {item}: {raw.message}")
    try:
        try:
            value = TypeAdapter[Any](annotation, config={"arbitrary_types_allowed": True}).validate_python(raw)
        except PydanticUserError:
            # a nested model by itself goes by its own config, and pydantic says so
            value = TypeAdapter[Any](annotation).validate_python(raw)
    except ValidationError as error:
        message = plain_message(error.errors(include_url=False, include_context=False)[0]["msg"])
        raise UsageError(f"{option}: {item}: {message}") from None
    if value is None and leaf.own_default is not None:
        raise UsageError(f"{option}: an empty value cannot be listed: an empty cell means the default")
    return value
