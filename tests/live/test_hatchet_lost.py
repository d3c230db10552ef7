"""What the engine has lost is told again, and what nobody can get on with is ended."""

from __future__ import annotations

import threading
import time

import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.engines.hatchet.engine import HatchetEngine
from scythe_cli.errors import UsageError
from scythe_cli.services.runs.fleet import cancel_run
from tests.hatchet_servers import HatchetServers
from tests.live.fleet import Allocation, LiveProject
from tests.waiting import wait_for

_LOSSY = """
import importlib.abc, importlib.util, os, sys

class Losing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "hatchet_sdk.clients.dispatcher.dispatcher":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            send = module.DispatcherClient._try_send_step_action_event

            async def lose(self, action, event_type, *rest):
                if event_type == module.STEP_EVENT_TYPE_COMPLETED:
                    try:
                        os.rename(os.environ["TO_LOSE"], os.environ["TO_LOSE"] + ".lost")
                    except FileNotFoundError:
                        pass
                    else:
                        return module.ActionEventResponse()  # taken, and lost
                return await send(self, action, event_type, *rest)

            module.DispatcherClient._try_send_step_action_event = lose

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Losing())
"""


def test_a_task_that_the_engine_never_booked_holds_up_nothing(live: LiveProject) -> None:
    """A report is taken and lost, as by an engine that is killed in that very moment."""
    live.configure("lost", max_depth=0, specs_per_task=1)
    hooks = live.root.with_name("hooks")
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(_LOSSY)
    to_lose = hooks / "to_lose"
    to_lose.touch()
    worker = live.start_worker("--slots", "2", env={"PYTHONPATH": str(hooks), "TO_LOSE": str(to_lose)})
    allocation = Allocation(live, live.write_cases(6))
    assert allocation.result(240).counts == StateCounts(succeeded=6)
    assert not to_lose.exists()
    assert "the engine has lost what became of task" in worker.log.read_text()
    assert sorted(live.calls()) == list(range(6)), "no row runs twice for it"


def test_cancel_ends_what_runs_after_a_grace_and_force_takes_over(live: LiveProject) -> None:
    live.configure("hung", max_depth=0, specs_per_task=1)
    cases = live.write_cases(4, sleep_s=lambda _: 3000.0)
    worker = live.start_worker("--slots", "2")
    project = live.open()
    project.submit(cases)
    wait_for(lambda: len(live.calls()) >= 2, 120)
    with pytest.raises(UsageError, match="is still running on the fleet") as refused:
        project.retry()
    assert "--force" in str(refused.value.hint)
    threading.Timer(10, live.hurry).start()
    assert project.retry(force=True).counts == StateCounts(succeeded=4)
    assert len(live.calls()) == 6, "what ran was stopped, and has run again"
    (live.root / "hurry").unlink()
    again = live.write_cases(4, sleep_s=lambda _: 3000.0)
    submitted = project.submit(again)
    n = len(live.calls())
    wait_for(lambda: len(live.calls()) >= n + 2, 120)
    began_s = time.monotonic()
    assert cancel_run(project.run(submitted.experiment_id), HatchetEngine(), grace_s=1.0).cancelled == 4
    assert time.monotonic() - began_s < 60
    assert worker.stop(60) == 0, "nothing runs there any more"


_ASSIGNED_AND_NOT_TOLD = """
WITH chosen AS (
    DELETE FROM v1_queue_item
    WHERE id = (SELECT id FROM v1_queue_item WHERE action_id LIKE 'untold%' ORDER BY id DESC LIMIT 1)
    RETURNING *
)
INSERT INTO v1_task_runtime (task_id, task_inserted_at, retry_count, worker_id, tenant_id, timeout_at)
SELECT task_id, task_inserted_at, retry_count, (SELECT id FROM "Worker" ORDER BY "createdAt" DESC LIMIT 1), tenant_id,
    NOW() + INTERVAL '1 hour'
FROM chosen RETURNING task_id
"""
"""What an engine leaves that is killed after it has booked a task as a worker's and before it tells anybody."""


def test_a_task_that_was_assigned_and_never_sent_is_given_out_again(live: LiveProject, servers: HatchetServers) -> None:
    live.configure("untold", max_depth=0, specs_per_task=1)
    worker = live.start_worker("--slots", "2")
    allocation = Allocation(live, live.write_cases(6, sleep_s=lambda i: 3000.0 if i < 2 else 0.0))
    wait_for(lambda: len(live.calls()) >= 2, 120)
    wait_for(lambda: servers.sql(_ASSIGNED_AND_NOT_TOLD).strip() != "", 60)
    live.hurry()
    assert allocation.result(240).counts == StateCounts(succeeded=6)
    assert "came to no worker: the engine is told to give it out again" in worker.log.read_text()
    assert sorted(live.calls()) == list(range(6)), "no row runs twice for it"
