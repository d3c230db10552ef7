"""The commands `scythe results …`: the tables of a run shown, fetched, asked, drawn and compared.

A module holds one or two commands as functions and has an `app` to which they are added; `app.py` makes the group of
them. They may use everything in `cli/` but other modules of commands, and import services and analysis in bodies.
"""
