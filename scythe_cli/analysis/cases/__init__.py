"""All cases of a run as one table, whatever became of them, and what a page shows of it: rows, bins and samples.

It reads a run as it is now, while it goes on as well, and touches nothing else. What is asked of a table of a million
cases is answered with a few thousand numbers.
"""
