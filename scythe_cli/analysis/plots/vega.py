"""From shapes to complete specifications of Vega-Lite: charts with titles, colors and fonts."""

from __future__ import annotations

from collections.abc import Sequence

from scythe_cli.analysis.plots.channels import CATEGORY_COLORS, FONT, MAIN_COLOR, SCHEMA, Spec
from scythe_cli.analysis.plots.charts import chart_of
from scythe_cli.analysis.plots.shapes import Heat, Histogram, Points, Shape

__all__ = ["themed_spec", "vega_spec"]


def vega_spec(shape: Shape, title: str, notes: Sequence[str], *, width: int = 560, height: int = 360) -> Spec:
    """A complete Vega-Lite specification, with its data inside.

    Args:
        shape: What to show.
        title: The title.
        notes: Lines below the title.
        width: Of the plot's own area, in pixels.
        height: Likewise.
    """
    body = chart_of(shape, width, height)
    return {
        "$schema": SCHEMA,
        "title": {"text": title, "subtitle": list(notes), "anchor": "start", "frame": "group"},
        "background": "white",
        "padding": 12,
        "config": _config(),
        **body,
    }


def themed_spec(shape: Shape, *, width: int, height: int) -> Spec:
    """A specification without title, for a page that is light or dark: what is ink has the color of its text."""
    body = chart_of(shape, width, height)
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
        for layer in body.get("layer", [body]):
            layer["encoding"]["y"]["title"] = None  # the caption says it
    ink: Spec = {f"{part}Color": "currentColor" for part in ("label", "title", "grid", "tick", "domain")}
    return {
        "$schema": SCHEMA,
        "background": None,
        "padding": 4,
        "config": {
            "font": FONT,
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
            "style": {"ink": {"color": "currentColor"}, "soft": {"color": "currentColor", "opacity": 0.7}},
            "range": {"category": CATEGORY_COLORS, "ramp": {"scheme": "viridis"}},
        },
        **body,
    }


def _config() -> Spec:
    return {
        "font": FONT,
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
        "style": {"ink": {"color": "#333"}, "soft": {"color": "#666"}},
        "range": {"category": CATEGORY_COLORS, "heatmap": {"scheme": "blues"}, "ramp": {"scheme": "viridis"}},
    }
