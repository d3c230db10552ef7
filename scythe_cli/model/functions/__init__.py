"""From a Python function to an experiment: what it takes and returns, and how another process gets at it.

A function of a spec, or one that takes its inputs one by one, becomes a `RegisteredExperiment`; an entrypoint of the
configuration is imported; a reference tells another process where the function is, which that process loads. Nothing
here runs a spec.
"""
