"""Flood peaks of a paved site in heavy rain."""
