"""The commands of `scythe results`, which show, ask, draw, compare and copy the final tables of runs.

Each turns its arguments into a call on a run, and hands the record to `render` or prints it as JSON. It may touch
its arguments, that run, and the output of the process.
"""
