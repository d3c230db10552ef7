"""What is made of a stored run: tables, summaries, queries, differences, pictures, reports and sensitivities.

Functions here take a `StoredRun` and return typed records or frames; `run.Run` has them all as its methods. They read
the run's folder alone, so that they work while it goes on, after it died, and with no engine reachable. Nothing here
changes a run, runs a spec or knows of the command line; what is written goes to files that the caller names.
"""
