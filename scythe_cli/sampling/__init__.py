"""Reads a sampling file, and checks every cell against the input model before anything runs.

Pydantic has the last word on a cell; whole columns are checked at once only where that gives the same result. It may
read the file and start processes that check pieces of it, and it writes nothing.
"""
