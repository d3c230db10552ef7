"""What ties the fields of a row together: conditions, correlation, whole rows of a population.

The designs themselves know each field alone.
"""
