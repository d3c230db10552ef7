"""The engine `hatchet`: a fleet of workers around a Hatchet server.

    payloads   what nodes and tasks are told, and what they tell back
    todo       which specs of a run are to be executed, in a few bytes
    plan       how rows are cut into tasks and waves; pure
    inline     rows as the JSON of specs
    fingerprint  what must be the same where a run is allocated and where it is executed
    node       a node of scatter/gather: spawns, collects, writes the ledger
    pool       the processes of a worker that run specs
    leaf       a task: some specs through the pool
    tasks      the Hatchet objects that a worker serves
    client     the connection: submitting, cancelling, asking
    embedded   a worker beside an engine that lives in this process
    engine     `Engine` on top of these

Only `tasks` and `client` load the SDK.
"""

from __future__ import annotations

from scythe_cli.engines.hatchet.engine import HatchetEngine, HatchetRunRef

__all__ = ["HatchetEngine", "HatchetRunRef"]
