"""From the row of one spec to its outcome, in the process that runs it.

`call` runs the function with its files, `capture` keeps what it prints, `failure` describes what it raises, `frames`
converts the tables that it returns, and `outcomes` makes tables of all of that. Nothing here knows of other processes.
"""
