"""Charts for who looks at them in a browser: they fill their window, are light or dark, can be zoomed and marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scythe_cli.analysis.plots.channels import CATEGORY_COLORS, FONT, SCHEMA, Spec
from scythe_cli.analysis.plots.charts import chart_of
from scythe_cli.analysis.plots.shapes import Boxes, Curve, Heat, Histogram, Pairs, Points, Shape

__all__ = ["gestures", "notebook_spec", "page_spec", "page_themes"]


_ZOOM, _BRUSH, _LEGEND = "zoom", "brush", "legend"
_DRAG = "[pointerdown[{held}event.shiftKey], window:pointerup] > window:pointermove!"
_NEUTRAL = "#888888"
_FADED = 0.06
_ACTIONS = {"export": True, "source": False, "compiled": False, "editor": False}


def page_spec(shape: Shape, title: str, notes: Sequence[str]) -> Spec:
    """A specification that takes the size of its window; `page_themes` has its colors.

    Args:
        shape: What to show.
        title: The title.
        notes: Lines below the title.
    """
    body = _with_gestures(shape, chart_of(shape, 560, 360))
    texts: Spec = {"text": title, "subtitle": list(notes), "anchor": "start", "frame": "group"}
    fitted: Spec = {}
    if not isinstance(shape, Pairs):  # the cells of a grid are given their size by the page
        step = body["height"]["step"] if isinstance(body["height"], dict) else None
        texts["limit"] = {"expr": "width + 60"}
        if isinstance(shape, Boxes):
            for layer in body["layer"][1:]:
                layer["mark"]["size"] = 24
        fitted = {
            "width": "container",
            "height": "container",
            "autosize": {"type": "fit", "contains": "padding"},
            "usermeta": {"leastHeight": 260 if step is None else 160 + step * _rows(body)},
        }
    # without `$schema`: the page brings its own version of Vega-Lite, and tells when another one is asked for
    return {"title": texts, "padding": 12, **body, **fitted}


def notebook_spec(shape: Shape, title: str, notes: Sequence[str]) -> Spec:
    """A specification for the output of a cell: its paper and ink are those of the notebook's theme."""
    return {
        "$schema": SCHEMA,
        "title": {"text": title, "subtitle": list(notes), "anchor": "start", "frame": "group"},
        "padding": 12,
        "config": {
            "font": FONT,
            "style": {"ink": {"color": _NEUTRAL}, "soft": {"color": _NEUTRAL}},
            "range": {"category": CATEGORY_COLORS, "ramp": {"scheme": "viridis"}},
            "title": {"fontSize": 15, "subtitleFontSize": 11, "subtitleColor": _NEUTRAL},
            "axis": {"labelLimit": 220, "titleLimit": 420},
        },
        "usermeta": {"embedOptions": {"actions": _ACTIONS}},
        **_with_gestures(shape, chart_of(shape, 640, 360)),
    }


def page_themes() -> dict[str, Spec]:
    """The colors of a page, by what the system prefers."""
    return {
        "light": _theme("#ffffff", "#1c2430", "#5b6472", "#e3e6ea", {"scheme": "blues"}, {"scheme": "viridis"}),
        "dark": _theme(
            "#14181f", "#e4e8ee", "#a3adbb", "#343c48", {"scheme": "darkblue"},
            # the darkest colors would not be seen
            {"scheme": "viridis", "extent": [0.25, 1]},
        ),
    }  # fmt: skip


def _theme(paper: str, ink: str, soft: str, line: str, heatmap: Spec, ramp: Spec) -> Spec:
    return {
        "background": paper,
        "font": FONT,
        "title": {
            "fontSize": 15,
            "color": ink,
            "subtitleFontSize": 11,
            "subtitleColor": soft,
            "subtitlePadding": 4,
            "offset": 12,
        },
        "axis": {
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titlePadding": 8,
            "labelColor": soft,
            "titleColor": ink,
            "gridColor": line,
            "tickColor": line,
            "domainColor": line,
            "labelLimit": 220,
            "titleLimit": 420,
            "labelOverlap": "greedy",
            "labelSeparation": 4,
        },
        "legend": {
            "labelFontSize": 11,
            "titleFontSize": 11,
            "labelColor": soft,
            "titleColor": ink,
            "titleLimit": 220,
            "labelLimit": 220,
        },
        "view": {"stroke": line},
        "scale": {"bandPaddingInner": 0.35},
        "style": {"ink": {"color": ink}, "soft": {"color": soft}},
        "range": {"category": CATEGORY_COLORS, "heatmap": heatmap, "ramp": ramp},
    }


def gestures(shape: Shape) -> str:
    """What a page does when it is touched, in a line."""
    can = _can(shape)
    told: list[str] = []
    if _ZOOM in can:
        told.append("Zoom: wheel, + and −. Move: drag, arrow keys.")
    if _BRUSH in can:
        told.append("Mark points: drag." if isinstance(shape, Pairs) else "Mark points: Shift and drag.")
    if _LEGEND in can:
        told.append("One color: click on its name.")
    return " ".join([*told, "All again: double click, Escape."]) if told else ""


def _can(shape: Shape) -> set[str]:
    match shape:
        case Points():
            named = shape.color is not None and shape.color.kind == "category"
            return {_ZOOM, _BRUSH, _LEGEND} if named else {_ZOOM, _BRUSH}
        case Pairs():
            return {_BRUSH}
        case Heat() | Curve() | Boxes():
            return {_ZOOM}
        case Histogram():
            return set() if shape.labels else {_ZOOM}
        case _:
            return set()


def _with_gestures(shape: Shape, body: Spec) -> Spec:
    """The chart with what it does when it is touched."""
    can = _can(shape)
    if isinstance(shape, Pairs):
        return _pairs_brushed(body)
    params: list[Spec] = []
    if _ZOOM in can:
        held = _DRAG.format(held="!")
        select: Spec = {"type": "interval", "translate": held, "zoom": "wheel!"}
        if not isinstance(shape, Points | Heat):
            select["encodings"] = ["x"]
        params.append({"name": _ZOOM, "select": select, "bind": "scales"})
    marked: list[Spec] = []
    if _BRUSH in can:
        params.append(_brush(_DRAG.format(held="")))
        marked.append({"param": _BRUSH})
    if _LEGEND in can:
        params.append({"name": _LEGEND, "select": {"type": "point", "fields": ["c"]}, "bind": "legend"})
        marked.append({"param": _LEGEND})
    if marked:
        opacity = body["mark"].pop("opacity")
        body["encoding"]["opacity"] = {
            "condition": {"test": {"and": marked}, "value": opacity},
            "value": _FADED,
        }
    if params:
        layers = body.get("layer", [body])
        for layer in layers:
            layer["mark"]["clip"] = True  # what is outside of the axes is not seen
        layers[0]["params"] = params
    return body


def _brush(on: str | None) -> Spec:
    select: Spec = {
        "type": "interval",
        "zoom": False,
        "mark": {"fill": _NEUTRAL, "fillOpacity": 0.2, "stroke": _NEUTRAL},
    }
    if on is not None:
        select |= {"on": on, "translate": on}
    return {"name": _BRUSH, "select": select}


def _pairs_brushed(body: Spec) -> Spec:
    """A grid in which points that are marked in one cell are marked in all, and counted in the histograms."""
    brush = _brush(None)
    brush["select"]["resolve"] = "global"
    brush["views"] = []
    for number, cell in enumerate(body["concat"]):
        if "layer" in cell:
            cell["layer"][1]["transform"].insert(0, {"filter": {"param": _BRUSH}})
        else:
            cell["name"] = f"cell{number}"
            brush["views"].append(cell["name"])
            opacity = cell["mark"].pop("opacity")
            condition: Any = {"param": _BRUSH, "value": opacity}
            cell["encoding"]["opacity"] = {"condition": condition, "value": _FADED}
    return {**body, "params": [brush]}


def _rows(body: Spec) -> int:
    """How many rows of categories a chart has."""
    values: list[Spec] = body["data"]["values"]
    field = next(name for name in ("input", "label", "x") if name in values[0]) if values else ""
    return max(len({str(row[field]) for row in values}), 3)
