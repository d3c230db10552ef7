"""Columns as channels of Vega-Lite: how an axis, a color or a tooltip shows numbers, moments and categories."""

from __future__ import annotations

from typing import Any

from scythe_cli.analysis.plots.shapes import Axis

__all__ = [
    "CATEGORY_COLORS",
    "FAILED_COLOR",
    "FONT",
    "MAIN_COLOR",
    "SCHEMA",
    "SECOND_COLOR",
    "Spec",
    "axis_channel",
    "binned_channel",
    "color_channel",
    "tooltip",
    "type_of",
]


Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"

MAIN_COLOR = "#3b7dd8"
SECOND_COLOR = "#e07b39"
FAILED_COLOR = "#d64545"
# distinct for all common kinds of color blindness, on white and on dark (Okabe and Ito, 2008, without black and yellow)
CATEGORY_COLORS = ["#3b7dd8", "#e07b39", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6fdf", "#999999"]


def type_of(axis: Axis) -> str:
    """What Vega-Lite calls the kind of a column."""
    return {"number": "quantitative", "time": "temporal", "category": "nominal"}[axis.kind]


def axis_channel(field: str, axis: Axis) -> Spec:
    """A column across or upwards.

    Args:
        field: Its name in the data.
        axis: The column.
    """
    channel: Spec = {"field": field, "type": type_of(axis), "title": axis.title}
    if axis.kind == "number":
        # an axis is about where the values are, and not about where they are from zero
        channel["scale"] = {"type": "log", "nice": True} if axis.log else {"zero": False, "nice": True}
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


def tooltip(field: str, title: str, kind: str = "quantitative") -> Spec:
    """What is shown of a field under the pointer."""
    return {"field": field, "type": kind, "title": title}


def color_channel(axis: Axis) -> Spec:
    """A column as color; its field is `c`."""
    if axis.kind == "category":
        return {"field": "c", "type": "nominal", "title": axis.title}
    return {"field": "c", "type": type_of(axis), "title": axis.title}


def binned_channel(field: str, axis: Axis) -> Spec:
    """A column that is counted in bins, whose edges are where the axis ends."""
    scale: Spec = {"nice": False} if axis.kind == "time" else {"zero": False, "nice": False}
    if axis.log:
        scale = {"type": "log", "nice": False}
    return _timed({"field": field, "type": type_of(axis), "title": axis.title, "scale": scale}, axis)
