"""Starts the processes that run specs, as the parent sees it: interpreters, templates, and what is forked from them.

An `interpreter` has this package's libraries and waits for its orders; a `template` is one that has loaded the
experiment. They may start and end processes; what these do is in `child`.
"""
