"""Which rows of which run the cases of a run were made from: what the manifest and `upstream.pq` say of it.

It reads and writes `upstream.pq`, and knows nothing of how cases are made.
"""
