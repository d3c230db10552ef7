"""What runs in the processes that the pool starts: loading the experiment, forking, and serving rows.

`main` is the process that runs specs, `template` the one that such processes are forked from. They may fork, and run
the user's code through `rows`; they know of the parent only what comes over the socket.
"""
