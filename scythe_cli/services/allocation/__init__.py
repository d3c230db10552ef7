"""From a sampling file to a run: its options, its checks, the folder of the run, and its execution by an engine.

Nothing is written before everything that can be checked has been checked. It may use every room below, and claims and
writes the folder of a new run.
"""
