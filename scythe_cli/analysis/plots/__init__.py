"""Pictures of a run's columns: which numbers are shown, and how they look in a file, a notebook or a terminal.

`reading` and `influence` turn columns into the shapes of `shapes`; `charts` and `vega` turn shapes into Vega-Lite, and
`terminal` into text. `figure` is what a caller gets. Whatever the run's size, a shape is small.
"""
