"""What lists tell of many runs: for each how it went, with as few requests and as little work as a store allows.

It reads the folders of runs, and no ledger and no table.
"""
