"""Daylight in rooms with a window."""
