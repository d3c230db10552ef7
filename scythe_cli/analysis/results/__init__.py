"""The final tables of runs: read, summarised, joined, asked in SQL, compared, and written to files.

`tables` finds and reads one table; all other modules start from it. Tables of any size are read lazily or in parts.
No module here draws anything.
"""
