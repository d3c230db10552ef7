"""What can be done with the final tables of a run.

    tables        where they are on this machine, and what their columns are
    summary       the head of one, and what is in each column
    fetching      copies in a folder; a second fetch goes on where the first ended
    spreadsheets  CSV and Excel that run nothing when they are opened
    tidy          inputs and outputs side by side
    exporting     that as one file
    query         SQL that sees the tables and nothing else
    diff          two runs, spec by spec
    plots         pictures

`scythe_cli.runs.Run` is the way in.
"""
