"""Where specs run: what an engine has to be, how engines are found by name, and those that come with the package.

An engine takes the specs of a run to the executor, on this machine or another, and sees that their outcomes get into
the ledger. It may touch the run's folder, the executor and a server of its own; what holds for one engine only is
known here and in no other room.
"""
