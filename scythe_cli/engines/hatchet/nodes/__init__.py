"""What the workers of a fleet run: nodes of scatter/gather, which ask for tasks, and tasks, which run specs.

A node holds no state that matters, so that another worker can take it over from its start and write the same parts of
the ledger. It may read the specs of a run, run them through the executor, and write to the run's ledger.
"""
