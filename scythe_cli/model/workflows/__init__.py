"""Workflows of several tasks: as a module declares them, and run one task after the other in one process.

It may use the rest of `model` and what is below, and knows nothing of the engine that has such workflows; that makes
its own objects from what is declared here.
"""
