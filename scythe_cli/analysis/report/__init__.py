"""The report of a run: one HTML page that needs no network.

What the report says is read first, as a record; the page is then made from the record alone. It may read the folder of
a run and write that one file.
"""
