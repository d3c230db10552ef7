"""Yearly energy of photovoltaic systems."""
