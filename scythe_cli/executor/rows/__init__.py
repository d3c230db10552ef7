"""One row in the process that runs it, from its cells to its outcome.

Here the user's function is called, and what it prints, raises or returns becomes the columns of an outcome. It may run
the user's code, use temporary folders, and put the output files of a spec into the storage.
"""
