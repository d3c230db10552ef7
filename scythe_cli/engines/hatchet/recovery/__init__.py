"""What the engine of a fleet has lost, found and said again: reports, answers, and tasks that never came to a worker.

An engine that is killed, or a connection that breaks, can lose a message between two places that both take it for
delivered. Here both sides are compared. It may ask and tell the engine what its client can, and knows no run.
"""
