"""Small things that any room can use: texts, quantities, versions, states, progress, processes, temporary folders.

Each module stands by itself and knows nothing of experiments or of what a run consists of. It may touch the processes
and temporary folders of this machine, but no storage and no network, and it loads no library of tables.
"""
