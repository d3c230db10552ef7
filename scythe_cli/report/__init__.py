"""A run on one page: an HTML file that needs no network and no scripts, to look at, to print and to send.

| module | what |
| --- | --- |
| `content` | what the page tells, read from the run |
| `pictures` | its plots, as SVG that takes the colors of the page |
| `markup` | elements of HTML, whose text is always escaped |
| `page` | the page itself |
"""

from __future__ import annotations

from scythe_cli.report.page import write_report

__all__ = ["write_report"]
