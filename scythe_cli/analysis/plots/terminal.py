"""From shapes to lines of text, for a terminal of any width: braille points, shades and bars, without colors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from scythe_cli.analysis.plots.shapes import (
    Axis,
    Bars,
    Boxes,
    Curve,
    Heat,
    Histogram,
    Pairs,
    Points,
    Shape,
    Tornado,
)

__all__ = ["text_of"]


_EIGHTHS = " ▏▎▍▌▋▊▉"
_SHADES = " ░▒▓█"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character: four rows of two dots, https://en.wikipedia.org/wiki/Braille_Patterns."""
_MARKS = "ox+*#@%&"
_LEVELS = ".:-=+*#@"
_MAX_LABEL = 28
_TEXT_BINS = 20


def text_of(shape: Shape, width: int, height: int = 20) -> str:
    """Draw a shape.

    Args:
        shape: What to draw.
        width: How many columns there are.
        height: How many lines the drawing itself may have, where it does not follow from the shape.
    """
    width, height = max(width, 40), max(height, 6)
    match shape:
        case Points():
            lines = _points(shape, width, height)
        case Heat():
            lines = _heat(shape, width, height)
        case Histogram():
            lines = _histogram(shape, width)
        case Boxes():
            lines = _boxes(shape, width)
        case Pairs():
            lines = _pairs(shape, width)
        case Tornado():
            lines = _tornado(shape, width)
        case Bars():
            lines = _bars(shape, width)
        case Curve():
            lines = _points(Points(shape.x, shape.y, shape.xs, shape.ys), width, height)
    return "\n".join(line[:width].rstrip() for line in lines)


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
        return "0" if text == "-0" else text
    return f"{value:.3g}"


def _rounded(value: float, ends: tuple[float, float]) -> float:
    """What is nothing in comparison with the axis is zero."""
    return 0.0 if abs(value) < (ends[1] - ends[0]) * 1e-4 else value


def _label(axis: Axis, value: float) -> str:
    if axis.kind == "time":
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    return _number(value)


def _tick(axis: Axis, value: float) -> str:
    """What an axis says at a place of it; places of a logarithmic one are logarithms."""
    return _label(axis, 10.0**value if axis.log else value)


def _places(axis: Axis, values: Sequence[float]) -> Sequence[float]:
    """Where values are on an axis."""
    return [math.log10(value) for value in values] if axis.log else values


def _cut(text: str, width: int) -> str:
    text = "".join(c if c.isprintable() else "·" for c in text)
    return text if len(text) <= width else text[: max(width - 1, 1)] + "…"


def _ends(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if low == high:
        half = abs(low) * 0.05 or 0.5
        return low - half, high + half
    return low, high


def _framed(rows: Sequence[str], x: Axis, y: Axis, xs: tuple[float, float], ys: tuple[float, float]) -> list[str]:
    """An area with its axes: the y axis with its title above, the x axis with its title below."""
    height, width = len(rows), len(rows[0])
    ticks = {0: ys[1], height - 1: ys[0]} | ({height // 2: ys[1] - (ys[1] - ys[0]) * (height // 2) / (height - 1)})
    labels = {row: _tick(y, _rounded(value, ys)) for row, value in ticks.items()}
    margin = max(len(label) for label in labels.values())
    lines = [_cut(y.title, margin + width + 2)]
    lines += [f"{labels.get(i, ''):>{margin}} {'┤' if i in labels else '│'}{row}" for i, row in enumerate(rows)]
    lines.append(f"{'':>{margin}} └{'─' * width}")
    first, last = _tick(x, _rounded(xs[0], xs)), _tick(x, _rounded(xs[1], xs))
    middle = _tick(x, (xs[0] + xs[1]) / 2)
    room = width - len(first) - len(last)
    between = middle.center(room) if room > len(middle) + 2 else " " * max(room, 1)
    lines.append(f"{'':>{margin}}  {first}{between}{last}")
    lines.append(f"{'':>{margin}}  {_cut(x.title, width).center(width)}")
    return lines


def _margin(y: Axis, ends: tuple[float, float]) -> int:
    return max(len(_tick(y, value)) for value in (*ends, sum(ends) / 2)) + 2


def _place(value: float, ends: tuple[float, float], count: int) -> int:
    return min(int((value - ends[0]) / (ends[1] - ends[0]) * count), count - 1)


def _points(shape: Points, width: int, height: int) -> list[str]:
    shape = replace(shape, xs=_places(shape.x, shape.xs), ys=_places(shape.y, shape.ys))
    xs, ys = _ends(shape.xs), _ends(shape.ys)
    columns = width - _margin(shape.y, ys)
    if shape.color is not None and shape.color.kind == "category":
        rows, legend = _marked(shape, xs, ys, columns, height)
    elif shape.color is not None:
        rows, legend = _shaded_points(shape, xs, ys, columns, height)
    else:
        rows, legend = _braille(shape.xs, shape.ys, xs, ys, columns, height), []
    return [*_framed(rows, shape.x, shape.y, xs, ys), *legend]


def _braille(
    xs: Sequence[float],
    ys: Sequence[float],
    x_ends: tuple[float, float],
    y_ends: tuple[float, float],
    columns: int,
    lines: int,
) -> list[str]:
    cells = [[0] * columns for _ in range(lines)]
    for x, y in zip(xs, ys, strict=True):
        i, j = _place(x, x_ends, columns * 2), lines * 4 - 1 - _place(y, y_ends, lines * 4)
        cells[j // 4][i // 2] |= _DOTS[j % 4][i % 2]
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in cells]


def _marked(
    shape: Points, xs: tuple[float, float], ys: tuple[float, float], columns: int, lines: int
) -> tuple[list[str], list[str]]:
    """Each category with a mark of its own; where several meet, the last one is seen."""
    names = list(dict.fromkeys(str(color) for color in sorted(shape.colors, key=str)))
    marks = {name: _MARKS[i % len(_MARKS)] for i, name in enumerate(names)}
    cells = [[" "] * columns for _ in range(lines)]
    for x, y, color in zip(shape.xs, shape.ys, shape.colors, strict=True):
        cells[lines - 1 - _place(y, ys, lines)][_place(x, xs, columns)] = marks[str(color)]
    title = shape.color.title if shape.color else ""
    legend = "  ".join(f"{mark} {_cut(name, _MAX_LABEL)}" for name, mark in marks.items())
    return ["".join(row) for row in cells], _wrapped(f"{title}:  {legend}", columns)


def _shaded_points(
    shape: Points, xs: tuple[float, float], ys: tuple[float, float], columns: int, lines: int
) -> tuple[list[str], list[str]]:
    """The mean of a number in each cell as one of eight signs, from the faintest to the fullest."""
    numbers = [(x, y, float(c)) for x, y, c in zip(shape.xs, shape.ys, shape.colors, strict=True)]
    ends = _ends([c for _, _, c in numbers])
    sums: dict[tuple[int, int], list[float]] = {}
    for x, y, c in numbers:
        sums.setdefault((lines - 1 - _place(y, ys, lines), _place(x, xs, columns)), []).append(c)
    cells = [[" "] * columns for _ in range(lines)]
    for (row, column), values in sums.items():
        cells[row][column] = _LEVELS[_place(sum(values) / len(values), ends, len(_LEVELS))]
    axis = shape.color or shape.x
    legend = f"{axis.title}:  {_label(axis, ends[0])} {_LEVELS} {_label(axis, ends[1])}"
    return ["".join(row) for row in cells], [legend]


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = [""]
    for word in text.split("  "):
        if lines[-1] and len(lines[-1]) + len(word) + 2 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]}  {word}" if lines[-1] else word
    return lines


def _heat(shape: Heat, width: int, height: int) -> list[str]:
    xs = _ends(_places(shape.x, (shape.x_edges[0], shape.x_edges[-1])))
    ys = _ends(_places(shape.y, (shape.y_edges[0], shape.y_edges[-1])))
    n_x, n_y = len(shape.counts), len(shape.counts[0])
    columns = min(width - _margin(shape.y, ys), n_x * max((width - _margin(shape.y, ys)) // n_x, 1))
    lines = min(height, n_y)
    sums = [[0.0] * columns for _ in range(lines)]
    # cells of the screen that share a cell of the grid share its count; those that hold several have their sum
    for column in range(columns):
        own_x = _sources(column, columns, n_x)
        for line in range(lines):
            own_y = _sources(lines - 1 - line, lines, n_y)
            total = sum(shape.counts[i][j] for i in own_x for j in own_y)
            sums[line][column] = total
    largest = max(max(row) for row in sums) or 1
    rows = ["".join(_shade(math.sqrt(value / largest), value) for value in row) for row in sums]
    return [*_framed(rows, shape.x, shape.y, xs, ys), f"{_SHADES[1:]}  from few to many"]


def _sources(position: int, positions: int, cells: int) -> range:
    """The cells of a grid that a place on the screen shows."""
    start = position * cells // positions
    return range(start, max((position + 1) * cells // positions, start + 1))


def _shade(share: float, count: float) -> str:
    if not count:
        return " "
    return _SHADES[max(1, min(math.ceil(share * 4), 4))]


def _bar(share: float, width: int) -> str:
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, part = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[part] if part else "")


def _histogram(shape: Histogram, width: int) -> list[str]:
    if shape.labels:
        labels, counts = [_cut(label, _MAX_LABEL) for label in shape.labels], list(shape.counts)
    else:
        edges, counts = _merged(list(shape.edges), list(shape.counts))
        if all(edge % 1 == 0.5 for edge in edges):  # bins of whole numbers
            ends = [(math.ceil(a), math.floor(b)) for a, b in pairwise(edges)]
            labels = [f"{a:,}" if a == b else f"{a:,} … {b:,}" for a, b in ends]
        else:
            texts = [_label(shape.x, edge) for edge in edges]
            room = max(len(text) for text in texts)
            labels = [f"{a:>{room}} … {b:<{room}}" for a, b in pairwise(texts)]
    margin = max(len(label) for label in labels)
    number_room = max(len(f"{count:,}") for count in counts)
    room = width - margin - number_room - 4
    largest = max(counts) or 1
    lines = [_cut(shape.x.title, width)]
    for label, count in zip(labels, counts, strict=True):
        bar = _bar(count / largest, room)
        lines.append(f"{label:>{margin}} │{bar} {count:,}" if count else f"{label:>{margin}} │")
    return lines


def _merged(edges: list[float], counts: list[int]) -> tuple[list[float], list[int]]:
    """Neighbouring bins together, until there are no more than fit on a screen."""
    size = math.ceil(len(counts) / _TEXT_BINS)
    starts = range(0, len(counts), size)
    return [*(edges[i] for i in starts), edges[-1]], [sum(counts[i : i + size]) for i in starts]


def _boxes(shape: Boxes, width: int) -> list[str]:
    labels = [_cut(box.label, _MAX_LABEL) for box in shape.boxes]
    margin = max(len(label) for label in labels)
    ends = _ends(_places(shape.y, [value for box in shape.boxes for value in (box.low, box.high)]))
    room = width - margin - 2
    lines = [_cut(f"{shape.y.title} for each {shape.x.column}", width)]
    for label, box in zip(labels, shape.boxes, strict=True):
        cells = [" "] * room
        low, q1, median, q3, high = (
            _place(value, ends, room)
            for value in _places(shape.y, (box.low, box.quarter, box.median, box.three_quarters, box.high))
        )
        cells[low : high + 1] = "─" * (high + 1 - low)
        cells[q1 : q3 + 1] = "█" * (q3 + 1 - q1)
        cells[low], cells[high] = ("├" if low < q1 else cells[low]), ("┤" if high > q3 else cells[high])
        cells[median] = "┃" if q1 < median < q3 else "█"
        lines.append(f"{label:>{margin}}  {''.join(cells)}")
    return [*lines, _scale(ends, margin + 2, room, lambda value: _tick(shape.y, value))]


def _scale(ends: tuple[float, float], indent: int, room: int, label: Callable[[float], str]) -> str:
    first, middle, last = label(ends[0]), label((ends[0] + ends[1]) / 2), label(ends[1])
    between = room - len(first) - len(last)
    centred = middle.center(between) if between > len(middle) + 2 else " " * max(between, 1)
    return f"{' ' * indent}{first}{centred}{last}"


def _tornado(shape: Tornado, width: int) -> list[str]:
    labels = [_cut(swing.label, _MAX_LABEL) for swing in shape.swings]
    margin = max(len(label) for label in labels)
    ends = _ends([shape.middle, *(value for swing in shape.swings for value in (swing.low, swing.high))])
    room = width - margin - 2
    middle = _place(shape.middle, ends, room)
    lines = [_cut(shape.y.title, width)]
    for label, swing in zip(labels, shape.swings, strict=True):
        cells = [" "] * room
        for value, sign in ((swing.low, "░"), (swing.high, "█")):
            at = _place(value, ends, room)
            for i in range(min(at, middle), max(at, middle) + 1):
                # where both ends lie on one side, the nearer one is drawn over the farther
                if cells[i] == " " or abs(value - shape.middle) < max(abs(swing.low - shape.middle), 1e-300):
                    cells[i] = sign
        cells[middle] = "│"
        lines.append(f"{label:>{margin}}  {''.join(cells)}")
    lines.append(_scale(ends, margin + 2, room, lambda value: _label(shape.y, value)))
    lines.append(f"░ {shape.low_name}   █ {shape.high_name}   │ {_label(shape.y, shape.middle)}, {shape.middle_name}")
    return lines


def _bars(shape: Bars, width: int) -> list[str]:
    names = [f"{bar.label} {bar.group}".rstrip() for bar in shape.bars]
    labels = [_cut(name, _MAX_LABEL + 8) for name in names]
    margin = max(len(label) for label in labels)
    largest = max(max(abs(bar.value) for bar in shape.bars), 1e-12)
    lines = [_cut(shape.title, width)]
    for label, bar in zip(labels, shape.bars, strict=True):
        interval = "" if bar.low is None or bar.high is None else f"  [{bar.low:.2f}, {bar.high:.2f}]"
        text = f"{bar.value:+.2f}" if shape.signed else f"{bar.value:.2f}{interval}"
        if not shape.signed:
            room = width - margin - 22
            lines.append(f"{label:>{margin}} │{_bar(max(bar.value, 0.0) / largest, room)} {text}")
            continue
        half = (width - margin - 10) // 2
        length = round(abs(bar.value) * half)
        negative = ("█" * length if bar.value < 0 else "").rjust(half)
        positive = ("█" * length if bar.value >= 0 else "").ljust(half)
        lines.append(f"{label:>{margin}} {negative}│{positive} {text}")
    return lines


def _pairs(shape: Pairs, width: int) -> list[str]:
    """The rank correlations of all pairs: a grid of drawings would be too small to read."""
    names = [_cut(axis.column, _MAX_LABEL) for axis in shape.axes]
    margin = max(len(name) for name in names)
    room = max(len(f"{len(names)}") + 2, 6)
    shown = max(min(len(names), (width - margin - 5) // room), 1)
    lines = ["rank correlations (Spearman); -o FILE draws the grid"]
    lines.append(f"{'':>{margin + 5}}" + "".join(f"({i + 1})".rjust(room) for i in range(shown)))
    for i, name in enumerate(names):
        cells = "".join(("" if i == j else f"{shape.correlations[i][j]:+.2f}").rjust(room) for j in range(shown))
        lines.append(f"{name:>{margin}} ({i + 1})".ljust(margin + 5) + cells)
    return lines
