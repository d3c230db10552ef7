"""Plots as SVG inside a page: they take the colors of its text, and share no names with each other."""

from __future__ import annotations

import re

from scythe_cli.analysis.plots.rendering import to_svg
from scythe_cli.analysis.plots.shapes import (
    Boxes,
    Heat,
    Histogram,
    Shape,
)
from scythe_cli.analysis.plots.vega import themed_spec

__all__ = ["natural_height", "svg_of"]


_NAMESPACES = re.compile(r'\s+xmlns(:xlink)?="[^"]*"')
_ROLES = re.compile(r'\s+(?:role|aria-[a-z]+)="[^"]*"')
_ID = re.compile(r'\bid="([A-Za-z_][\w-]*)"')
_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def svg_of(shape: Shape, number: int, *, width: int = 250, height: int = 130) -> str:
    """Draw a shape.

    Args:
        shape: What to draw.
        number: The number of the picture on its page, by which its names are told from those of others.
        width: Of the drawing's own area, in pixels.
        height: Likewise.
    """
    svg = to_svg(themed_spec(shape, width=width, height=height))
    # inside HTML an SVG needs no namespaces, and their addresses look like something that is loaded
    svg = _NAMESPACES.sub("", svg)
    # who cannot see it hears its caption, and not each of its bars
    svg = _ROLES.sub("", svg).replace("<svg", '<svg aria-hidden="true"', 1)
    for name in set(_ID.findall(svg)):
        svg = re.sub(rf'(id="|url\(#|href="#){re.escape(name)}(?=["\)])', rf"\g<1>p{number}-{name}", svg)
    # a tenth of a pixel is not seen
    return _NUMBER.sub(lambda match: f"{float(match.group()):.2f}", svg)


def natural_height(shape: Shape) -> int:
    """How high a drawing is best, in pixels."""
    match shape:
        case Heat():
            return 170
        case Histogram() | Boxes():
            return 110
        case _:
            return 150
