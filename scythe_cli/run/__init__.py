"""The folder of a run: each of its files has one module here that reads and writes it.

`layout` is the only place that builds keys, and the order in which files are written is such that a run that is killed
can go on. It may touch storages, and on this machine the note of what runs at the moment; it runs no experiment and
knows no engine.
"""
