"""Measures scythe-cli beside what people would use instead: `python -m bench`."""
