"""A surrogate of a building stock."""
