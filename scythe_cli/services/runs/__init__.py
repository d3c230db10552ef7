"""What is done with runs that exist: listing and following them, looking into their attempts, cancelling, retrying.

Each function starts from a run's folder and works without the process that allocated it. It may use every room below;
only a retry and a cancellation write.
"""
