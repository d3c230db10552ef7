"""The names and shapes of scythe-engine 1.3, kept as a thin layer above the services.

Code that was written for scythe-engine runs with it once its imports say `scythe_cli`; nothing new is added here. It
may call services and the rooms below, and only the public names at the root of the package import it.
"""
