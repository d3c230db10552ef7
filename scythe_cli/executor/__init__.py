"""Runs rows in processes that can be killed, so that a crash, an endless loop or a memory hog costs one row.

The pool hands rows to child processes over sockets, takes outcomes back, and finds out what ended a child that died;
what happens inside a child is in `child` and `rows`. It may start and kill processes; it knows neither engines nor the
ledger.
"""
