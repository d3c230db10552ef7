"""From shapes to charts of Vega-Lite: the data, marks and encodings, without what surrounds them.

A chart is plain data, as https://vega.github.io/vega-lite/docs/ describes it, so that nothing has to be loaded to make
it.
"""

from __future__ import annotations

from collections.abc import Sequence

from scythe_cli.analysis.plots.channels import (
    FAILED_COLOR,
    MAIN_COLOR,
    SECOND_COLOR,
    Spec,
    axis_channel,
    binned_channel,
    color_channel,
    tooltip,
    type_of,
)
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

__all__ = ["chart_of"]


def chart_of(shape: Shape, width: int, height: int) -> Spec:
    """The chart of a shape.

    Args:
        shape: What to show.
        width: Of the plot's own area, in pixels.
        height: Likewise; a chart with a row for each category has the height that these take.
    """
    match shape:
        case Points():
            return _points(shape, width, height)
        case Heat():
            return _heat(shape, width, height)
        case Histogram():
            return _histogram(shape, width, height)
        case Boxes():
            return _boxes(shape, width)
        case Pairs():
            return _pairs(shape, width)
        case Tornado():
            return _tornado(shape, width)
        case Bars():
            return _bars(shape, width)
        case Curve():
            return _curve(shape, width, height)


def _points(shape: Points, width: int, height: int) -> Spec:
    colors = shape.colors or [None] * len(shape.xs)
    data = [{"x": x, "y": y, "c": c} for x, y, c in zip(shape.xs, shape.ys, colors, strict=True)]
    n = len(data)
    encoding: Spec = {
        "x": axis_channel("x", shape.x),
        "y": axis_channel("y", shape.y),
        "tooltip": [tooltip("x", shape.x.title, type_of(shape.x)), tooltip("y", shape.y.title, type_of(shape.y))],
    }
    if shape.color is not None:
        encoding["color"] = color_channel(shape.color)
        encoding["tooltip"].append(tooltip("c", shape.color.title, type_of(shape.color)))
    else:
        encoding["color"] = {"value": MAIN_COLOR}
    size, opacity = (40, 0.75) if n <= 300 else (22, 0.55) if n <= 2000 else (12, 0.4)
    return {
        "data": {"values": data},
        "mark": {"type": "circle", "size": size, "opacity": opacity},
        "encoding": encoding,
        "width": width,
        "height": height,
    }


def _heat(shape: Heat, width: int, height: int) -> Spec:
    data = [
        {
            "x": shape.x_edges[i],
            "x2": shape.x_edges[i + 1],
            "y": shape.y_edges[j],
            "y2": shape.y_edges[j + 1],
            "n": count,
        }
        for i, column in enumerate(shape.counts)
        for j, count in enumerate(column)
        if count
    ]
    return {
        "data": {"values": data},
        "mark": {"type": "rect", "tooltip": True},
        "encoding": {
            "x": binned_channel("x", shape.x),
            "x2": {"field": "x2"},
            "y": binned_channel("y", shape.y),
            "y2": {"field": "y2"},
            "color": {
                "field": "n",
                "type": "quantitative",
                "title": "count",
                "scale": {"type": "sqrt"},
            },
        },
        "width": width,
        "height": height,
    }


def _histogram(shape: Histogram, width: int, height: int) -> Spec:
    marked = shape.marked or [0] * len(shape.counts)
    counted = [{"n": n, "marked": m} for n, m in zip(shape.counts, marked, strict=True)]
    if shape.labels:
        data = [{"x": label, **row} for label, row in zip(shape.labels, counted, strict=True)]
        across: Spec = {"y": {"field": "x", "type": "nominal", "title": shape.x.title, "sort": None}}
        along, size = "x", {"width": width, "height": {"step": 20}}
    else:
        edges = shape.edges
        data = [{"x": edges[i], "x2": edges[i + 1], **row} for i, row in enumerate(counted)]
        binned = {} if shape.x.log else {"bin": "binned"}
        across = {"x": {**binned_channel("x", shape.x), **binned}, "x2": {"field": "x2"}}
        if shape.x.log:
            across["y2"] = {"datum": 0}  # what is not binned is not taken to begin at zero
        along, size = "y", {"width": width, "height": height}
    bars: list[Spec] = []
    for field, color in (("n", MAIN_COLOR), ("marked", FAILED_COLOR)):
        mark: Spec = {"type": "bar", "color": color, "tooltip": True}
        if not shape.labels:
            mark["binSpacing"] = 1
        bars.append(
            {"mark": mark, "encoding": {**across, along: {"field": field, "type": "quantitative", "title": "count"}}}
        )
    return {"data": {"values": data}, **({"layer": bars} if shape.marked else bars[0]), **size}


def _boxes(shape: Boxes, width: int) -> Spec:
    data = [
        {
            "label": box.label,
            "n": box.count,
            "low": box.low,
            "q1": box.quarter,
            "median": box.median,
            "q3": box.three_quarters,
            "high": box.high,
        }
        for box in shape.boxes
    ]
    y: Spec = {"field": "label", "type": "nominal", "title": shape.x.title, "sort": None}
    scale = {"type": "log"} if shape.y.log else {"zero": False}
    x: Spec = {"type": "quantitative", "title": shape.y.title, "scale": scale}
    tips = [
        tooltip("label", shape.x.title, "nominal"),
        *(tooltip(f, f) for f in ("n", "low", "q1", "median", "q3", "high")),
    ]
    return {
        "data": {"values": data},
        "layer": [
            {
                "mark": {"type": "rule", "style": "soft"},
                "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "bar", "size": 14, "color": MAIN_COLOR},
                "encoding": {"y": y, "x": {**x, "field": "q1"}, "x2": {"field": "q3"}, "tooltip": tips},
            },
            {
                "mark": {"type": "tick", "size": 14, "thickness": 2, "color": "white"},
                "encoding": {"y": y, "x": {**x, "field": "median"}},
            },
        ],
        "width": width,
        "height": {"step": 26},
    }


_PAIR_BINS = 16


def _pairs(shape: Pairs, width: int) -> Spec:
    n = len(shape.axes)
    size = max(width // n, 90)
    colors = shape.colors or [None] * len(shape.columns[0] if shape.columns else [])
    data = [
        {**{f"c{i}": column[row] for i, column in enumerate(shape.columns)}, "c": colors[row]}
        for row in range(len(colors))
    ]
    color = color_channel(shape.color) if shape.color is not None else {"value": MAIN_COLOR}
    domains = [_domain(column) for column in shape.columns]
    cells: list[Spec] = []
    for j, below in enumerate(shape.axes):
        for i, across in enumerate(shape.axes):
            x = _small(f"c{i}", across, domains[i], shown=j == n - 1)
            y = _small(f"c{j}", below, domains[j], shown=i == 0)
            if i == j:
                cells.append({**_small_histogram(i, shape.columns[i], x, y, domains[i]), "width": size, "height": size})
            else:
                mark = {"type": "circle", "size": 9, "opacity": 0.5}
                encoding = {"x": x, "y": y, "color": color}
                cells.append({"mark": mark, "encoding": encoding, "width": size, "height": size})
    return {"data": {"values": data}, "concat": cells, "columns": n, "align": "each", "spacing": 8}


def _domain(values: Sequence[float]) -> list[float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = (high - low) * 0.04 or abs(low) * 0.05 or 0.5
    return [low - margin, high + margin]


def _small_histogram(column: int, values: Sequence[float], x: Spec, y: Spec, domain: Sequence[float]) -> Spec:
    """How a column's values are spread, on its own scale; the y axis is that of its row, so that rows line up.

    Two layers: all values, and in front of them those that are left of the data.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    width = (high - low) / _PAIR_BINS or 1.0
    counts = [0] * _PAIR_BINS
    for value in values:
        counts[min(int((value - low) / width), _PAIR_BINS - 1)] += 1
    per_value = (domain[1] - domain[0]) * 0.95 / (max(counts) or 1)
    binned: list[Spec] = [
        {"calculate": f"min(floor((datum.c{column} - ({low!r})) / {width!r}), {_PAIR_BINS - 1})", "as": "bin"},
        {"aggregate": [{"op": "count", "as": "n"}], "groupby": ["bin"]},
        {"calculate": f"{low!r} + datum.bin * {width!r}", "as": "a"},
        {"calculate": f"{low!r} + (datum.bin + 1) * {width!r}", "as": "b"},
        {"calculate": repr(domain[0]), "as": "from"},
        {"calculate": f"{domain[0]!r} + datum.n * {per_value!r}", "as": "to"},
    ]
    encoding = {
        "x": {**x, "field": "a"},
        "x2": {"field": "b"},
        "y": {**y, "field": "from"},
        "y2": {"field": "to"},
    }
    return {
        "layer": [
            {"transform": list(binned), "mark": {"type": "rect", "color": color}, "encoding": encoding}
            for color in ("#9bb8dd55", "#9bb8dd")
        ]
    }


def _small(field: str, axis: Axis, domain: Sequence[float], *, shown: bool) -> Spec:
    channel = axis_channel(field, axis)
    channel["scale"] = {**channel.get("scale", {}), "domain": list(domain), "nice": False}
    channel["title"] = ([axis.column, f"[{axis.unit}]"] if axis.unit else axis.column) if shown else None
    channel["axis"] = {
        "labels": shown,
        "ticks": shown,
        "tickCount": 4,
        "labelOverlap": "greedy",
        "labelSeparation": 6,
        "titleLimit": 150,
    }
    return channel


def _tornado(shape: Tornado, width: int) -> Spec:
    order = [swing.label for swing in shape.swings]
    data = [
        {"input": swing.label, "end": name, "value": value, "middle": shape.middle, "at": at}
        for swing in shape.swings
        for name, value, at in (
            (shape.low_name, swing.low, swing.low_text),
            (shape.high_name, swing.high, swing.high_text),
        )
    ]
    ends = [shape.low_name, shape.high_name]
    # both bars of an input may lie on the same side of the middle: they stand one above the other
    y: Spec = {
        "y": {"field": "input", "type": "nominal", "sort": order, "title": None},
        "yOffset": {"field": "end", "type": "nominal", "sort": ends, "scale": {"paddingOuter": 0.15}},
    }
    values = [shape.middle, *(v for swing in shape.swings for v in (swing.low, swing.high))]
    low, high = min(values), max(values)
    room = (high - low) * 0.18 or 0.5  # for the texts at the ends of the bars
    x: Spec = {
        "type": "quantitative",
        "title": shape.y.title,
        "scale": {"zero": False, "nice": False, "domain": [low - room, high + room]},
    }
    color = {
        "field": "end",
        "type": "nominal",
        "title": None,
        "scale": {"domain": ends, "range": [MAIN_COLOR, SECOND_COLOR]},
        "legend": {"orient": "top"},
    }
    tips = [tooltip("input", "input", "nominal"), tooltip("at", "at", "nominal"), tooltip("value", shape.y.title)]
    bar = {"y": y["y"], "yOffset": y["yOffset"], "x": {**x, "field": "middle"}, "x2": {"field": "value"}}
    text = {**y, "x": {**x, "field": "value"}, "text": {"field": "at", "type": "nominal"}}
    layer: list[Spec] = [{"mark": {"type": "bar"}, "encoding": {**bar, "color": color, "tooltip": tips}}]
    for test, align, shift in (("<", "right", -4), (">=", "left", 4)):
        layer.append(
            {
                "transform": [{"filter": f"datum.value {test} datum.middle"}],
                "mark": {"type": "text", "align": align, "dx": shift, "fontSize": 10, "limit": 130, "style": "soft"},
                "encoding": text,
            }
        )
    layer.append(
        {
            "mark": {"type": "rule", "style": "ink"},
            "encoding": {"x": {"datum": shape.middle, "type": "quantitative"}},
        }
    )
    return {"data": {"values": data}, "layer": layer, "width": width, "height": {"step": 32, "for": "position"}}


def _bars(shape: Bars, width: int) -> Spec:
    order = list(dict.fromkeys(bar.label for bar in shape.bars))
    groups = list(dict.fromkeys(bar.group for bar in shape.bars))
    data = [{"input": b.label, "group": b.group, "value": b.value, "low": b.low, "high": b.high} for b in shape.bars]
    y: Spec = {"field": "input", "type": "nominal", "sort": order, "title": None}
    offset: Spec = {"yOffset": {"field": "group", "sort": groups}} if len(groups) > 1 else {}
    x: Spec = {"field": "value", "type": "quantitative", "title": shape.title}
    if shape.signed:
        x["scale"] = {"domain": [-1, 1]}
        color: Spec = {"condition": {"test": "datum.value < 0", "value": SECOND_COLOR}, "value": MAIN_COLOR}
    elif len(groups) > 1:
        color = {"field": "group", "type": "nominal", "title": None, "sort": groups, "legend": {"orient": "top"}}
    else:
        color = {"value": MAIN_COLOR}
    layer: list[Spec] = [
        {"mark": {"type": "bar", "tooltip": True}, "encoding": {"y": y, **offset, "x": x, "color": color}}
    ]
    if any(bar.low is not None for bar in shape.bars):
        layer.append(
            {
                "mark": {"type": "rule", "style": "soft"},
                "encoding": {"y": y, **offset, "x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
            }
        )
    step = 24 if len(groups) == 1 else 16
    return {"data": {"values": data}, "layer": layer, "width": width, "height": {"step": step}}


def _curve(shape: Curve, width: int, height: int) -> Spec:
    data = [{"x": x, "y": y} for x, y in zip(shape.xs, shape.ys, strict=True)]
    return {
        "data": {"values": data},
        "mark": {"type": "area", "color": MAIN_COLOR, "opacity": 0.35, "line": {"color": MAIN_COLOR}},
        "encoding": {
            "x": binned_channel("x", shape.x),
            "y": {"field": "y", "type": "quantitative", "title": shape.y.title},
        },
        "width": width,
        "height": height,
    }
