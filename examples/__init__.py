"""Examples of experiments."""
