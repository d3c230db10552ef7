"""The final tables of a run, made from its ledger in one pass and in memory that does not grow with the run.

One module reads the outcomes range by range, one writes the tables, and one leads them. It may read the specs and the
ledger of a run, and write below `final/`.
"""
