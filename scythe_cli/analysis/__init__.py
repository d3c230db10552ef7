"""Reads stored runs and tells what is in them: status, errors, tables, differences, pictures, reports.

A run's folder is enough for it, so that it works while the run goes on, after it died, and with no engine there. It
may read storages and write the files that a user asks for, and changes nothing in a run.
"""
