"""Pictures of a run's results: for a terminal, as PNG and SVG, and as one HTML file that needs no network.

| module | what |
| --- | --- |
| `shapes` | what a plot shows, as numbers: points, bins, boxes, bars |
| `reading` | from the columns of a run to shapes, in memory that does not grow with the run |
| `influence` | which inputs an output depends on |
| `vega` | from shapes to Vega-Lite |
| `terminal` | from shapes to lines of text |
| `figure` | all of it together |
"""

from __future__ import annotations

from scythe_cli.results.plots.figure import Figure, PlotKind, make_figure

__all__ = ["Figure", "PlotKind", "make_figure"]
