"""Small things without a domain of their own: names and versions, states and their counts, progress, quantities, text.

Each module stands by itself, so that listing and printing load no tables. The room may use `errors` alone.
"""
