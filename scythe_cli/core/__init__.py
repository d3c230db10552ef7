"""Small things that any room can use: texts, quantities, versions, states, progress, processes, temporary folders.

Each module stands more or less by itself, and none knows what an experiment is or what a run consists of. It may touch
the processes and temporary folders of this machine, but no storage and no network, and it loads no library of tables.
"""
