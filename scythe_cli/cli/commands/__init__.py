"""The commands at the top: what is written after `scythe`, but for `results`.

A module holds the commands of one subject, as functions that take a session and what was parsed, and has an `app` to
which they are added. It may use everything in `cli/` but other modules of commands; services are imported in the
bodies of functions, where they are called.
"""
