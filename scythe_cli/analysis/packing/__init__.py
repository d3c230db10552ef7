"""Runs packed into one file: what goes into it, and what it says of itself."""
