"""experiments.toml: found, read and checked, and from it where the runs of a project are kept.

Every mistake in the file is told with the key, what stands there, and what is allowed. It may read that file and the
environment, and open a storage; it imports no experiment.
"""
