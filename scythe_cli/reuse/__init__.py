"""Specs that need not be run: they were run before, or are the same as another one.

identity     which specs are the same
codeprint    what an experiment's code is
takeover     outcomes of earlier runs, for specs with the same inputs, files and code
duplicates   specs of one run that are the same
savings      both together: what of a new run is left to do
explanation  why a spec was not taken over
"""
