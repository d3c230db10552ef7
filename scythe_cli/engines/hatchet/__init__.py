"""The engine of a Hatchet fleet, on the client's side: connecting, submitting a run, following and cancelling it.

A run goes to the server as a small message that points to its folder, never as a table of specs. It may touch the
Hatchet server and the run's folder; changes to the SDK's own behaviour stand in one module.
"""
