"""From Vega-Lite to PNG, SVG and HTML, all without a network: vl-convert draws with what it brings along."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from scythe_cli.analysis.plots.channels import Spec
from scythe_cli.core.distribution import needs_extra
from scythe_cli.core.text import visible

__all__ = ["to_html", "to_png", "to_svg"]


_WHAT = "a picture"
_MAX_TEXT = 200
_EXPRESSED = ("title", "sort", "values", "domain")
_QUOTES = str.maketrans({'"': "”", "'": "’", "`": "‘", "\\": "⧵", "\n": "⏎", "\t": " ", "\r": " "})


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


def to_png(spec: Spec) -> bytes:
    """Draw a specification as PNG, twice as fine as the screen."""
    with needs_extra("plot", _WHAT):
        import vl_convert

    return vl_convert.vegalite_to_png(_printable(spec), scale=2)


def to_svg(spec: Spec) -> str:
    """Draw a specification as SVG."""
    with needs_extra("plot", _WHAT):
        import vl_convert

    return vl_convert.vegalite_to_svg(_printable(spec))


def to_html(spec: Spec, title: str, usage: str, themes: Mapping[str, Spec]) -> str:
    """A page with an interactive plot; the libraries that it needs are in it.

    Args:
        spec: The plot.
        title: The title of the page.
        usage: What can be done with the plot.
        themes: Its colors, `light` and `dark`.
    """
    # inside a script, only a `<` could end it
    data, colors = (json.dumps(each).replace("<", "\\u003c") for each in (_printable(spec), themes))
    here = Path(__file__)
    return _PAGE.format(
        title=escape(visible(title)),
        usage=escape(usage),
        style=here.with_name("page.css").read_text(encoding="utf-8"),
        libraries=_libraries(),
        script=here.with_name("page.js").read_text(encoding="utf-8"),
        spec=data,
        themes=colors,
    )


@cache
def _libraries() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; putting them together takes seconds."""
    with needs_extra("plot", _WHAT):
        import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval';\
 style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<style>{style}</style>
<script>{libraries}</script>
</head>
<body>
<main id="plot" aria-label="{title}"></main>
<p>{usage} <span id="marked" role="status"></span></p>
<script>const SPEC = {spec}, THEMES = {themes};
{script}</script>
</body>
</html>
"""
