"""Where the cases of an allocation come from: a sampling file, or the rows of a run, by name, file by file, or reduced.

It reads files and runs and writes nothing: `allocation` keeps what `source` gives.
"""
