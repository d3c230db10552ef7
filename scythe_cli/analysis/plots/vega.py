"""From shapes to Vega-Lite, and from there to PNG, SVG and HTML, all without a network.

The specification is plain data, as https://vega.github.io/vega-lite/docs/ describes it, so that nothing has to be
loaded to make it; vl-convert draws it with the fonts and libraries that it brings along.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from typing import Any

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
from scythe_cli.core.text import visible

__all__ = ["CATEGORY_COLORS", "MAIN_COLOR", "iso", "themed_spec", "to_html", "to_png", "to_svg", "vega_spec"]


Spec = dict[str, Any]

MAIN_COLOR = "#3b7dd8"
SECOND_COLOR = "#e07b39"
# distinct for all common kinds of color blindness, on white and on dark (Okabe and Ito, 2008, without black and yellow)
CATEGORY_COLORS = ["#3b7dd8", "#e07b39", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6fdf", "#999999"]
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"


def vega_spec(shape: Shape, title: str, notes: Sequence[str], *, width: int = 560, height: int = 360) -> Spec:
    """A complete Vega-Lite specification, with its data inside.

    Args:
        shape: What to show.
        title: The title.
        notes: Lines below the title.
        width: Of the plot's own area, in pixels.
        height: Likewise.
    """
    body = _body(shape, width, height)
    return {
        "$schema": _SCHEMA,
        "title": {"text": title, "subtitle": list(notes), "anchor": "start", "frame": "group"},
        "background": "white",
        "padding": 12,
        "config": _config(),
        "usermeta": {
            "embedOptions": {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}
        },
        **body,
    }


def themed_spec(shape: Shape, *, width: int, height: int) -> Spec:
    """A specification without title, for a page that is light or dark: what is ink has the color of its text."""
    body = _body(shape, width, height)
    if isinstance(shape, Heat):
        # where a light color would stand for little, on a dark page it would be what is seen first
        del body["encoding"]["color"]
        body["mark"]["color"] = MAIN_COLOR
        body["encoding"]["opacity"] = {
            "field": "n",
            "type": "quantitative",
            "legend": None,
            "scale": {"type": "sqrt", "range": [0.1, 1]},
        }
    if isinstance(shape, Points):
        body["mark"].update(size=14, opacity=0.6)
    if isinstance(shape, Histogram) and shape.labels:
        body["encoding"]["y"]["title"] = None  # the caption says it
    ink: Spec = {f"{part}Color": "currentColor" for part in ("label", "title", "grid", "tick", "domain")}
    return {
        "$schema": _SCHEMA,
        "background": None,
        "padding": 4,
        "config": {
            "font": _FONT,
            "aria": False,
            "axis": {
                **ink,
                "labelFontSize": 10,
                "titleFontSize": 11,
                "titleFontWeight": "normal",
                "titlePadding": 10,
                "gridOpacity": 0.12,
                "tickOpacity": 0.5,
                "domainOpacity": 0.5,
                "labelLimit": 150,
                "titleLimit": width + 40,
                "labelOverlap": "greedy",
                "labelSeparation": 4,
            },
            "axisX": {"tickCount": max(width // 60, 3)},
            "axisY": {"tickCount": max(height // 35, 3)},
            "view": {"stroke": "currentColor", "strokeOpacity": 0.2},
            "range": {"category": CATEGORY_COLORS},
        },
        **body,
    }


def _config() -> Spec:
    return {
        "font": _FONT,
        "title": {"fontSize": 15, "subtitleFontSize": 11, "subtitleColor": "#666", "offset": 12, "subtitlePadding": 4},
        "axis": {
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titlePadding": 8,
            "gridColor": "#e6e6e6",
            "labelLimit": 220,
            "titleLimit": 420,
        },
        "legend": {"labelFontSize": 11, "titleFontSize": 11, "titleLimit": 220, "labelLimit": 220},
        "view": {"stroke": "#ccc"},
        "range": {"category": CATEGORY_COLORS},
    }


def _body(shape: Shape, width: int, height: int) -> Spec:
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


def _type(axis: Axis) -> str:
    return {"number": "quantitative", "time": "temporal", "category": "nominal"}[axis.kind]


def _channel(field: str, axis: Axis, **more: Any) -> Spec:
    channel: Spec = {"field": field, "type": _type(axis), "title": axis.title, **more}
    if axis.kind == "number":
        # an axis is about where the values are, and not about where they are from zero
        channel["scale"] = {"zero": False, "nice": True}
    return _timed(channel, axis)


_TIME_FORMATS = {
    "year": "%Y",
    "quarter": "%Y-%m",
    "month": "%Y-%m",
    "week": "%m-%d",
    "date": "%m-%d",
    "day": "%m-%d",
    "hours": "%H:%M",
    "minutes": "%H:%M",
    "seconds": "%H:%M:%S",
    "milliseconds": "%H:%M:%S.%L",
}


def _timed(channel: Spec, axis: Axis) -> Spec:
    """Moments in UTC, and hours from 0 to 24, wherever the picture is drawn and looked at."""
    if axis.kind == "time":
        channel["scale"] = {**channel.get("scale", {}), "type": "utc"}
        channel["axis"] = {**channel.get("axis", {}), "format": _TIME_FORMATS}
    return channel


def _tip(field: str, title: str, kind: str = "quantitative") -> Spec:
    return {"field": field, "type": kind, "title": title}


def _color(axis: Axis) -> Spec:
    if axis.kind == "category":
        return {"field": "c", "type": "nominal", "title": axis.title}
    return {"field": "c", "type": _type(axis), "title": axis.title, "scale": {"scheme": "viridis"}}


def _points(shape: Points, width: int, height: int) -> Spec:
    colors = shape.colors or [None] * len(shape.xs)
    data = [{"x": x, "y": y, "c": c} for x, y, c in zip(shape.xs, shape.ys, colors, strict=True)]
    n = len(data)
    encoding: Spec = {
        "x": _channel("x", shape.x),
        "y": _channel("y", shape.y),
        "tooltip": [_tip("x", shape.x.title, _type(shape.x)), _tip("y", shape.y.title, _type(shape.y))],
    }
    if shape.color is not None:
        encoding["color"] = _color(shape.color)
        encoding["tooltip"].append(_tip("c", shape.color.title, _type(shape.color)))
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
            "x": _binned("x", shape.x),
            "x2": {"field": "x2"},
            "y": _binned("y", shape.y),
            "y2": {"field": "y2"},
            "color": {
                "field": "n",
                "type": "quantitative",
                "title": "count",
                "scale": {"scheme": "blues", "type": "sqrt"},
            },
        },
        "width": width,
        "height": height,
    }


def _binned(field: str, axis: Axis) -> Spec:
    scale = {"nice": False} if axis.kind == "time" else {"zero": False, "nice": False}
    return _timed({"field": field, "type": _type(axis), "title": axis.title, "scale": scale}, axis)


def _histogram(shape: Histogram, width: int, height: int) -> Spec:
    if shape.labels:
        data = [{"x": label, "n": n} for label, n in zip(shape.labels, shape.counts, strict=True)]
        return {
            "data": {"values": data},
            "mark": {"type": "bar", "color": MAIN_COLOR, "tooltip": True},
            "encoding": {
                "y": {"field": "x", "type": "nominal", "title": shape.x.title, "sort": None},
                "x": {"field": "n", "type": "quantitative", "title": "count"},
            },
            "width": width,
            "height": {"step": 20},
        }
    edges = shape.edges
    data = [{"x": edges[i], "x2": edges[i + 1], "n": n} for i, n in enumerate(shape.counts)]
    return {
        "data": {"values": data},
        "mark": {"type": "bar", "color": MAIN_COLOR, "tooltip": True, "binSpacing": 1},
        "encoding": {
            "x": {**_binned("x", shape.x), "bin": "binned"},
            "x2": {"field": "x2"},
            "y": {"field": "n", "type": "quantitative", "title": "count"},
        },
        "width": width,
        "height": height,
    }


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
    x: Spec = {"type": "quantitative", "title": shape.y.title, "scale": {"zero": False}}
    tips = [_tip("label", shape.x.title, "nominal"), *(_tip(f, f) for f in ("n", "low", "q1", "median", "q3", "high"))]
    return {
        "data": {"values": data},
        "layer": [
            {
                "mark": {"type": "rule", "color": "#777"},
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
    color = _color(shape.color) if shape.color is not None else {"value": MAIN_COLOR}
    domains = [_domain(column) for column in shape.columns]
    cells: list[Spec] = []
    for j, below in enumerate(shape.axes):
        for i, across in enumerate(shape.axes):
            x = _small(f"c{i}", across, domains[i], shown=j == n - 1)
            y = _small(f"c{j}", below, domains[j], shown=i == 0)
            if i == j:
                cells.append({**_small_histogram(shape.columns[i], x, y, domains[i]), "width": size, "height": size})
            else:
                mark = {"type": "circle", "size": 9, "opacity": 0.5}
                encoding = {"x": x, "y": y, "color": color}
                cells.append({"mark": mark, "encoding": encoding, "width": size, "height": size})
    return {"data": {"values": data}, "concat": cells, "columns": n, "align": "each", "spacing": 8}


def _domain(values: Sequence[float]) -> list[float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = (high - low) * 0.04 or abs(low) * 0.05 or 0.5
    return [low - margin, high + margin]


def _small_histogram(values: Sequence[float], x: Spec, y: Spec, domain: Sequence[float]) -> Spec:
    """How a column's values are spread, on its own scale; the y axis is that of its row, so that rows line up."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    width = (high - low) / _PAIR_BINS or 1.0
    counts = [0] * _PAIR_BINS
    for value in values:
        counts[min(int((value - low) / width), _PAIR_BINS - 1)] += 1
    largest = max(counts) or 1
    span = domain[1] - domain[0]
    bars = [
        {
            "a": low + width * k,
            "b": low + width * (k + 1),
            "from": domain[0],
            "to": domain[0] + span * 0.95 * n / largest,
        }
        for k, n in enumerate(counts)
        if n
    ]
    return {
        "data": {"values": bars},
        "mark": {"type": "rect", "color": "#9bb8dd"},
        "encoding": {
            "x": {**x, "field": "a"},
            "x2": {"field": "b"},
            "y": {**y, "field": "from"},
            "y2": {"field": "to"},
        },
    }


def _small(field: str, axis: Axis, domain: Sequence[float], *, shown: bool) -> Spec:
    channel = _channel(field, axis)
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
    tips = [_tip("input", "input", "nominal"), _tip("at", "at", "nominal"), _tip("value", shape.y.title)]
    bar = {"y": y["y"], "yOffset": y["yOffset"], "x": {**x, "field": "middle"}, "x2": {"field": "value"}}
    text = {**y, "x": {**x, "field": "value"}, "text": {"field": "at", "type": "nominal"}}
    layer: list[Spec] = [{"mark": {"type": "bar"}, "encoding": {**bar, "color": color, "tooltip": tips}}]
    for test, align, shift in (("<", "right", -4), (">=", "left", 4)):
        layer.append(
            {
                "transform": [{"filter": f"datum.value {test} datum.middle"}],
                "mark": {"type": "text", "align": align, "dx": shift, "fontSize": 10, "limit": 130, "color": "#555"},
                "encoding": text,
            }
        )
    layer.append(
        {
            "mark": {"type": "rule", "color": "#333"},
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
                "mark": {"type": "rule", "color": "#555"},
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
            "x": _binned("x", shape.x),
            "y": {"field": "y", "type": "quantitative", "title": shape.y.title},
        },
        "width": width,
        "height": height,
    }


def iso(milliseconds: float) -> str:
    """A moment on a time axis, as text."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _printable(value: Any, *, quoted: bool = False) -> Any:
    """A specification whose text holds nothing that cannot be drawn.

    Vega-Lite makes expressions of titles, orders and data, and what quotes these is not always escaped there: signs
    that could end a quotation are replaced by others that look like them.
    """
    if isinstance(value, str):
        value = value if len(value) <= _MAX_TEXT else value[: _MAX_TEXT - 1] + "…"
        return visible(value).translate(_QUOTES) if quoted else visible(value)
    if isinstance(value, dict):
        return {
            name: _printable(each, quoted=quoted or (name in _EXPRESSED and not isinstance(each, dict)))
            for name, each in value.items()
        }
    return [_printable(each, quoted=quoted) for each in value] if isinstance(value, list) else value


_MAX_TEXT = 200
_EXPRESSED = ("title", "sort", "values", "domain")
_QUOTES = str.maketrans({'"': "”", "'": "’", "`": "‘", "\\": "⧵", "\n": "⏎", "\t": " ", "\r": " "})


def to_png(spec: Spec) -> bytes:
    """Draw a specification as PNG, twice as fine as the screen."""
    import vl_convert

    return vl_convert.vegalite_to_png(_printable(spec), scale=2)


def to_svg(spec: Spec) -> str:
    """Draw a specification as SVG."""
    import vl_convert

    return vl_convert.vegalite_to_svg(_printable(spec))


def to_html(spec: Spec, title: str) -> str:
    """A page with an interactive plot; the libraries that it needs are in it."""
    # inside a script, only a `<` could end it
    data = json.dumps(_printable(spec)).replace("<", "\\u003c")
    return _PAGE.format(title=escape(visible(title)), libraries=_libraries(), spec=data)


@cache
def _libraries() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; putting them together takes seconds."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval';\
 style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<style>body{{margin:16px;background:#fff}}</style>
<script>{libraries}</script>
</head>
<body>
<div id="plot"></div>
<script>vegaEmbed("#plot", {spec}, {{renderer: "svg"}});</script>
</body>
</html>
"""
