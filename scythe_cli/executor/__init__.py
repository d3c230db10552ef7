"""Rows of specs in processes that can be killed: a crash, an endless loop or a memory hog costs one row.

`pool` is the way in. `loop` waits for what happens; what follows is decided in `scheduling` and `attribution` without
touching anything, and done by `process` (the processes) and `dispatch` (the rows). `child` is what such a process
runs, `protocol` what the two sides tell each other, and `rows` how one spec becomes an outcome. Nothing here knows of
engines, of a run's folder or of experiments.toml: rows and a target come in, tables of outcomes go out.
"""
