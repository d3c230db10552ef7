"""Hatchet without us: a durable task that spawns trivial children; `worker`, or `run N` which waits for the end."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from hatchet_sdk import Context, DurableContext, Hatchet
from hatchet_sdk.clients.admin import TriggerWorkflowOptions, WorkflowRunTriggerConfig
from pydantic import BaseModel


class Case(BaseModel):
    x: float
    k: int


class Cases(BaseModel):
    n: int


hatchet = Hatchet()


@hatchet.task(name="bare_child", input_validator=Case, execution_timeout=timedelta(minutes=10))
async def child(given: Case, ctx: Context) -> dict[str, float]:
    return {"y": given.x * 2 + given.k}


@hatchet.durable_task(name="bare_parent", input_validator=Cases, execution_timeout=timedelta(hours=1))
async def parent(given: Cases, ctx: DurableContext) -> dict[str, int]:
    results: list[Any] = []
    configs = [
        WorkflowRunTriggerConfig(
            workflow_name="bare_child",
            input=json.dumps({"x": i * 0.1, "k": i % 7}),
            options=TriggerWorkflowOptions(),
        )
        for i in range(given.n)
    ]
    for start in range(0, given.n, 500):
        results += await child.aio_run_many(configs[start : start + 500])
    return {"n": len(results)}


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        hatchet.worker("bare", slots=int(sys.argv[2]), workflows=[child, parent]).start()
    else:
        print(json.dumps(parent.run(Cases(n=int(sys.argv[2])))))
