"""Designs of experiments: from the bounds of an input model to a sampling file.

What a field can be, what the user has asked of it, and which rows a design has are kept apart, so that a design need
not know the types of fields. It may write the sampling file that was asked for, and touches no run and no process.
"""
